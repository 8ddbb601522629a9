"""Cost of MULTIFLOW in dense forwards, and CHITA's peak memory; last line is JSON.

    make bench-multiflow
    python -m benchmarks.multiflow --rounds 5

Times are CPU seconds of one thread. Every run is bracketed by two dense forwards of the same
calibration set, and the median of the ratios is quoted: machines drift by several per cent.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

from benchmarks.engine.models import build_llama
from benchmarks.engine.ours import Ours
from benchmarks.figures import Figure, conclude


def ratio(model: Path, rounds: int) -> float:
    """MULTIFLOW's whole cost over one dense forward of its 8 x 256 calibration tokens."""
    ours = Ours(model)
    ours.run("multiflow", "unstructured")  # warm-up
    seen = []
    for number in range(rounds):
        seconds, forwards = ours.run("multiflow", "unstructured")
        seen.append(forwards)
        print(f"round {number + 1}: {seconds:.2f} s, {forwards:.3f} forwards", flush=True)
    return statistics.median(seen)


def chita_memory() -> dict[str, float]:
    """Peak resident memory above the loaded model in a fresh process, with what it stands for."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.multiflow.chita"],
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as directory:
        build_llama(Path(directory))
        forwards = ratio(Path(directory), rounds)
    memory = chita_memory()
    print("CHITA, MiB:", ", ".join(f"{name} {value:.0f}" for name, value in memory.items()))
    return conclude(
        {
            "multiflow_over_forward": Figure(forwards, most=1.15),
            "chita_peak_memory_over_stated": Figure(memory["peak"] / memory["stated"], most=1.25),
            "chita_peak_memory_over_whole": Figure(memory["peak"] / memory["whole"]),
        }
    )


if __name__ == "__main__":
    sys.exit(main())
