"""Colours of the console: one a meaning, seen on the cards of both schemes."""

import re
from importlib.resources import files
from math import dist

import pytest

from app.console.leaderboard import MOST_SERIES
from app.reports.html import PICTURES_STYLE

FILES = files("app.console") / "static"
SHEET = (FILES / "console.css").read_text(encoding="utf-8")
PICTURED = {"dense", "pruned", "score", "vision", "language", "text", "bridge", "fusion", "audio"}
SERIES = {f"series-{number}" for number in range(1, MOST_SERIES + 1)}


def colours(sheet):
    """Of the light scheme and of the dark one, by name, from 0 to 1."""
    blocks = re.findall(r":root \{(.*?)\}", sheet, re.DOTALL)
    return [
        {
            name: [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
            for name, digits in re.findall(
                r"--([\w-]+): #(\w{6})\b", block.replace("#fff;", "#ffffff;")
            )
        }
        for block in blocks
    ]


def linear(colour):
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]


def luminance(colour):
    red, green, blue = linear(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def lab(colour):
    """CIELAB under D65, where 100 is from black to white."""
    red, green, blue = linear(colour)
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.089
    x, y, z = (
        t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in (x, luminance(colour), z)
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_methods_of_a_sweep_look_like_nothing_else(scheme):
    named = colours(PICTURES_STYLE)[scheme] | colours(SHEET)[scheme]
    alike = [
        (one, other)
        for one in SERIES
        for other in (PICTURED | SERIES) - {one}
        if dist(lab(named[one]), lab(named[other])) < 20
    ]
    assert alike == []
    card = luminance(named["card"])
    contrasts = [
        (max(card, own) + 0.05) / (min(card, own) + 0.05)
        for own in (luminance(named[name]) for name in SERIES)
    ]
    assert min(contrasts) >= 3  # WCAG 1.4.11


def test_the_plot_of_a_sweep_has_no_colour_of_its_own():
    assert not re.search(r"#[0-9a-f]{3,6}\b", (FILES / "plots.js").read_text(encoding="utf-8"))
