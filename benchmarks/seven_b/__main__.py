"""`make bench-7b`: a checkpoint of LLaVA-1.5-7B's shape pruned in 3 GB of memory; last line JSON.

    make bench-7b METHOD=wanda LAYERS=2

writes the checkpoint (14 GB) below `.bench-7b`, prunes a copy of it with each method in a process
of its own, verifies it, and deletes both. What a call has finished, the next one does not do again.
The process may hold so many MiB of anonymous memory, by RLIMIT_DATA; where this account may make a
memory cgroup, that limits pages of files too.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.figures import Figure, conclude
from benchmarks.limits import cgroup, entering
from benchmarks.seven_b import model

LIMITS = {"magnitude": 3 << 10, "wanda": 3 << 10, "ecoflap": 4 << 10}  # MiB
MINUTES = 60


def main() -> int:
    """Run what is not done yet; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="+", default=list(LIMITS), choices=list(LIMITS))
    parser.add_argument("--layers", type=int, default=model.LANGUAGE, help="language blocks")
    parser.add_argument("--place", type=Path, default=Path(".bench-7b"))
    options = parser.parse_args()
    place = options.place / str(options.layers)
    source = place / "source"
    figures: dict[str, Figure] = {}
    for method in options.methods:
        done = place / f"{method}.json"
        if not done.exists():
            model.write(source, options.layers)
            found = _run(place, method)
            done.write_text(json.dumps(found))
            shutil.rmtree(place / "output")
            shutil.rmtree(place / "kept", ignore_errors=True)
        found = json.loads(done.read_text())
        print(f"{method}: {found}", flush=True)
        minutes = (found["copying"] + found["pruning"] + found["verifying"]) / 60
        whole = options.layers == model.LANGUAGE
        figures |= {
            f"{method}: peak of anonymous memory, MiB": Figure(
                found["anonymous"], most=LIMITS[method]
            ),
            f"{method}: minutes": Figure(minutes, most=MINUTES if whole else None),
            f"{method}: exporting and verifying / one write and one read": Figure(
                found["verifying"] / found["moving"], most=1.2
            ),
            f"{method}: CPU minutes": Figure(found["cpu"] / 60),
            f"{method}: sparsity of the verified files": Figure(found["sparsity"], least=0.499),
        }
    shutil.rmtree(place)
    return conclude(figures)


def _run(place: Path, method: str) -> dict[str, float]:
    limit = LIMITS[method]
    paths = [place / "source", place / "output", place / "kept" / method]
    command = [sys.executable, "-m", "benchmarks.seven_b.run", *paths, method, limit]
    group = cgroup("secateur-bench-7b", limit)
    print(f"{method}: {limit} MiB, {'a cgroup' if group else 'RLIMIT_DATA'}", flush=True)
    process = subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=entering(group),  # noqa: PLW1509 - this process has no threads
    )
    last = ""
    for line in process.stdout or ():
        last = line
        print(f"  {line}", end="", flush=True)
    if process.wait():
        raise SystemExit(f"{method} ended with {process.returncode}; call again to go on")
    if group is not None:
        group.rmdir()
    found: dict[str, float] = json.loads(last)
    return found


if __name__ == "__main__":
    sys.exit(main())
