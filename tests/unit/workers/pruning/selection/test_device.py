"""What a GPU chooses is what the host chooses: the same code runs on any device."""

from unittest import mock

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from app.recipes.pattern import NM, Unstructured
from workers.pruning.selection import device, elimination, kernel, selection
from workers.pruning.selection.selection import Selection

SCORES = st.tuples(st.integers(1, 9), st.integers(1, 6)).flatmap(
    lambda shape: arrays.arrays(
        np.float32,
        (shape[0], 4 * shape[1]),
        elements=st.sampled_from([0.0, 1e-30, 0.5, 1.0, 2.0, 3.0]),
    )
)


@given(SCORES, st.data())
def test_the_smallest_of_a_matrix(values, data):
    scores = torch.from_numpy(values)
    count = data.draw(st.integers(1, scores.numel()))
    expected = selection.smallest(scores, count)
    assert torch.equal(device.smallest(scores, count), expected)
    with mock.patch.object(device, "_SORTED", 0):  # as where there are many
        assert torch.equal(device.smallest(scores, count), expected)


def test_any_float_is_found_bit_by_bit():
    kinds = torch.arange(0, 0x7F80_0000, 4099, dtype=torch.int32)[: 64 * 8154]
    scores = kinds.view(torch.float32)[torch.randperm(len(kinds))].view(64, -1)
    with mock.patch.object(device, "_SORTED", 0):
        for count in (1, 12_345, scores.numel() - 1, scores.numel()):
            assert torch.equal(device.smallest(scores, count), selection.smallest(scores, count))


@given(SCORES, st.data())
def test_the_smallest_of_every_row(values, data):
    scores = torch.from_numpy(values)
    count = data.draw(st.integers(0, scores.numel()))
    found = device.smallest_per_row(scores, *divmod(count, len(scores)))
    assert torch.equal(found, selection.smallest_per_row(scores, count))
    assert int(found.sum()) == count


@given(SCORES, st.sampled_from([2, 4]), st.data())
def test_the_smallest_of_every_group(values, size, data):
    scores = torch.from_numpy(values)
    count = data.draw(st.integers(0, size))
    found = device.smallest_of_group(scores, count, size)
    assert torch.equal(found, selection.smallest_of_group(scores, count, size))


def test_kth_values_hold_where_torch_is_asked_to_be_deterministic():
    torch.use_deterministic_algorithms(mode=True)
    try:
        found = device.smallest_per_row(torch.tensor([[3.0, 1.0, 2.0]]), 2, 0)
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(mode=False)
    assert found.tolist() == [[False, True, True]]


@given(st.sampled_from(["matrix", "row", (1, 4), (2, 4), (3, 8)]), st.integers(0, 2**32))
def test_columns_are_eliminated_as_on_the_host(pattern, seed):
    draw = torch.Generator().manual_seed(seed)
    values = torch.randn(16, 12, generator=draw)
    upper = torch.eye(16) + torch.rand(16, 16, generator=draw).triu(1) / 16
    scale = upper.diagonal().reciprocal().clone()
    scale[3] = 0  # an input that is always zero
    groups = not isinstance(pattern, str)
    part = Selection(
        NM(n=pattern[0], m=pattern[1]) if groups else Unstructured(group=pattern), 16 * 12 // 2 + 5
    )
    there, here = values.clone(), values.clone()
    mask, errors, scored = kernel.eliminate(there, upper, scale, part)
    done = elimination.eliminate(here, upper, scale, part)
    assert torch.equal(mask, done.mask)
    torch.testing.assert_close(there, here, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(errors, done.errors, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(scored, done.scored, atol=1e-3, rtol=1e-5)
