"""`make bench-runtimes`: every kind of result in the runtimes here, beside the dense model.

Prints a line for each and, as the last one, JSON. Times are medians of ratios, with the smallest
and the largest: in every round the dense model and the result run once, either of them first in
turn, after rounds that are not timed. `same` is the share of places where the result's largest
output is the one that transformers has there. ONLY chooses models, runtimes and kinds: "encoder
OpenVINO width".
"""

import json
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.runtimes.engines import ENGINES, Engine, installed, transformers
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
            kinds = [kind for kind in KINDS if _chosen(kind, KINDS, chosen)]
            for kind in kinds:
                KINDS[kind](root / "dense", root / kind)
            for runtime, engine in ENGINES.items():
                if source not in engine.sources or not _chosen(runtime, ENGINES, chosen):
                    continue
                if (at := installed(engine.package)) is None:
                    print(f"{runtime}: not installed, so not checked")
                    continue
                for kind in kinds:
                    given = (model_class, tokens(shape))
                    told = _compared(root, kind, engine, given)
                    row = {"model": source, "runtime": runtime, "version": at, "kind": kind} | told
                    print(row, flush=True)
                    found.append(row)
    print(json.dumps(found))
    return 0


def _chosen(name: str, among: Collection[str], chosen: list[str]) -> bool:
    """Whether a name is meant; all are where none of their kind is given."""
    return name in chosen or not set(among) & set(chosen)


def _compared(root: Path, kind: str, engine: Engine, given: tuple[Any, ...]) -> dict[str, Any]:
    """Bytes and times of a result as shares of the dense model's; or why it does not load."""
    with TemporaryDirectory() as first, TemporaryDirectory() as second:
        try:
            dense = engine.load(*given, root / "dense", Path(first))
            result = engine.load(*given, root / kind, Path(second))
            times = {"time": _times(dense.run, result.run)}
            if dense.decode and result.decode:
                times["decode"] = _times(dense.decode, result.decode)
            expected = transformers(*given, root / kind, Path(second)).run()
            same = (result.run().argmax(-1) == expected.argmax(-1)).mean()
        except Exception as error:  # noqa: BLE001  whatever a runtime has against it
            return {"loads": False, "why": f"{type(error).__name__}: {str(error)[:200]}"}
        share = round(result.bytes() / dense.bytes(), 3)
        return {"loads": True, "same": round(float(same), 3), "bytes": share} | times


def _times(dense: Callable[[], Any], result: Callable[[], Any]) -> list[float]:
    """Median, smallest and largest of the ratios of rounds."""
    ratios = []
    for number in range(ROUNDS + WARM):
        seconds = {}
        for run in (dense, result) if number % 2 else (result, dense):
            begun = time.process_time()
            run()
            seconds[run] = time.process_time() - begun
        if number >= WARM:
            ratios.append(seconds[result] / seconds[dense])
    return [round(each, 3) for each in (median(ratios), min(ratios), max(ratios))]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
