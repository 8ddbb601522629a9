"""Figures as people read them."""

from datetime import UTC, datetime, timedelta

import pytest

from app.console import figures


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, "\u2013"), (0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1_234_567, "1.23 MB"),
     (26e9, "26 GB"), (999_600, "1 MB"), (999.6, "1 kB")],
)  # fmt: skip
def test_sizes(count, text):
    assert figures.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "\u2013"), (0.04, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (61, "1 min 1 s"),
     (3600, "1 h 0 min"),
     (90_000, "1 d 1 h"), (-3, "0.0 s")],
)  # fmt: skip
def test_durations(seconds, text):
    assert figures.duration(seconds) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(None, "\u2013"), (0.5, "50 %"), (0.625, "62.5 %"), (1, "100 %"), (0, "0 %")],
)
def test_shares(share, text):
    assert figures.percent(share) == text


def test_times_are_told_from_now():
    now = datetime.now(UTC)
    assert figures.ago(now - timedelta(minutes=3, seconds=4)) == "3 min ago"
    assert figures.ago(now + timedelta(hours=2, minutes=1)) == "in 2 h"
    assert figures.ago(now - timedelta(seconds=20)) == "20 s ago"
    assert figures.ago(None) == "\u2013"


def test_signs_are_minus_signs():
    assert figures.signed(-0.0312) == "\u22120.0312"
    assert figures.signed(0.5) == "+0.5"
