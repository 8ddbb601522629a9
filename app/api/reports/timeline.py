"""A job's events as a picture: when each phase began and how long it took."""

from collections.abc import Sequence
from html import escape
from itertools import pairwise

from app.domain.jobs import Event, EventType

_SHOWN = {EventType.STATUS, EventType.PHASE}
_ROW, _LABEL, _BAR, _END = 18, 330, 500, 90  # pixels


def timeline(events: Sequence[Event]) -> str:
    """A heading and a plot with a bar for every phase; empty where nothing has happened."""
    shown = [event for event in events if event.type in _SHOWN]
    if len(shown) < 2:  # noqa: PLR2004  a beginning and an end
        return ""
    begin, end = shown[0].at, shown[-1].at
    whole = (end - begin).total_seconds() or 1
    rows = []
    for number, (event, following) in enumerate(pairwise(shown)):
        start = (event.at - begin).total_seconds()
        seconds = (following.at - event.at).total_seconds()
        top = number * _ROW
        left, width = _LABEL + start / whole * _BAR, max(seconds / whole * _BAR, 1)
        name = event.message.partition(":")[0][:50]
        rows += [
            f'<text x="{_LABEL - 8}" y="{top + 13}" text-anchor="end">{escape(name)}</text>',
            (
                f'<rect x="{left:.1f}" y="{top + 3}" width="{width:.1f}" height="{_ROW - 6}" '
                'fill="#0072b2"/>'
            ),
            f'<text x="{_LABEL + _BAR + 8}" y="{top + 13}">{seconds:.2f} s</text>',
        ]
    size = f"0 0 {_LABEL + _BAR + _END} {(len(shown) - 1) * _ROW}"
    font = 'font-family="system-ui, sans-serif" font-size="11"'
    return "\n".join(
        [
            (
                f"<h2>Events</h2><p>From {begin:%Y-%m-%d %H:%M:%S} UTC, {whole:.2f} s, then "
                f"{escape(shown[-1].message[:200])}.</p>"
            ),
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" {font} role="img" '
                'aria-label="When every phase began and how long it took">'
            ),
            *rows,
            "</svg>",
        ]
    )
