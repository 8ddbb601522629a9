"""Horizontal bars as SVG, which the plots of all reports are drawn with."""

from collections.abc import Iterable, Sequence
from html import escape

# Okabe and Ito's palette, which colour-blind readers can tell apart.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
ROW, LABEL, LENGTH = 18, 330, 500  # pixels
_END = 90


def bar(top: int, label: str, share: float, colour: str, text: str) -> Sequence[str]:
    """A bar of `share` of the full length with its label before and its value behind it."""
    box = f'x="{LABEL}" y="{top + 3}" width="{share * LENGTH:.1f}" height="{ROW - 6}"'
    return (
        f'<text x="{LABEL - 8}" y="{top + 13}" text-anchor="end">{escape(label)}</text>',
        f'<rect {box} fill="{colour}"/>',
        f'<text x="{LABEL + LENGTH + 8}" y="{top + 13}">{escape(text)}</text>',
    )


def interval(top: int, low: float, high: float) -> str:
    """A line over a bar, from share to share."""
    start, end = (LABEL + LENGTH * edge for edge in (low, high))
    return f'<path d="M{start:.1f} {top + 9}H{end:.1f}" stroke="#000"/>'


def chart(label: str, rows: int, parts: Iterable[str]) -> str:
    """The picture around its bars."""
    size = f"0 0 {LABEL + LENGTH + _END} {max(rows, 1) * ROW}"
    font = 'font-family="system-ui, sans-serif" font-size="11"'
    shape = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" {font} role="img"'
    return "\n".join([f'{shape} aria-label="{escape(label)}">', *parts, "</svg>"])
