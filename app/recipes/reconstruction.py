"""What becomes of the weights that stay, once a mask is chosen."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from app.strict import Strict

Objective = Literal["pruned-inputs", "dense-inputs", "mixed"]
"""What the outputs of a matrix shall be: those of its dense weights on the inputs that the pruned
model feeds it; those that it has in the dense model; or the mixture of both that does best on
calibration batches held out."""


class NoReconstruction(Strict):
    """They stay as they are, or as the importance left them."""

    kind: Literal["none"] = "none"


class Solving(Strict):
    """A part of a recipe that solves for weights."""

    objective: Objective = Field(
        default="pruned-inputs",
        description="what the outputs shall be: of dense weights on the pruned model's inputs, "
        "of the dense model, or the better mixture of both on batches held out",
    )
    target_dampings: tuple[Annotated[float, Field(gt=0, le=100)], ...] = Field(
        default=(),
        max_length=8,
        description="with the objective mixed, dampings under which the dense target is sought too "
        "beside the solver's own; the one that does best on batches held out is taken",
    )

    @model_validator(mode="after")
    def _tried_where_held_out(self) -> Self:
        if self.target_dampings and self.objective != "mixed":
            raise ValueError("target_dampings are chosen among by the objective mixed alone")
        return self


class LeastSquares(Solving):
    """They are solved for: the outputs of each matrix come as near to the dense ones as they can.

    For every matrix W, with X its inputs in the model as it is pruned so far and M the mask that
    the importance has chosen, V = V * M minimises ||(W - V) X||^2. Any mask will do. Block after
    block, so that errors of earlier blocks are seen by later ones, and made up for where the
    objective is what the dense model gives.
    """

    kind: Literal["least-squares"] = "least-squares"
    damping: float = Field(
        default=0.02, ge=0, le=1, description="added to second moments that are scaled to one"
    )
    steps: int = Field(
        default=15, ge=1, le=1000, description="most steps of conjugate gradients a matrix"
    )


Reconstruction = Annotated[NoReconstruction | LeastSquares, Field(discriminator="kind")]
