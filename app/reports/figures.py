"""Figures in words: times, sizes, shares."""

from datetime import UTC, datetime

from app.recipes.evaluation import Estimate
from app.recipes.performance import Ratio

NONE = "\u2013"
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_STEPS = ((86_400, "d"), (3600, "h"), (60, "min"))


def size(count: float | None) -> str:
    """Bytes with a unit of a thousand: 1.2 GB."""
    if count is None:
        return NONE
    value, place = float(count), 0
    while value >= 999.5 and place < len(_UNITS) - 1:  # noqa: PLR2004  shown as 1000 else
        value, place = value / 1000, place + 1
    return f"{value:.0f} {_UNITS[place]}" if place == 0 else f"{value:.3g} {_UNITS[place]}"


def number(count: float | None) -> str:
    """A count, in groups of three digits."""
    return NONE if count is None else f"{count:,.0f}".replace(",", "\u202f")


def difference(count: int) -> str:
    """A count that is too large (+) or too small, in groups of three digits."""
    return f"{count:+,}".replace(",", "\u202f").replace("-", "\u2212") if count else "0"


def percent(share: float | None, digits: int = 1) -> str:
    """A share of one: 62.5 %."""
    if share is None:
        return NONE
    text = f"{share:.{digits}%}"[:-1]
    return (text.rstrip("0").rstrip(".") if "." in text else text) + " %"


def figure(value: float | None) -> str:
    """Any figure, to four digits."""
    return NONE if value is None else f"{value:.4g}".replace("-", "\u2212")


def signed(value: float | None) -> str:
    """A difference, to three digits."""
    return NONE if value is None else f"{value:+.3g}".replace("-", "\u2212")


def interval(found: Estimate | Ratio) -> str:
    """From its lower to its upper end."""
    return f"{figure(found.low)} to {figure(found.high)}"


def duration(seconds: float | None) -> str:
    """A time span in its two largest units."""
    if seconds is None:
        return NONE
    left = max(0, round(seconds))
    if seconds < 10:  # noqa: PLR2004  tenths say something there
        return f"{max(0.0, seconds):.1f} s"
    parts: list[str] = []
    for step, unit in _STEPS:
        if left >= step or parts:
            parts.append(f"{left // step} {unit}")
            left %= step
    return " ".join([*parts, f"{left} s"][:2])


def moment(at: datetime | None) -> str:
    """A time to the second."""
    return NONE if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
