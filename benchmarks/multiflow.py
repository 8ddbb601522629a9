"""Cost of MULTIFLOW in dense forwards, and CHITA's peak memory; last line is JSON.

    make bench-multiflow
    python benchmarks/multiflow.py --rounds 5

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

from engine import Ours
from engine_models import build_llama

HERE = Path(__file__).parent


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
        [sys.executable, str(HERE / "chita_memory.py")], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as directory:
        build_llama(Path(directory))
        forwards = ratio(Path(directory), rounds)
    memory = chita_memory()
    print("CHITA, MiB:", ", ".join(f"{name} {value:.0f}" for name, value in memory.items()))
    figures = {
        "multiflow_over_forward": (forwards, 1.15),
        "chita_peak_memory_over_stated": (memory["peak"] / memory["stated"], 1.25),
        "chita_peak_memory_over_whole": (memory["peak"] / memory["whole"], None),
    }
    print(
        json.dumps(
            {
                name: {
                    "value": round(value, 3),
                    "target": target,
                    "ok": target is None or value <= target,
                }
                for name, (value, target) in figures.items()
            }
        )
    )
    if any(target is not None and value > target for value, target in figures.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
