"""A metric over sparsity as SVG, one line per pruner; drawn by hand, needs nothing."""

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 760, 420
LEFT, TOP, RIGHT, BOTTOM = 60, 40, 220, 45
COLOURS = ("#7f7f7f", "#56b4e9", "#0072b2", "#009e73", "#e69f00", "#d55e00", "#000000")


def curves(
    title: str,
    lines: Mapping[str, Sequence[tuple[float, float]]],
    dense: float,
    *,
    logarithmic: bool = False,
) -> str:
    """The figure.

    Args:
        title: stands above.
        lines: (sparsity, value) by label, in the order of the legend.
        dense: drawn as a dashed line.
        logarithmic: for values above zero that grow by factors.
    """
    height, value_at = (math.log, math.exp) if logarithmic else (float, float)
    points = [point for line in lines.values() for point in line]
    low_x, high_x = min(x for x, _ in points), max(x for x, _ in points)
    heights = [height(y) for y in (dense, *(y for _, y in points))]
    low_y, high_y = min(heights if logarithmic else [0.0, *heights]), max(heights)

    def place(x: float, y: float) -> str:
        across = (x - low_x) / ((high_x - low_x) or 1)
        up = (height(y) - low_y) / ((high_y - low_y) or 1)
        left = LEFT + across * (WIDTH - LEFT - RIGHT)
        return f"{left:.1f},{HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM):.1f}"

    def text(x: float, y: float, content: str, anchor: str = "start") -> str:
        return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(content)}</text>'

    def polyline(line: Sequence[tuple[float, float]], colour: str, dash: str = "") -> str:
        spots = " ".join(place(x, y) for x, y in line)
        style = f'fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"'
        return f'<polyline points="{spots}" {style}/>'

    body = [text(LEFT, 22, title), polyline([(low_x, dense), (high_x, dense)], "#888", "5 4")]
    for share in sorted({x for x, _ in points}):
        x = place(share, value_at(low_y)).split(",")[0]
        body.append(text(float(x), HEIGHT - BOTTOM + 18, f"{share:.0%}", "middle"))
    for step in range(5):
        value = value_at(low_y + (high_y - low_y) * step / 4)
        y = float(place(low_x, value).split(",")[1])
        told = f"{value:.3g}" if logarithmic else f"{value:.2f}"
        body.append(text(LEFT - 8, y + 4, told, "end"))
        body.append(polyline([(low_x, value), (high_x, value)], "#eee"))
    for number, (label, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        y = TOP + 20 * number
        body.append(polyline(sorted(line), colour))
        body.append(
            f'<rect x="{WIDTH - RIGHT + 20}" y="{y - 9}" width="14" height="4" fill="{colour}"/>'
        )
        body.append(text(WIDTH - RIGHT + 40, y - 3, label))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="13"><rect width="{WIDTH}" height="{HEIGHT}" '
        f'fill="white"/>{"".join(body)}</svg>\n'
    )
