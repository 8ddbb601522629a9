"""Peak memory over the size of the checkpoint as SVG; drawn by hand, needs nothing."""

from collections.abc import Sequence

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 360, 70, 150, 40, 50


def draw(points: Sequence[tuple[float, float]], allowed: float) -> str:
    """The figure.

    Args:
        points: (GB of the checkpoint, MiB of peak resident memory), sizes ascending.
        allowed: MiB a run may take, whatever the size.
    """
    widest = points[-1][0]
    highest = widest * 1e9 / (1 << 20)

    def place(size: float, peak: float) -> str:
        left = LEFT + size / widest * (WIDTH - LEFT - RIGHT)
        return f"{left:.0f},{HEIGHT - BOTTOM - peak / highest * (HEIGHT - TOP - BOTTOM):.0f}"

    def line(spots: Sequence[tuple[float, float]], colour: str, label: str, dash: str = "") -> str:
        path = " ".join(place(*spot) for spot in spots)
        x, y = place(*spots[-1]).split(",")
        return (
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" '
            f'stroke-dasharray="{dash}"/><text x="{int(x) + 8}" y="{int(y) + 4}">{label}</text>'
        )

    marks = [
        f'<circle cx="{x}" cy="{y}" r="4" fill="#4e79a7"/>'
        for x, y in (place(*point).split(",") for point in points)
    ]
    ticks = []
    for size, _ in points:
        x, _ = place(size, 0).split(",")
        ticks.append(
            f'<text x="{x}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{size:.2g}</text>'
        )
    for gigabytes in range(int(highest / 1024) + 1):
        _, y = place(0, gigabytes * 1024).split(",")
        ticks.append(f'<text x="{LEFT - 10}" y="{y}" text-anchor="end">{gigabytes} GiB</text>')
    body = [
        '<text x="70" y="22">Peak resident memory of pruning with Wanda</text>',
        f'<text x="{LEFT}" y="{HEIGHT - 8}">checkpoint, GB</text>',
        line([(0, 0), (widest, highest)], "#bbb", "the checkpoint", "2 3"),
        line([(0, allowed), (widest, allowed)], "#e15759", "allowed", "5 4"),
        line(points, "#4e79a7", f"measured, {points[-1][1]:.0f} MiB"),
        *marks,
        *ticks,
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="13">\n' + "\n".join(body) + "\n</svg>\n"
    )
