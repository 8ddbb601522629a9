"""Which weights go first, and what it takes to find out."""

from typing import Any, ClassVar, Literal, TypeAlias

from pydantic import Field

from app.strict import Strict

Schedule: TypeAlias = Literal["one-shot", "sequential", "joint"]
"""When weights go: all on what the dense model tells; block after block, each calibrated on what
the pruned blocks before it hand over; or all solved for together, block by block."""


class Importance(Strict):
    """What every importance says about itself to plans and to the engine.

    Its fields are its settings. Each stands beside the method that made it known, and has one
    criterion of the same `kind` that computes it in the worker.

    Attributes:
        kind: its id.
        former_kinds: ids it had before; they are understood.
        reads: what it looks at besides the weights themselves.
        statistic: what is kept of a matrix's inputs: the sum of squares of each, or all second
            moments.
        updates_weights: weights that stay change too.
        forwards: dense forward passes of the calibration set that it costs.
        bytes_per_row_weight: held for each batch and each weight of the largest block.
    """

    kind: str
    former_kinds: ClassVar[tuple[str, ...]] = ()
    reads: ClassVar[Literal["weights", "inputs", "gradients"]] = "weights"
    statistic: ClassVar[Literal["none", "squares", "second-moments"]] = "none"
    updates_weights: ClassVar[bool] = False
    forwards: ClassVar[float] = 0.0
    bytes_per_row_weight: ClassVar[int] = 0

    @property
    def schedule(self) -> Schedule:
        """When weights go."""
        return "one-shot"

    @property
    def backwards(self) -> int:
        """Forward passes of the calibration set with their backward pass that it costs."""
        return 0

    @property
    def needs_data(self) -> bool:
        """A calibration set is read."""
        return self.reads != "weights"

    @property
    def needs_gradient(self) -> bool:
        """The model's loss is differentiated."""
        return self.reads == "gradients"

    @property
    def holds_for_any_sparsity(self) -> bool:
        """What is measured of the inputs is the dense model's, whatever the sparsity is."""
        return self.reads == "inputs" and self.schedule == "one-shot"

    def bytes_per_weight(self, width: int) -> int:
        """Held for each weight of the model until the end; `width` is that of a stored weight."""
        del width
        return 0


class Staged(Importance):
    """An importance measured anew on the pruned model, stage by stage.

    Stage t of T ends at sparsity 1 - (1 - s)^(t / T); what is pruned stays pruned.
    """

    stages: int = Field(default=1, ge=1, le=100, description="how often to measure and prune")


def renamed(value: Any, known: dict[str, type[Importance]]) -> Any:
    """What was stored or sent under a former id, under today's."""
    if isinstance(value, dict) and value.get("kind") not in known:
        for kind, importance in known.items():
            if value.get("kind") in importance.former_kinds:
                return value | {"kind": kind}
    return value
