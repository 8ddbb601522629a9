"""Streaming sums against one float64 product; merging, order and precision."""

import pytest
import torch

from workers.pruning.calibration.statistics import Hessian, SquareSum


def exact(statistic, x):
    wide = x.double()
    return (wide * wide).sum(0) if statistic is SquareSum else torch.triu(wide.T @ wide)


def total(seen):
    return seen.total if isinstance(seen, SquareSum) else torch.triu(seen.total)


@pytest.mark.parametrize("statistic", [SquareSum, Hessian])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_any_split_any_order_any_shard(statistic, dtype):
    x = (torch.randn(700, 600, generator=torch.Generator().manual_seed(0)) * 300).to(dtype)
    whole, parts, shards = (statistic(600, x.device) for _ in range(3))
    whole.add(x, 7)
    for start in range(699, -1, -70):
        parts.add(x[max(0, start - 69) : start + 1], 1)
    shards.add(x[:123], 2)
    other = shards.empty()
    other.add(x[123:], 5)
    shards.merge(other)
    expected = exact(statistic, x)
    for seen in (whole, parts, shards):
        error = (total(seen) - expected).abs().max() / expected.max()
        assert error < 1e-6
    assert (whole.samples, parts.samples, shards.samples) == (7, 10, 7)


def test_a_long_stream_keeps_small_contributions():
    seen = SquareSum(1, torch.device("cpu"))
    seen.add(torch.full((1, 1), 3e4), 1)
    for _ in range(1000):
        seen.add(torch.ones(1, 1), 1)  # float32 would drop every one of them
    assert float(seen.total) == 9e8 + 1000


@pytest.mark.parametrize("statistic", [SquareSum, Hessian])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_shows(statistic, value):
    seen = statistic(3, torch.device("cpu"))
    seen.add(torch.ones(4, 3), 1)
    assert seen.finite()
    seen.add(torch.tensor([[1.0, value, 1.0]]), 1)
    assert not seen.finite()
