"""The model card of a router: `README.md` with the metadata the hub reads."""

from collections.abc import Collection, Mapping
from pathlib import Path

from app.domain.evaluation import Estimate
from app.domain.routing_report import RoutingReport
from workers.pipeline.route_report import shortcoming

CARD = "README.md"
_INTRODUCTION = (
    "For every prompt it picks the image tokens that stay and the decoder layers that run (Pruning "
    "All-Rounder, arXiv 2412.06458). The base model is not part of these files and is not changed. "
    "They need torch, transformers and safetensors; `example.py` is complete."
)
_RUNTIME = (
    "| runtime | what the router brings |",
    "|---|---|",
    "| transformers 5 with `par_runtime.py` | fewer operations, a shorter cache, as above |",
    "| vLLM and other servers | nothing: they do not run it; a static export loads anywhere |",
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
_JUDGED = (
    "Judged on {} records it was not trained on, whose images it had not seen, against the answers "
    "of the dense model; 95 % bootstrap intervals in brackets."
)


def write_card(
    directory: Path,
    base: str,
    report: RoutingReport,
    *,
    licence: Mapping[str, str],
    drawn: Collection[str],
) -> None:
    """Write the card.

    Args:
        directory: the staged files.
        base: the model the router was trained for.
        report: what was done and measured.
        licence: metadata of the base model's card.
        drawn: names of the plots beside it.
    """
    head = ["---", "library_name: transformers"]
    head += [f"{name}: {value}" for name, value in licence.items()]
    head += [f"base_model: {base}", "tags:"]
    body = [
        f"# A PAR router for {base}",
        _INTRODUCTION,
        _budget(report),
        _JUDGED.format(report.records["judge"]),
        "\n".join(_table(report)),
        _verdict(report),
        *(f"![{name}](plots/{name}.svg)" for name in drawn),
        _UNJUDGED,
        "\n".join(_profiles(report)),
        *_costs_more(report),
        _BATCHES,
        "\n".join(_RUNTIME),
    ]
    text = "\n".join([*head, "- pruned", "- par", "---", "\n\n".join(body), ""])
    (directory / CARD).write_text(text, encoding="utf-8")


def _estimate(found: Estimate) -> str:
    return f"{found.value:.4g} [{found.low:.4g}, {found.high:.4g}]"


def _budget(report: RoutingReport) -> str:
    prompt = report.typical_prompt
    return (
        f"At the budget it was trained for (profile `asked`) {report.tokens:.1%} of the image "
        f"tokens stay and {report.layers} of {report.of_layers} layers run: the decoder layers and "
        f"the router take {report.flops_ratio:.1%} of the dense operations on a prompt of "
        f"{prompt['text']} text and {prompt['vision']} image tokens."
    )


def _table(report: RoutingReport) -> list[str]:
    head = ["| chosen by | KL (nats) | less the router's, paired | same token | same answer |"]
    return [*head, "|---|---|---|---|---|"] + [
        f"| {name} | {_estimate(each.kl)} | "
        f"{_estimate(each.kl_over_router) if each.kl_over_router else ''} | "
        f"{_estimate(each.agreement)} | {_estimate(each.exact)} |"
        for name, each in report.policies.items()
    ]


def _profiles(report: RoutingReport) -> list[str]:
    head = ["| profile | image tokens | layers | operations | cached positions |"]
    return [*head, "|---|---|---|---|---|"] + [
        f"| {name} | {each.tokens:.1%} | {each.layers} of {report.of_layers} | "
        f"{each.flops_ratio:.1%} | {each.cached_ratio:.1%} |"
        for name, each in report.profiles.items()
    ]


def _verdict(report: RoutingReport) -> str:
    if report.gate.passed:
        return (
            f"The router beats every baseline: on {report.gate.records} records the paired 95 % "
            "interval of each one's KL less the router's lies above zero."
        )
    return f"**{shortcoming(report)[0].upper()}{shortcoming(report)[1:]}. The job allowed that.**"


def _costs_more(report: RoutingReport) -> list[str]:
    dear = [name for name, each in report.profiles.items() if each.flops_ratio >= 1]
    if not dear:
        return []
    return [f"**Profile {', '.join(dear)}: no fewer operations than the dense model.**"]
