"""Requests are counted exactly near the limit, and by shares far from it."""

from types import SimpleNamespace

import pytest

from app import rate_limit
from app.rate_limit import MOST, RateLimiter


@pytest.fixture
def limiters(valkey_server, monkeypatch):
    monkeypatch.setattr(rate_limit, "time", SimpleNamespace(time=lambda: 1e9))  # one minute
    made = [RateLimiter(valkey_server.url) for _ in range(2)]
    yield made
    for each in made:
        each.close()


@pytest.mark.parametrize("limit", [1, 5, 40])
def test_small_limits_are_exact_among_processes(limiters, limit, request):
    project = f"prj_{request.node.name}"
    rates = [limiters[i % 2].take(project, limit) for i in range(limit + 3)]
    assert [rate.used for rate in rates] == list(range(1, limit + 4))
    assert [rate.exceeded for rate in rates] == [False] * limit + [True] * 3


def test_a_busy_process_asks_seldom_and_tells_the_truth(limiters, monkeypatch):
    asked, limiter = [], limiters[0]
    count = limiter._count
    monkeypatch.setattr(limiter, "_count", lambda *a: asked.append(a) or count(*a))
    used = [limiter.take("prj_busy", 100_000).used for _ in range(2000)]
    assert used == list(range(1, 2001))
    assert len(asked) < 100


def test_what_a_process_does_not_use_is_little(limiters):
    for _ in range(1000):
        limiters[0].take("prj_two", 6000)
    assert 1000 < limiters[1].take("prj_two", 6000).used <= 1001 + MOST
