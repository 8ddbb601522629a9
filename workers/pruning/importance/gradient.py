"""Which gradients tell anything."""

from collections.abc import Mapping

from torch import Tensor

from app.errors import CalibrationDataError
from workers.pruning.models.layout.structure import Matrix


def telling(gradients: Mapping[Matrix, Tensor]) -> dict[Matrix, Tensor]:
    """The gradients that are not zero throughout: the others tell no weight from another.

    Raises:
        CalibrationDataError: there are none, as with a classifier of one class, whose loss is 0
            whatever its weights are.
    """
    found = {matrix: gradient for matrix, gradient in gradients.items() if bool(gradient.any())}
    if not found:
        raise CalibrationDataError(
            "the gradient of the loss is zero for every matrix: it says nothing about the weights. "
            "Take other calibration data, or a method without gradients"
        )
    return found
