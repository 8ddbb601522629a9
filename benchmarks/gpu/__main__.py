"""`make bench-gpu`: a checkpoint of LLaVA-1.5-7B's shape pruned on a GPU; last line JSON.

    make bench-gpu METHOD=wanda PEER=/opt/llmcompressor/bin/python LAYERS=8

128 samples of 640 tokens, the language tower, to a half. Each side runs in a process of its own;
PEER is an interpreter that has llm-compressor. What a call has finished, the next one with the same
LAYERS does not do again, so that single methods can be measured one call at a time. The clock runs
from the opened checkpoint to the pruned weights: in the files for ours, in memory for the peer's.
Without a GPU it says so and measures nothing.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.figures import Figure, conclude
from benchmarks.gpu import inputs
from benchmarks.seven_b import model

METHODS = ("forward", "wanda", "sparsegpt", "admm", "ecoflap")
COMPARED = ("wanda", "sparsegpt")
SAMPLES, BATCH = 128, 8
_FEW = {"ecoflap": 2}  # rows at a time: a loss over 32,000 words takes memory
_PEAK = 6 << 10  # MiB
_RATIO = 0.7


def main() -> int:
    """Run what is not done yet; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--peer", help="interpreter with llm-compressor")
    parser.add_argument("--layers", type=int, default=model.LANGUAGE, help="language blocks")
    parser.add_argument("--place", type=Path, default=Path(".bench-gpu"))
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU here: nothing is measured")
        return conclude({})
    print(torch.cuda.get_device_name())
    place = options.place / str(options.layers)
    model.write(place / "source", options.layers)
    torch.save(torch.cat([b["input_ids"] for b in inputs.batches(SAMPLES, BATCH)]), place / "ids")
    found = {}
    for method in options.methods:
        found[method] = _kept(place / f"{method}.json", _ours(place, method))
        print(f"{method}: {found[method]}", flush=True)
        if options.peer and method in COMPARED:
            name = f"llm-compressor {method}"
            found[name] = _kept(place / f"{name}.json", _peer(place, method, options.peer))
            print(f"{name}: {found[name]}", flush=True)
    return conclude(_figures(found))


def _figures(found: dict[str, dict[str, float]]) -> dict[str, Figure]:
    figures = {}
    for method in METHODS:
        ours, peer = found.get(method), found.get(f"llm-compressor {method}")
        if ours is None:
            continue
        figures[f"{method}: seconds"] = Figure(ours["seconds"])
        figures[f"{method}: peak of device memory, MiB"] = Figure(ours["allocated"], most=_PEAK)
        if method != "forward":
            figures[f"{method}: sparsity"] = Figure(ours["sparsity"], least=0.499)
            if "forward" in found:
                forwards = ours["seconds"] / found["forward"]["seconds"]
                figures[f"{method} / forward"] = Figure(forwards)
        if peer is not None:
            figures[f"{method} / llm-compressor"] = Figure(
                ours["seconds"] / peer["seconds"], most=_RATIO
            )
            figures[f"llm-compressor, {method}: peak, MiB"] = Figure(peer["allocated"])
        elif method in COMPARED:
            print(f"{method}: not compared with llm-compressor, which PEER= was not given for")
    return figures


def _ours(place: Path, method: str) -> list[str]:
    module = [sys.executable, "-m", "benchmarks.gpu.ours"]
    return [
        *module,
        str(place / "source"),
        str(place / "output"),
        method,
        str(SAMPLES),
        str(_FEW.get(method, BATCH)),
    ]


def _peer(place: Path, method: str, interpreter: str) -> list[str]:
    module = [interpreter, "-m", "benchmarks.gpu.peer"]
    return [*module, str(place / "source"), method, str(place / "ids"), str(BATCH)]


def _kept(file: Path, command: list[str]) -> dict[str, float]:
    if not file.exists():
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        file.write_text(done.stdout.splitlines()[-1])
        shutil.rmtree(file.parent / "output", ignore_errors=True)
    found: dict[str, float] = json.loads(file.read_text())
    return found


if __name__ == "__main__":
    sys.exit(main())
