"""A few training steps after pruning, without labels: what the dense model gives is the goal."""

from pydantic import Field

from app.strict import Strict


class Recovery(Strict):
    """Block after block, what is left of the weights is trained towards the dense block's outputs.

    The pruned block is fed what the pruned blocks before it hand over. Weights that went stay zero.
    What the block gives on calibration batches held out decides which rate is taken, and whether
    the weights are kept as they were.
    """

    steps: int = Field(default=200, ge=1, le=100_000, description="training steps of each block")
    learning_rate: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="share of a matrix's typical weight by which one step may move it; by default "
        "the best of .2, .1 and .03 on batches held out",
    )
