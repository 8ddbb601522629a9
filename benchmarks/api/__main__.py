"""`make bench-api`: submits, event streams and the relay."""

import sys

from benchmarks.api import relay, submits, watchers
from benchmarks.api.servers import servers
from benchmarks.figures import Figure, conclude


def main() -> int:
    """Measure everything; an exit code of zero where every target is reached."""
    figures: dict[str, Figure] = {}
    with servers() as running:
        for part in (submits, relay, watchers):
            figures |= part.measure(running)
    return conclude(figures)


if __name__ == "__main__":
    sys.exit(main())
