"""The factor of an inverse that second-order pruning needs."""

import torch

from app.errors import NonFiniteError

_ESCALATIONS = 8
_LEAF = 128


def inverse_factor(matrix: torch.Tensor, damping: float) -> tuple[torch.Tensor, float]:
    """Upper triangular U with U^T U = (matrix + damping * mean(diag) * I)^-1, and the damping used.

    With J the reversal of rows and columns, J A J = L L^T gives A = R R^T for the upper triangular
    R = J L J, hence U = R^-1: one Cholesky and one triangular inverse where the usual road takes
    two Cholesky factors and a full inverse. Damping grows tenfold while the Cholesky fails.

    Args:
        matrix: symmetric (n, n) float32; its diagonal is raised in place.
        damping: share of the mean of the diagonal.

    Raises:
        NonFiniteError: no damping helps.
    """
    step = float(matrix.diagonal().mean())
    added = 0.0
    for _ in range(_ESCALATIONS):
        matrix.diagonal().add_((damping - added) * step)
        added = damping
        lower, failed = torch.linalg.cholesky_ex(matrix.flip(0, 1))
        if not failed:
            return _inverse_upper(lower.flip(0, 1)), damping
        damping *= 10
    raise NonFiniteError("a Hessian is not positive definite at any damping")


def _inverse_upper(matrix: torch.Tensor) -> torch.Tensor:
    """Inverse of an upper triangular matrix, recursively, so that gemm does most of it."""
    size = len(matrix)
    if size <= _LEAF:
        identity = torch.eye(size, dtype=matrix.dtype, device=matrix.device)
        leaf: torch.Tensor = torch.linalg.solve_triangular(matrix, identity, upper=True)
        return leaf
    half = size // 2
    result = torch.zeros_like(matrix)
    first = result[:half, :half] = _inverse_upper(matrix[:half, :half])
    last = result[half:, half:] = _inverse_upper(matrix[half:, half:])
    torch.mm((first @ matrix[:half, half:]).neg_(), last, out=result[:half, half:])
    return result
