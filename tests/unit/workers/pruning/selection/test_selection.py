"""Selection: exact counts, ties, groups, pools, N:M; against plain sorting."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from app.errors import NonFiniteError, RecipeError
from app.recipes.pattern import NM, Unstructured
from workers.pruning.selection import kth
from workers.pruning.selection.kth import kth_smallest, pool_counts
from workers.pruning.selection.selection import (
    Selection,
    budget,
    nonzero,
    share,
    smallest,
    smallest_of_group,
    smallest_per_row,
    zero,
    zeros,
)

# Few distinct values, so that ties are the rule; tiny, huge and zero among them.
VALUES = st.sampled_from([0.0, 1e-45, 1e-30, 0.5, 0.50000006, 1.0, 3.0, 3e38])
MATRICES = arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=VALUES)


def stable(values, count):
    """Reference: the first `count` of a stable ascending sort."""
    mask = np.zeros(values.size, bool)
    mask[np.argsort(values.ravel(), kind="stable")[:count]] = True
    return mask.reshape(values.shape)


@given(MATRICES, st.data())
def test_smallest_is_the_head_of_a_stable_sort(values, data):
    count = data.draw(st.integers(0, values.size))
    assert np.array_equal(smallest(torch.from_numpy(values), count).numpy(), stable(values, count))


@given(MATRICES, st.data())
def test_rows_each_lose_their_own_smallest(values, data):
    each = data.draw(st.integers(0, values.shape[1]))
    mask = smallest_per_row(torch.from_numpy(values), each * len(values)).numpy()
    assert np.array_equal(mask, np.stack([stable(row, each) for row in values]))


@given(MATRICES, st.data())
def test_rows_share_a_remainder_by_lowest_next_score(values, data):
    count = data.draw(st.integers(0, values.size))
    mask = smallest_per_row(torch.from_numpy(values), count).numpy()
    each, rest = divmod(count, len(values))
    assert mask.sum() == count
    assert sorted(mask.sum(1)) == [each] * (len(values) - rest) + [each + 1] * rest
    following = [np.sort(row)[each] for row in values] if rest else []
    given_more = {i for i, row in enumerate(mask) if row.sum() == each + 1 and rest}
    assert given_more == set(np.argsort(following, kind="stable")[:rest])


@given(st.integers(2, 9), st.integers(1, 4), st.integers(1, 3), st.data())
def test_groups_lose_exactly_their_smallest(size, rows, groups, data):
    count = data.draw(st.integers(1, size - 1))
    values = data.draw(arrays(np.float32, (rows, groups * size), elements=VALUES))
    mask = smallest_of_group(torch.from_numpy(values), count, size).numpy()
    expected = [stable(group, count) for group in values.reshape(-1, size)]
    assert np.array_equal(mask.reshape(-1, size), np.stack(expected))


@given(st.lists(MATRICES, min_size=1, max_size=5), st.data())
def test_a_pool_prunes_what_one_sorted_list_would(pool, data):
    everything = np.concatenate([m.ravel() for m in pool])
    count = data.draw(st.integers(0, everything.size))
    owners = np.concatenate([np.full(m.size, i) for i, m in enumerate(pool)])
    expected = np.bincount(owners[stable(everything, count)], minlength=len(pool))
    tensors = [torch.from_numpy(m) for m in pool]
    assert pool_counts([lambda t=t: t for t in tensors], count) == expected.tolist()


@pytest.fixture(params=["on the host", "on a device"])
def somewhere(request, monkeypatch):
    """Scores on the host, or treated as if they were elsewhere; in small chunks."""
    monkeypatch.setattr(kth, "_HOST", "cpu" if request.param == "on the host" else "elsewhere")
    monkeypatch.setattr(kth, "CHUNK", 7)
    monkeypatch.setattr(kth, "_CHUNK_ON_DEVICE", 7)


@pytest.mark.usefixtures("somewhere")
def test_kth_value_over_chunks_and_matrices():
    pool = [torch.rand(13, 5), torch.rand(4, 9), torch.rand(1, 1)]
    ordered = torch.cat([m.flatten() for m in pool]).sort().values
    for k in (1, 2, 50, len(ordered)):
        assert kth_smallest([lambda m=m: m for m in pool], k) == float(ordered[k - 1])


def test_a_device_has_chunks_of_a_size_of_its_own(monkeypatch):
    monkeypatch.setattr(kth, "_HOST", "elsewhere")
    assert kth_smallest([lambda: torch.arange(9.0)[None]], 4) == 3


def test_kth_refuses_what_is_not_finite():
    with pytest.raises(NonFiniteError):
        kth_smallest([lambda: torch.tensor([[1.0, float("inf"), float("nan")]])], 2)


@pytest.mark.parametrize(
    ("count", "sparsity", "expected"),
    [(100, 0.29, 29), (10, 0.7, 7), (3, 0.5, 1), (1000, 0.063, 63), (7, 0.0, 0), (3, 1e-9, 0)],
)
def test_a_share_is_the_decimal_number_written(count, sparsity, expected):
    assert share(count, sparsity) == expected


def test_budgets_by_pattern():
    assert budget((3, 10), 0.25, Unstructured(group="matrix")) == 7
    assert budget((3, 10), 0.25, Unstructured(group="row")) == 6
    assert budget((3, 8), 0.5, NM(n=2, m=4)) == 12
    assert budget((3, 8), 0.75, NM(n=1, m=4)) == 18


def test_a_pattern_that_does_not_divide_the_inputs_is_refused():
    with pytest.raises(RecipeError, match="divisible by 4, got 10"):
        budget((3, 10), 0.5, NM(n=2, m=4))


@given(
    st.integers(1, 9),
    st.integers(1, 40),
    st.sampled_from(["row", "matrix"]),
    st.integers(1, 17),
    st.data(),
)
def test_parts_of_a_budget_add_up(rows, columns, group, width, data):
    count = data.draw(st.integers(0, rows * columns))
    whole = Selection(Unstructured(group=group), count)
    cuts = [*range(0, columns, width), columns]
    parts = [whole.columns(a, b, (rows, columns)).count for a, b in itertools.pairwise(cuts)]
    assert sum(parts) == count
    assert all(
        p <= rows * (b - a) for p, (a, b) in zip(parts, itertools.pairwise(cuts), strict=True)
    )
    if group == "row":
        assert all(part % rows == 0 for part in parts[1:])
        assert parts[0] % rows == count % rows


BAD = [float("nan"), -float("nan"), float("inf")]
PATTERNS = [Unstructured(group="matrix"), Unstructured(group="row"), NM(n=2, m=4)]


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("pattern", PATTERNS, ids=["matrix", "row", "n:m"])
@pytest.mark.parametrize("count", [0, 6, 7, 24])
@pytest.mark.parametrize("place", [0, 23])
def test_no_path_takes_nan_or_infinity(pattern, count, bad, place):
    scores = torch.rand(3, 8)
    scores.view(-1)[place] = bad
    with pytest.raises(NonFiniteError):
        Selection(pattern, count).mask(scores)


@pytest.mark.parametrize("bad", [*BAD, -1.0])
def test_a_pool_names_the_matrix_that_has_no_usable_score(bad):
    pool = [torch.rand(3, 8), torch.rand(2, 2)]
    pool[1][0, 1] = bad
    with pytest.raises(NonFiniteError, match="second"):
        pool_counts([lambda m=m: m for m in pool], 2, ["first", "second"])


def test_finite_scores_with_an_infinite_sum_are_fine():
    assert Selection(PATTERNS[1], 4).mask(torch.full((2, 4), 3e38)).sum() == 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("transposed", [False, True])
def test_zeroing_leaves_the_rest_bit_for_bit_and_no_negative_zero(dtype, transposed):
    stored = torch.randn(6, 8, dtype=dtype)
    before = stored.clone()
    weight = stored.T if transposed else stored
    mask = torch.rand(weight.shape) < 0.5
    writes = stored._version
    zero(weight, mask)
    assert stored._version > writes  # copies of it are thrown away by this count
    assert not torch.signbit(weight[mask]).any()
    assert not weight[mask].any()
    original = before.T if transposed else before
    assert torch.equal(weight[~mask], original[~mask])


def test_groups_are_compared_part_by_part_and_may_be_as_large_as_a_pattern():
    values = torch.randint(0, 5, (2, 3 * 4099), generator=torch.Generator().manual_seed(0)).float()
    for size, count in ((3, 1), (3, 2)):
        found = smallest_of_group(values, count, size).numpy().reshape(-1, size)
        groups = values.numpy().reshape(-1, size)
        assert np.array_equal(found, np.stack([stable(group, count) for group in groups]))
    wide = torch.rand(3, 64, generator=torch.Generator().manual_seed(1))
    for count in (1, 32, 63):
        found = smallest_of_group(wide, count, 64).numpy()
        assert np.array_equal(found, np.stack([stable(row, count) for row in wide.numpy()]))


def test_zeros_of_either_sign_are_counted():
    weight = torch.tensor([[0.0, -0.0, 1.0], [float("nan"), 2.0, 0.0]])
    assert zeros(weight) == 3
    assert zeros(weight.bfloat16().T) == 3
    for each in (weight, weight.bfloat16(), weight.bfloat16().T):
        assert torch.equal(nonzero(each), each != 0)


def test_a_mask_is_made_by_the_pattern():
    scores = torch.tensor([[4.0, 3.0, 2.0, 1.0], [8.0, 7.0, 6.0, 5.0]])
    by_matrix = Selection(Unstructured(group="matrix"), 4).mask(scores)
    assert by_matrix.tolist() == [[True] * 4, [False] * 4]
    by_row = Selection(Unstructured(group="row"), 4).mask(scores)
    assert by_row.tolist() == [[False, False, True, True]] * 2
    by_group = Selection(NM(n=3, m=4), 2).mask(scores)
    assert by_group.tolist() == [[False, False, False, True]] * 2


def test_parts_of_a_pattern_of_groups_are_those_of_its_columns():
    whole = Selection(NM(n=2, m=4), 12)
    assert [whole.columns(a, b, (3, 8)).count for a, b in ((0, 4), (4, 8))] == [6, 6]
    rows = Selection(Unstructured(group="row"), 8)  # of 3 rows of 4: two rows lose a third
    assert [rows.columns(a, b, (3, 4)).count for a, b in ((0, 2), (2, 4))] == [5, 3]


def test_the_largest_finite_scores_have_a_place_and_infinity_has_none():
    largest = float(np.finfo(np.float32).max)
    pool = [torch.tensor([[largest, 0.0]]), torch.tensor([[1e-45, largest]])]
    assert kth_smallest([lambda m=m: m for m in pool], 4) == largest
    assert pool_counts([lambda m=m: m for m in pool], 3) == [2, 1]
    for bad in (float("inf"), -1e-45, -0.0):
        with pytest.raises(NonFiniteError, match=r"^a score is NaN, infinite or negative$"):
            kth_smallest([lambda bad=bad: torch.tensor([[1.0, bad]])], 1)


def test_a_pool_of_nothing_to_prune_is_not_looked_at():
    assert pool_counts([lambda: 1 / 0, lambda: 1 / 0], 0) == [0, 0]


@pytest.mark.usefixtures("somewhere")
def test_leading_bits_decide_before_the_rest():
    """Values on both sides of a bucket's ends, a unit in the last place apart."""
    edge = np.array([0x3F7FFFFF, 0x3F800000, 0x3F800001, 0x3F80FFFF, 0x3F810000], np.int32)
    values = torch.from_numpy(edge.view(np.float32).copy())
    for k in range(1, 6):
        assert kth_smallest([lambda: values.flip(0)[None]], k) == float(values[k - 1])
    assert pool_counts([lambda: values[:2][None], lambda: values[2:][None]], 3) == [2, 1]


@given(MATRICES, st.data())
def test_scores_may_lie_in_any_order_in_memory(values, data):
    count = data.draw(st.integers(0, values.size))
    turned = torch.from_numpy(values).T
    expected = stable(np.ascontiguousarray(values.T), count)
    assert np.array_equal(smallest(turned, count).numpy(), expected)


def test_parts_of_a_matrix_are_shared_out_by_their_columns_alone():
    whole = Selection(Unstructured(group="matrix"), 7)
    assert [whole.columns(a, b, (3, 4)).count for a, b in ((0, 2), (2, 4))] == [3, 4]
