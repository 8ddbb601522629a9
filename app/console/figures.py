"""Figures in words: times, sizes, shares."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup, escape

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


def until(at: datetime | None) -> str:
    """When something should be done."""
    if at is None:
        return "end not known yet"
    return f"done {ago(at)}" if at > datetime.now(UTC) else "done any moment"


def ago(at: datetime | None) -> str:
    """How long ago, or how long until then."""
    if at is None:
        return NONE
    seconds = (datetime.now(UTC) - at).total_seconds()
    words = duration(abs(seconds)) if abs(seconds) < 60 else duration(abs(seconds)).split(" s")[0]  # noqa: PLR2004
    short = " ".join(words.split(" ")[:2])
    return f"{short} ago" if seconds >= 0 else f"in {short}"


def moment(at: datetime | None) -> str:
    """A time to the second."""
    return NONE if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def day(at: datetime | None) -> str:
    """A time to the minute."""
    return NONE if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"


def short(identifier: str) -> str:
    """The end of an id, which differs most from that of others."""
    return identifier[-8:]


def as_json(value: object) -> str:
    """JSON for people."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def commands(sentence: str) -> Markup:
    """A sentence whose `commands` are set as such."""
    parts = sentence.split("`")
    marked = [
        Markup("<code>{}</code>").format(part) if place % 2 else escape(part)
        for place, part in enumerate(parts)
    ]
    return Markup("").join(marked)


FILTERS: dict[str, Callable[..., Any]] = {
    "ago": ago,
    "as_json": as_json,
    "commands": commands,
    "day": day,
    "duration": duration,
    "figure": figure,
    "moment": moment,
    "number": number,
    "percent": percent,
    "short": short,
    "signed": signed,
    "size": size,
    "until": until,
}
