"""What a PAR router is worth: its budget, who decides better, its profiles, how it was trained."""

from collections.abc import Sequence

from app.recipes.evaluation import Estimate
from app.recipes.routing_report import PolicyReport, RoutingFigures, RoutingReport
from app.reports.document import Bar, Bars, Block, Cell, Section, Table, Text, Tone, legend
from app.reports.figures import NONE, figure, interval, percent, signed

_INTRODUCTION = (
    "For every prompt it picks the image tokens that stay and the decoder layers that run (Pruning "
    "All-Rounder, arXiv 2412.06458). The base model is not part of these files and is not changed. "
    "They need torch, transformers and safetensors; `example.py` is complete."
)
_RUNTIMES = (
    ("transformers 5 with par_runtime.py", "fewer operations, a shorter cache, as above"),
    ("vLLM and other servers", "nothing: they do not run it; a static export loads anywhere"),
)
_UNJUDGED = (
    "All profiles use the same router; those beside `asked` were not judged. Costs are counted on "
    "that prompt, over the dense model's, the router included."
)
_BATCHES = (
    "One set of layers serves a whole batch, so an answer can depend on the prompts beside it. "
    "With `attach(..., per_row=True)` every row runs its own layers and answers as it does alone; "
    "a batch then reads every layer that any of its rows needs."
)


def routing(found: RoutingFigures) -> list[Section]:
    """All sections of a router."""
    told = [Text(_INTRODUCTION), Text(_budget(found)), _verdict(found)]
    blocks = [*told, _policies(found), _judged(found), _divergence(found)]
    head = ("Runtime", "What the router brings")
    sections = [
        Section("router", "Router", blocks),
        Section("profiles", "Profiles of the router", _profiles(found)),
        Section("training", "How the router was trained", _training(found)),
        Section("runtimes", "Where it runs", [Table.of(head, _RUNTIMES, words=head)]),
    ]
    return [each for each in sections if each.blocks]


def _training(found: RoutingFigures) -> list[Block]:
    drawn: list[Block] = []
    if found.rounds:
        rounds = [(f"after round {n}", each.held_out_kl) for n, each in enumerate(found.rounds, 1)]
        label = "KL to the dense answers after each round, nats, where chosen (lower is better)"
        drawn.append(_bars("rounds", label, rounds))
    if isinstance(found, RoutingReport):
        layers = [(f"layer {number}", value) for number, value in enumerate(found.influence)]
        drawn.append(_bars("influence", "Block influence of every decoder layer", layers))
    return drawn


def _budget(found: RoutingFigures) -> str:
    prompt = found.typical_prompt
    return (
        f"At the budget it was trained for (profile `asked`) {percent(found.tokens)} of the image "
        f"tokens stay and {found.layers} of {found.of_layers} layers run: the decoder layers and "
        f"the router take {percent(found.flops_ratio)} of the dense operations on a prompt of "
        f"{prompt.get('text', 0)} text and {prompt.get('vision', 0)} image tokens."
    )


def _verdict(found: RoutingFigures) -> Text:
    if found.gate.passed:
        return Text(
            f"The router beats every baseline: on {found.gate.records} records the paired 95 % "
            "interval of each one's KL less the router's lies above zero.",
            Tone.GOOD,
        )
    told = shortcoming(found)
    allowed = " The job allowed that." if found.gate.allow_no_improvement else ""
    return Text(f"{told[0].upper()}{told[1:]}.{allowed}", Tone.WARN)


def shortcoming(found: RoutingFigures) -> str:
    """What the gate misses, in words."""
    gate, told = found.gate, []
    if gate.records < gate.needed:
        told.append(f"{gate.records} records judged it and {gate.needed} are needed")
    if gate.unbeaten:
        differences = ", ".join(f"{name}{_over(found, name)}" for name in gate.unbeaten)
        told.append(f"it is not shown to beat {differences} (KL less the router's, paired)")
    return "the router does not pass: " + "; ".join(told)


def _over(found: RoutingFigures, name: str) -> str:
    policy = found.policies.get(name)
    if policy is None or (each := policy.kl_over_router) is None:
        return ""
    return f" {each.value:+.4g} [{each.low:.4g}, {each.high:.4g}]"


def _policies(found: RoutingFigures) -> Table:
    head = (
        *("Who decides", "KL, nats (lower is better)", "Less the router's, paired"),
        *("Tokens that agree", "Same answers"),
    )
    return Table.of(head, (_policy(name, each) for name, each in found.policies.items()))


def _policy(name: str, each: PolicyReport) -> list[str | Cell]:
    over = each.kl_over_router
    return [
        name,
        Cell(figure(each.kl.value), interval(each.kl)),
        Cell(signed(over.value), interval(over)) if over else NONE,
        *(_share(found) for found in (each.agreement, each.exact)),
    ]


def _share(found: Estimate) -> Cell:
    return Cell(percent(found.value), f"{percent(found.low)} to {percent(found.high)}")


def _judged(found: RoutingFigures) -> Text:
    text = (
        f"Judged on {found.gate.records} records it was not trained on, whose images it had not "
        "seen, against the answers of the dense model; intervals are of 95 % (bootstrap)."
    )
    return Text(text, Tone.NOTE)


def _divergence(found: RoutingFigures) -> Bars:
    reach = max((each.kl.high for each in found.policies.values()), default=0) or 1
    bars = [
        Bar(
            name,
            figure(each.kl.value),
            "pruned" if number == 0 else "other",
            max(each.kl.value, 0) / reach,
            interval=(max(each.kl.low, 0) / reach, max(each.kl.high, 0) / reach),
        )
        for number, (name, each) in enumerate(found.policies.items())
    ]
    keys = legend(("pruned", "router"), ("other", "baseline"), ("interval", "95 % interval"))
    label = "KL to the dense answers, nats, by who decides (lower is better)"
    return Bars("divergence", label, bars, keys)


def _profiles(found: RoutingFigures) -> list[Block]:
    head = ("Profile", "Image tokens", "Layers", "Operations", "Cached positions")
    table = Table.of(
        head,
        (
            (
                name,
                percent(each.tokens),
                f"{each.layers} of {found.of_layers}",
                percent(each.flops_ratio),
                percent(each.cached_ratio),
            )
            for name, each in found.profiles.items()
        ),
    )
    blocks: list[Block] = [table, Text(_UNJUDGED, Tone.NOTE), Text(_BATCHES, Tone.NOTE)]
    dear = [name for name, each in found.profiles.items() if each.flops_ratio >= 1]
    if dear:
        text = f"Profile {', '.join(dear)}: no fewer operations than the dense model."
        blocks.append(Text(text, Tone.WARN))
    return blocks


def _bars(name: str, label: str, values: Sequence[tuple[str, float]]) -> Bars:
    reach = max((value for _, value in values), default=0) or 1
    bars = [Bar(each, figure(value), "score", max(value, 0) / reach) for each, value in values]
    return Bars(name, label, bars)
