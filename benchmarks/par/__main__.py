"""What PAR costs and what it keeps; last line is JSON.

make bench-par
python -m benchmarks.par efficiency --rounds 5
"""

import argparse
import sys

from benchmarks.figures import conclude
from benchmarks.par import efficiency, quality

PARTS = {"efficiency": efficiency.figures, "quality": lambda _rounds: quality.figures()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="all by default")
    parser.add_argument("--rounds", type=int, default=3, help="of timing")
    options = parser.parse_args()
    found = {}
    for name in options.parts or PARTS:
        found |= PARTS[name](options.rounds)
    return conclude(found)


if __name__ == "__main__":
    sys.exit(main())
