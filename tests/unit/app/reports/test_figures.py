"""Figures as people read them."""

import pytest

from app.reports import figures


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


def test_signs_are_minus_signs():
    assert figures.signed(-0.0312) == "\u22120.0312"
    assert figures.signed(0.5) == "+0.5"


def test_differences_are_told_with_their_sign():
    assert figures.difference(-1200) == "\u22121\u202f200"
    assert figures.difference(7) == "+7"
    assert figures.difference(0) == "0"
