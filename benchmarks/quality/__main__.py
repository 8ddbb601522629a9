"""`python -m benchmarks.quality [GRID]`: compute what is missing, then write docs/quality."""

import argparse
import sys
import time

import torch

from benchmarks.figures import Figure, conclude
from benchmarks.quality.grid import GRIDS
from benchmarks.quality.page import write
from benchmarks.quality.sections import fill, sections
from benchmarks.quality.texts import prepare


def main() -> int:
    """Run a grid; its files are written anew after every table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("grid", nargs="?", choices=GRIDS, default="full")
    parser.add_argument("--only", nargs="*", help="tables to compute; the rest stays as it is")
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = time.monotonic()
    prepare()
    grid = GRIDS[options.grid]
    tables = sections(grid)
    for section in tables:
        fill(section, known_only=options.only is not None and section.name not in options.only)
        out = write(grid, tables)
    print(f"see {out}")
    wanted = sum(len(section.cells) for section in tables)
    known = sum(len(section.rows) for section in tables)
    figures = {
        "rows": Figure(known, least=wanted),
        "minutes": Figure((time.monotonic() - started) / 60, most=grid.minutes),
    }
    return conclude(figures)


if __name__ == "__main__":
    sys.exit(main())
