"""Every matrix on every batch, once, and blocks in one piece."""

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from app.domain.shards import WANTED, cut


@given(st.integers(1, 40), st.lists(st.integers(1, 9), min_size=1, max_size=60))
def test_parts_cover_everything_once(batches, blocks):
    parts = cut(batches, blocks)
    total = sum(blocks)
    seen = [(part.batch, i) for part in parts for i in range(part.first, part.last)]
    assert sorted(seen) == [(batch, i) for batch in range(batches) for i in range(total)]
    edges = {0, *accumulate(blocks)}
    assert all({part.first, part.last} <= edges and part.first < part.last for part in parts)
    assert len(parts) >= min(WANTED, batches * len(blocks))
    assert len(parts) <= WANTED + batches
