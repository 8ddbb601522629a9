"""`make bench-runtimes`: every kind of result in the runtimes here, beside the dense model.

Prints a line for each and, as the last one, JSON. ONLY chooses models, runtimes and kinds:
"encoder OpenVINO width". Shares are of the dense model, whose own numbers stand under `dense`:

- `files`: bytes of the weights' files that the runtime loads, after they were converted;
- `used`, `peak`: bytes that loading and running add to a process, in the end and at most;
- `run`, `decode`: of the processor, for one forward and for an answer of some tokens; medians of
  ratios, with the smallest and the largest: in every round the dense model and the result run
  once, either of them first in turn, after a round that is not timed;
- `same`: of the places, those where the largest output is the one that transformers has there.

The targets are what `runtime_support` tells users: a claim that was not measured is missed.
"""

import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from app.recipes.runtime_support import runtime_support
from benchmarks.figures import Figure, conclude
from benchmarks.runtimes.engines import ENGINES
from benchmarks.runtimes.models import SOURCES
from benchmarks.runtimes.process import Process, write_given
from benchmarks.runtimes.results import KINDS, STEPS

ROUNDS, WARM = 7, 1
WEIGHTS = {".safetensors", ".onnx", ".data", ".bin", ".gguf"}
LESS = 0.97  # of the dense model's memory and time, at most, where users are told "less"


def main(chosen: list[str]) -> int:
    """Print the table; returns the exit code."""
    torch.set_num_threads(1)
    figures: dict[str, Figure] = {}
    for model in _chosen(SOURCES, chosen):
        with TemporaryDirectory() as scratch:
            for row in _rows(model, Path(scratch), chosen):
                print(row, flush=True)
                figures |= _figures(row)
    return conclude(figures)


def _chosen(among: Collection[str], chosen: list[str]) -> list[str]:
    """Names that are meant; all are where none of their kind is given."""
    meant = set(among) & set(chosen)
    return [name for name in among if name in meant or not meant]


def _rows(model: str, root: Path, chosen: list[str]) -> Iterator[dict[str, Any]]:
    source = SOURCES[model]
    write_given(source.given, root / "given")
    source.write(root / "dense")
    kinds = _chosen(KINDS, chosen)
    for kind in kinds:
        KINDS[kind](root / "dense", root / kind, source.given.inputs)
        run = ENGINES["transformers"].load(source.given, root / kind).run
        np.save(root / f"{kind}.npy", run().argmax(-1))
    for runtime in _chosen(ENGINES, chosen):
        if model in ENGINES[runtime].models:
            for row in _of_runtime(runtime, kinds, root):
                yield {"model": model, "runtime": runtime} | row


def _of_runtime(runtime: str, kinds: list[str], root: Path) -> Iterator[dict[str, Any]]:
    """A row for each kind; none where the runtime is not here."""
    try:
        with Process(runtime, root / "given") as dense, Process(runtime, root / "given") as maker:
            about = {"version": dense.ask("version")}
            refused = _refused(runtime, dense, maker, root)
            for kind in kinds:
                told = refused or _told(runtime, kind, dense, maker, root)
                yield about | {"kind": kind} | told
    except (OSError, RuntimeError) as error:
        print(f"{runtime}: not installed, so not checked: {error}")


def _refused(runtime: str, dense: Process, maker: Process, root: Path) -> dict[str, Any]:
    """Load the dense model for all rows; why that cannot be, where it cannot."""
    try:
        _convert(runtime, maker, root / "dense", root / runtime)
        dense.ask("load", root / runtime)
    except RuntimeError as error:
        return _not_loaded(error)
    return {}


def _told(runtime: str, kind: str, dense: Process, maker: Process, root: Path) -> dict[str, Any]:
    """What a runtime makes of a result; or why it does not load."""
    try:
        with (
            TemporaryDirectory(dir=root) as scratch,
            Process(runtime, root / "given") as result,
        ):
            made = Path(scratch) / "result"
            _convert(runtime, maker, root / kind, made)
            result.ask("load", made)
            told = _compared(dense, result)
            result.ask("places", root / "places.npy")
            sizes = _size(made), _size(root / runtime)
        places = [np.load(root / file) for file in (f"{kind}.npy", "places.npy")]
        same = {"same": round(float(np.equal(*places).mean()), 4)}
        return {"loads": True, "files": round(sizes[0] / sizes[1], 3)} | same | told
    except RuntimeError as error:
        return _not_loaded(error)


def _not_loaded(error: Exception) -> dict[str, Any]:
    return {"loads": False, "why": str(error)[:300]}


def _convert(runtime: str, maker: Process, directory: Path, out: Path) -> None:
    """Write what a runtime loads."""
    if ENGINES[runtime].convert is None:
        out.symlink_to(directory)
    else:
        maker.ask("convert", directory, out)


def _compared(dense: Process, result: Process) -> dict[str, Any]:
    """Shares of the dense model's."""
    told: dict[str, Any] = {}
    seconds = {}
    for what in result.ask("abilities"):
        told[what], seconds[what] = _times(what, dense, result)
    before, after = (process.ask("memory") for process in (dense, result))
    shares = {name: round(after[name] / before[name], 3) for name in before}
    return shares | told | {"dense": before | seconds}


def _times(what: str, dense: Process, result: Process) -> tuple[list[float], float]:
    """Median, smallest and largest of the ratios of rounds; the dense model's seconds."""
    ratios, seconds = [], []
    for number in range(ROUNDS + WARM):
        turns = (dense, result) if number % 2 else (result, dense)
        taken = {process: process.ask(what) for process in turns}
        if number >= WARM:
            ratios.append(taken[result] / taken[dense])
            seconds.append(taken[dense])
    least = (median(ratios), min(ratios), max(ratios))
    return [round(each, 3) for each in least], round(median(seconds), 3)


def _size(directory: Path) -> int:
    """Bytes of the weights in a directory."""
    return sum(each.stat().st_size for each in directory.iterdir() if each.suffix in WEIGHTS)


def _figures(row: dict[str, Any]) -> dict[str, Figure]:
    """What was measured, against what users are told."""
    structure = [STEPS[row["kind"]]] if row["kind"] in STEPS else []
    source = SOURCES[row["model"]]
    support = runtime_support(source.kind, source.model_type, structure)
    told = {each.runtime.replace(" ", ""): each for each in support}[row["runtime"]]
    name = f"{row['model']}, {row['runtime']}, {row['kind']}"
    figures = {f"{name}: loads": Figure(row["loads"], least=1 if told.loads else None)}
    if row["loads"]:
        figures[f"{name}: memory"] = Figure(row["used"], most=LESS if told.smaller else None)
        figures[f"{name}: time"] = Figure(row["run"][0], most=LESS if told.faster else None)
    return figures


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
