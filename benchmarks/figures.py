"""Measured figures beside their targets."""

import json
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured number.

    Attributes:
        value: what was measured.
        least: a target from below, or None.
        most: a target from above, or None.
    """

    value: float
    least: float | None = None
    most: float | None = None

    @property
    def ok(self) -> bool:
        """Whether the figure reaches its target; one without a target does."""
        above = self.least is None or self.value >= self.least
        return above and (self.most is None or self.value <= self.most)

    @property
    def target(self) -> float | None:
        """The target, from whichever side."""
        return self.most if self.least is None else self.least

    def __str__(self) -> str:
        """A table's cell."""
        if self.target is None:
            return f"{self.value:9.3f}"
        sense = "<=" if self.least is None else ">="
        return f"{self.value:9.3f}  {sense} {self.target:g}  {'ok' if self.ok else 'MISSED'}"


def conclude(figures: Mapping[str, Figure]) -> int:
    """Print a table and, as the last line, JSON.

    Returns:
        An exit code: zero where every target is reached.
    """
    for name, figure in figures.items():
        print(f"{name:56s} {figure}")
    rows = {
        name: {"value": round(figure.value, 3), "target": figure.target, "ok": figure.ok}
        for name, figure in figures.items()
    }
    print(json.dumps(rows))
    return 0 if all(figure.ok for figure in figures.values()) else 1
