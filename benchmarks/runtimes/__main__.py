"""`make bench-runtimes`: every kind of result in the runtimes here, beside the dense model.

Prints a line for each and, as the last one, JSON. Times are medians of ratios: in every round the
dense model and the result run once, in turns, after rounds that are not timed. ONLY chooses models
and runtimes: "encoder OpenVINO".
"""

import json
import sys
import time
from collections.abc import Collection
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.runtimes.engines import ENGINES, Loaded, installed
from benchmarks.runtimes.results import KINDS, SOURCES, tokens

ROUNDS, WARM = 7, 2


def main(chosen: list[str]) -> int:
    """Print the table; returns the exit code."""
    torch.set_num_threads(1)
    found = []
    for source, (build, model_class, shape) in SOURCES.items():
        if not _chosen(source, SOURCES, chosen):
            continue
        with TemporaryDirectory() as scratch:
            root = Path(scratch)
            build(root / "dense")
            for kind, make in KINDS.items():
                make(root / "dense", root / kind)
            for runtime, (package, load) in ENGINES.items():
                if not _chosen(runtime, ENGINES, chosen):
                    continue
                if (at := installed(package)) is None:
                    print(f"{runtime}: not installed, so not checked")
                    continue
                for kind in KINDS:
                    told = _compared(root, kind, partial(load, model_class, tokens(shape)))
                    row = {"model": source, "runtime": runtime, "version": at, "kind": kind} | told
                    print(row, flush=True)
                    found.append(row)
    print(json.dumps(found))
    return 0


def _chosen(name: str, among: Collection[str], chosen: list[str]) -> bool:
    """Whether a name is meant; all are where none of their kind is given."""
    return name in chosen or not set(among) & set(chosen)


def _compared(root: Path, kind: str, load: Any) -> dict[str, Any]:
    """Bytes and time of a result as shares of the dense model's; or why it does not load."""
    with TemporaryDirectory() as first, TemporaryDirectory() as second:
        try:
            pair: list[Loaded] = [
                load(root / each, Path(to)) for each, to in (("dense", first), (kind, second))
            ]
            ratios = []
            for number in range(ROUNDS + WARM):
                seconds = []
                for each in pair:
                    begun = time.process_time()
                    each.run()
                    seconds.append(time.process_time() - begun)
                if number >= WARM:
                    ratios.append(seconds[1] / seconds[0])
        except Exception as error:  # noqa: BLE001  whatever a runtime has against it
            return {"loads": False, "why": f"{type(error).__name__}: {str(error)[:200]}"}
        dense, result = (each.bytes() for each in pair)
        return {
            "loads": True,
            "bytes": round(result / dense, 3),
            "time": round(median(ratios), 3),
            "range": [round(min(ratios), 3), round(max(ratios), 3)],
        }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
