"""`make bench-memory`: what pruning checkpoints of 0.5 to 4 GB takes.

Every run is a process of its own. The largest one, and one of its size whose blocks are mixtures of
small experts, live in a memory cgroup of 2 GB where this account may make one; elsewhere their peak
alone is compared with that.
"""

import argparse
import filecmp
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.figures import Figure, conclude
from benchmarks.limits import cgroup, entering
from benchmarks.memory import model
from benchmarks.memory.plot import draw

LIBRARIES, LIMIT = 700.0, 2048.0  # MiB
RECOVERED, RECOVERY_LIMIT = 2.0, 1.5e9 / (1 << 20)  # GB of the checkpoint; MiB
STEADY = 2.0  # GB from which times are long enough for one pair of runs to tell
SAMPLES, MANY = 8, 32
PLOT = Path(__file__).parents[2] / "docs" / "explanation" / "memory.svg"


def main() -> int:
    """Measure everything; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.5, 1, 2, 4], help="GB")
    parser.add_argument("--repeat", type=int, default=3, help="pairs of runs for the times")
    arguments = parser.parse_args()
    figures: dict[str, Figure] = {}
    points: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory(
        prefix="secateur-bench-", dir=os.environ.get("TMPDIR")
    ) as place:
        for size in arguments.sizes:
            source = Path(place) / "source"
            model.write(source, size)
            largest = size == max(arguments.sizes)
            repeat = arguments.repeat if size < STEADY else 1
            figures |= _size(source, size, repeat, points, limited=largest)
            if size == min(arguments.sizes):
                figures |= _resume(source, repeat)
            if size == RECOVERED:
                figures |= _recovered(source)
            shutil.rmtree(source)
        figures |= _experts(Path(place), max(arguments.sizes))
    PLOT.write_text(draw(points, _allowed()))
    return conclude(figures)


def _size(
    source: Path, size: float, repeat: int, points: list[tuple[float, float]], *, limited: bool
) -> dict[str, Figure]:
    """The model in memory and in files, in turn; where there is a limit, once more within it."""
    output = source.parent / "output"
    peaks, ratios, same = list[float](), list[float](), True
    for _ in range(repeat):
        other = run(source, output / "memory", "memory", "wanda", SAMPLES)
        found = run(source, output / "disk", "disk", "wanda", SAMPLES)
        print(f"{size:g} GB: in memory {other}, from disk {found}", flush=True)
        peaks.append(found["peak"])
        ratios.append(found["seconds"] / other["seconds"])
        same = same and _same(output / "memory", output / "disk")
        shutil.rmtree(output)
    figures = {
        f"same files at {size:g} GB": Figure(float(same), least=1),
        f"time at {size:g} GB / in memory": Figure(median(ratios), most=1.15),
    }
    if limited:
        if limit := _limit():
            peaks.append(run(source, output, "disk", "wanda", SAMPLES, group=limit)["peak"])
            shutil.rmtree(output)
        figures[f"{size:g} GB, {_where(limit)}, MiB"] = Figure(peaks[-1], most=LIMIT)
    points.append((size, max(peaks)))
    figures[f"peak at {size:g} GB, MiB"] = Figure(max(peaks), most=_allowed())
    return figures


def _recovered(source: Path) -> dict[str, Figure]:
    output = source.parent / "output"
    found = run(source, output, "disk", "recovered", SAMPLES)
    print(f"{RECOVERED:g} GB, each block trained: {found}", flush=True)
    shutil.rmtree(output)
    return {f"recovery at {RECOVERED:g} GB, MiB": Figure(found["peak"], most=RECOVERY_LIMIT)}


def _experts(place: Path, size: float) -> dict[str, Figure]:
    source, output, limit = place / "source", place / "output", _limit()
    model.write(source, size, experts=True)
    found = run(source, output, "disk", "wanda", SAMPLES, group=limit)
    print(f"{size:g} GB of experts: {found}", flush=True)
    shutil.rmtree(source)
    shutil.rmtree(output)
    return {f"{size:g} GB of experts, {_where(limit)}, MiB": Figure(found["peak"], most=LIMIT)}


def _limit() -> Path | None:
    return cgroup("secateur-bench-memory", int(LIMIT))


def _where(group: Path | None) -> str:
    return "in a cgroup of 2 GB" if group else "no cgroup to be had"


def _resume(source: Path, repeat: int) -> dict[str, Figure]:
    output, kept = source.parent / "output", source.parent / "kept"
    ratios, same = list[float](), True
    for _ in range(repeat):
        whole = run(source, output / "whole", "disk", "wanda", MANY)
        run(source, output / "cut", "disk", "wanda", MANY, str(kept), "0.5")
        rest = run(source, output / "rest", "disk", "wanda", MANY, str(kept), "2")
        print(f"killed at half: whole {whole}, second attempt {rest}", flush=True)
        ratios.append(rest["pruning"] / whole["pruning"])
        same = same and _same(output / "whole", output / "rest")
        shutil.rmtree(output)
        shutil.rmtree(kept)
    return {
        "second attempt after a kill at half / whole": Figure(median(ratios), most=0.55),
        "same files after a kill": Figure(float(same), least=1),
    }


def run(source: Path, output: Path, *rest: object, group: Path | None = None) -> dict[str, float]:
    """One run; empty where it was killed."""
    command = [sys.executable, "-m", "benchmarks.memory.run", *map(str, (source, output, *rest))]
    output.mkdir(parents=True)
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, preexec_fn=entering(group), check=False
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}
    return found


def _allowed() -> float:
    activations = 2 * SAMPLES * 64 * model.HIDDEN
    return (3 * model.BLOCK_BYTES + activations) / (1 << 20) + LIBRARIES


def _same(one: Path, other: Path) -> bool:
    names = sorted(path.name for path in one.glob("*.safetensors"))
    return bool(names) and filecmp.cmpfiles(one, other, names, shallow=False)[0] == names


if __name__ == "__main__":
    sys.exit(main())
