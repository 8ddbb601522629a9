"""What a PAR run did and what its router is worth on records it has not seen."""

from app.recipes.evaluation import Estimate, EvaluationReport
from app.recipes.routing import Routing
from app.strict import Strict

ROUTING_REPORT_FILE = "routing_report.json"
"""Where a PAR job's files have its report."""
ROUTER_FILE = "router.safetensors"
"""Where they have the router's weights."""
ROUTER_CONFIG_FILE = "par_config.json"
"""Where they say what model the router is for."""


class RoundReport(Strict):
    """One round of mining and training.

    Attributes:
        pairs: preference pairs whose two decisions differ.
        best: mean KL to the dense answers of each prompt's best candidate, in nats.
        worst: of its worst.
        losses: mean training loss of each epoch.
        held_out_kl: of the router after this round, on the records that choose among the rounds.
    """

    pairs: int
    best: float
    worst: float
    losses: tuple[float, ...]
    held_out_kl: float


class PolicyReport(Strict):
    """How near to the dense answers a way to decide stays.

    Attributes:
        kl: KL(dense || pruned), mean over the answer's tokens, in nats.
        agreement: share of the answer's tokens ranked first by both.
        exact: share of greedy answers that are the dense ones.
        kl_over_router: its KL less the router's, paired by record; None for the router.
    """

    kl: Estimate
    agreement: Estimate
    exact: Estimate
    kl_over_router: Estimate | None = None


class ProfileReport(Strict):
    """What a profile of the artifact leaves, and what that costs.

    Attributes:
        tokens: share of the image tokens kept.
        layers: decoder layers that run.
        drop_layer: image tokens leave before this layer.
        flops_ratio: as in the whole report.
        cached_ratio: cached positions over all layers after a typical prompt, over the dense
            model's.
    """

    tokens: float
    layers: int
    drop_layer: int
    flops_ratio: float
    cached_ratio: float


MIN_JUDGED = 30
"""Records without which no interval is trusted."""


class RoutingGate(Strict):
    """Whether the router is shown to beat what needs no training, at the same budget.

    Attributes:
        beaten: baselines whose KL less the router's has a paired 95 % interval above zero.
        unbeaten: the others, worse or not to be told apart; none may be left.
        records: that judged.
        needed: so many at least.
        allow_no_improvement: the job asked to succeed regardless.
    """

    beaten: tuple[str, ...]
    unbeaten: tuple[str, ...]
    records: int
    needed: int = MIN_JUDGED
    allow_no_improvement: bool

    @property
    def passed(self) -> bool:
        """Every baseline is beaten, on enough records."""
        return not self.unbeaten and self.records >= self.needed


class RoutingFigures(Strict):
    """What the run came to, in figures.

    Attributes:
        tokens: share of the image tokens kept at the budget.
        layers: decoder layers that run at the budget.
        of_layers: all of them.
        flops_ratio: operations of the decoder's layers on a typical prompt, router included, over
            the dense model's.
        typical_prompt: text and image tokens of that prompt.
        records: how many trained the router, chose among its rounds, and judged it.
        chosen: number of the round that was taken, from 0.
        profiles: of the artifact, by name; `asked` is the job's own budget.
        policies: on the judging records; the first is the router.
    """

    tokens: float
    layers: int
    of_layers: int
    flops_ratio: float
    typical_prompt: dict[str, int]
    records: dict[str, int]
    rounds: tuple[RoundReport, ...]
    chosen: int
    profiles: dict[str, ProfileReport]
    policies: dict[str, PolicyReport]
    gate: RoutingGate


class RoutingReport(RoutingFigures):
    """The whole run.

    Attributes:
        influence: block influence per layer.
        evaluation: None where none was asked for.
    """

    routing: Routing
    influence: tuple[float, ...]
    evaluation: EvaluationReport | None = None

    @property
    def figures(self) -> RoutingFigures:
        """The part that a job's result has."""
        names = RoutingFigures.model_fields
        return RoutingFigures(**{name: getattr(self, name) for name in names})
