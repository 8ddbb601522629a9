"""The factor of an inverse against plain float64 linear algebra."""

import pytest
import torch

from app.errors import NonFiniteError
from workers.pruning.selection.linalg import inverse_factor


@pytest.mark.parametrize("size", [1, 2, 127, 128, 129, 300])
def test_factor_is_the_upper_cholesky_of_the_inverse(size):
    x = torch.randn(2 * size, size, generator=torch.Generator().manual_seed(size))
    hessian = x.T @ x
    factor, damping = inverse_factor(hessian.clone(), 0.01)
    damped = hessian.double() + 0.01 * hessian.diagonal().mean() * torch.eye(size)
    expected = torch.linalg.cholesky(torch.linalg.inv(damped), upper=True)
    assert damping == 0.01
    torch.testing.assert_close(factor.double(), expected, rtol=1e-3, atol=1e-5)
    assert torch.equal(factor, factor.triu())


def test_damping_grows_until_the_cholesky_succeeds():
    indefinite = torch.diag(torch.tensor([4.0, 4.0, 4.0, -0.4]))
    factor, damping = inverse_factor(indefinite, 0.01)
    assert damping == pytest.approx(1.0)
    added = 2.9  # mean of the diagonal
    expected = (torch.tensor([4.0, 4.0, 4.0, -0.4]) + added).rsqrt()
    torch.testing.assert_close(factor.diagonal(), expected)


def test_no_damping_helps_a_matrix_of_nan():
    with pytest.raises(NonFiniteError):
        inverse_factor(torch.full((3, 3), float("nan")), 0.01)
