"""A budget."""

from dataclasses import dataclass

from workers.pruning.routing.runtime.decision import DROP_LAYER


@dataclass(frozen=True)
class Profile:
    """A budget.

    Attributes:
        tokens: share of the image tokens that stay.
        layers: number of layers that run.
        drop_layer: image tokens leave before this one.
    """

    tokens: float
    layers: int
    drop_layer: int = DROP_LAYER
