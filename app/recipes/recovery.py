"""A few training steps after pruning, without labels: what the dense model gives is the goal."""

from typing import Literal

from pydantic import Field

from app.strict import Strict

Scope = Literal["block", "model"]


class Recovery(Strict):
    """What is left of the weights is trained towards the dense model; weights that went stay zero.

    What comes out on calibration batches held out decides which rate is taken, and whether the
    weights are kept as they were.
    """

    scope: Scope | None = Field(
        default=None,
        description="block: each block once it is pruned, fed by the pruned blocks before it, "
        "towards the outputs of the dense block, with one block in memory. model: all blocks "
        "together in the end, towards the predictions of the dense model, along its own answers "
        "where it writes some; the whole model is in memory. By default block, and model where no "
        "weights become zero",
    )
    steps: int = Field(
        default=200, ge=1, le=100_000, description="training steps of each block, or of the model"
    )
    learning_rate: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="share of a matrix's typical weight by which one step may move it; by default "
        "the best of .2, .1 and .03 (model: .03, .01 and .003) on batches held out",
    )
