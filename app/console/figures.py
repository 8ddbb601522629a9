"""What pages of the console say beside figures of reports: times as seen from now, ids, JSON."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from app.reports.figures import (
    NONE,
    duration,
    figure,
    moment,
    number,
    percent,
    signed,
    size,
)


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


def day(at: datetime | None) -> str:
    """A time to the minute."""
    return NONE if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"


def short(identifier: str) -> str:
    """The end of an id, which differs most from that of others."""
    return identifier[-8:]


def as_json(value: object) -> str:
    """JSON for people."""
    return json.dumps(value, indent=2, ensure_ascii=False)


FILTERS: dict[str, Callable[..., Any]] = {
    "ago": ago,
    "as_json": as_json,
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
