"""Speed and memory of the pruning engine, each figure beside its target; last line is JSON.

    make bench-engine                 # builds llm-compressor's environment, then runs this
    python -m benchmarks.engine --rounds 5 --peer .venv-llmcompressor/bin/python
    python -m benchmarks.engine --only bf16    # some parts only

Times are CPU seconds of one thread. Sides take turns, every run of ours is bracketed by two dense
forwards of the same calibration set, and medians are quoted: machines drift by several per cent.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import torch

from app.recipes.reconstruction import LeastSquares
from benchmarks.engine.models import (
    BATCH,
    LENGTH,
    SAMPLES,
    build_llama,
    build_llava,
    token_ids,
)
from benchmarks.engine.ours import Ours, timed
from benchmarks.figures import Figure, conclude
from workers.pruning.models.layout.precision import suitable_dtype
from workers.pruning.selection.kth import pool_counts
from workers.pruning.selection.selection import smallest, zero

PARTS = ("float32", "bf16", "solvers", "memory", "selection")
RUNS = [(method, p) for method in ("wanda", "sparsegpt") for p in ("unstructured", "2:4")]

ONE_PASS = "wanda, one pass"
# In dense forwards, of a Llama with so many calibration samples.
SOLVERS: dict[str, tuple[str, dict[str, Any]]] = {
    ONE_PASS: ("wanda", {"walk": "one-pass"}),
    "wanda + least squares": ("wanda", {"reconstruction": LeastSquares()}),
    "admm": ("admm", {}),
}
MANY = 64  # samples: 16,384 tokens
ASKED = {
    (SAMPLES, ONE_PASS): 1.25,
    (SAMPLES, "wanda + least squares"): 13.0,
    (SAMPLES, "admm"): 18.0,
    (MANY, "wanda + least squares"): 4.5,
    (MANY, "admm"): 6.5,
}


class Peer:
    """llm-compressor in a process of its own, idle between questions."""

    def __init__(self, python: Path, model: Path, ids: Path) -> None:
        command = [python, Path(__file__).with_name("peer.py"), model, ids, BATCH]
        self._process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def seconds(self, method: str, structure: str) -> float:
        self._process.stdin.write(f"{method} {structure}\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("ANSWER "):
                answer = json.loads(line.removeprefix("ANSWER "))
                if abs(answer["sparsity"] - 0.5) > 0.01:
                    raise RuntimeError(f"llm-compressor left {answer['sparsity']} sparsity")
                return answer["seconds"]
        raise RuntimeError("llm-compressor ended without an answer")


def speed(ours: Ours, peer: Peer | None, rounds: int) -> dict[str, list[float]]:
    seen: dict[str, list[float]] = defaultdict(list)
    ours.run("wanda", "unstructured")  # warm-up
    for number in range(rounds):
        for method, pattern in RUNS:
            seconds, forwards = ours.run(method, pattern)
            seen[f"{method} {pattern}"].append(seconds)
            seen[f"{method} {pattern} / forward"].append(forwards)
            note = (
                f"round {number + 1} {method} {pattern}: {seconds:.2f} s, {forwards:.2f} forwards"
            )
            if peer:
                theirs = peer.seconds(method, pattern)
                seen[f"{method} {pattern} speed-up"].append(theirs / seconds)
                note += f"; llm-compressor {theirs:.2f} s"
            print(note, flush=True)
        for method in ("wanda", "sparsegpt"):
            pair = [seen[f"{method} {p} / forward"][-1] for p in ("2:4", "unstructured")]
            seen[f"{method} 2:4 / unstructured"].append(pair[0] / pair[1])
    return seen


def full(ours: Ours, peer: Peer | None, rounds: int) -> dict[str, Figure]:
    """The model in float32, beside its dense forward and llm-compressor."""
    weights = sum(matrix.numel for matrix in ours.adapter.matrices)
    print(f"{weights / 1e6:.1f}M prunable weights, {SAMPLES} x {LENGTH} tokens", flush=True)
    seen = {name: statistics.median(v) for name, v in speed(ours, peer, rounds).items()}
    figures = {
        "wanda / forward": Figure(seen["wanda unstructured / forward"], most=1.6),
        "sparsegpt / forward": Figure(seen["sparsegpt unstructured / forward"], most=3.4),
    }
    for method in ("wanda", "sparsegpt"):
        if peer:
            name = f"{method} speed-up"
            figures[name] = Figure(seen[f"{method} unstructured speed-up"], least=1.7)
            figures[f"{method} 2:4 speed-up"] = Figure(seen[f"{method} 2:4 speed-up"])
        ratio = seen[f"{method} 2:4 / unstructured"]
        figures[f"{method} 2:4 / unstructured"] = Figure(ratio, most=1.0)
    return figures


def half(ours: Ours, wide: Ours, peer: Peer | None, rounds: int) -> dict[str, Figure]:
    """The same model stored in bfloat16: beside its float32 file, and llm-compressor on it."""
    seen: dict[str, list[float]] = defaultdict(list)
    ours.run("wanda", "unstructured")  # warm-up
    for number in range(rounds):
        for method in ("wanda", "sparsegpt"):
            seconds = ours.run(method, "unstructured")[0]
            float32 = wide.run(method, "unstructured")[0]
            seen[f"{method} bf16 / float32"].append(seconds / float32)
            note = f"round {number + 1} {method} bf16: {seconds:.2f} s, float32 {float32:.2f} s"
            if peer:
                theirs = peer.seconds(method, "unstructured")
                seen[f"{method} bf16 speed-up"].append(theirs / seconds)
                note += f"; llm-compressor {theirs:.2f} s"
            print(note, flush=True)
    native = suitable_dtype(torch.bfloat16, torch.device("cpu")) == torch.bfloat16
    found = {}
    for name, values in seen.items():
        least = 7.0 if name == "wanda bf16 speed-up" and not native else None
        most = 1.1 if name.endswith("float32") else None
        found[name] = Figure(statistics.median(values), least=least, most=most)
    return found


def solvers(model: Path, peer: Peer | None, rounds: int) -> dict[str, Figure]:
    """One pass, and solving for weights, where tokens are few and where they are more."""
    figures = {}
    for samples in (SAMPLES, MANY):
        ours = Ours(model, samples)
        tokens = f"{samples * LENGTH:,} tokens"
        for name, (method, parts) in SOLVERS.items():
            seen = [ours.run(method, "unstructured", **parts) for _ in range(rounds)]
            forwards = [each for _, each in seen]
            label = f"{name} / forward, {tokens}"
            print(f"{label}: {', '.join(f'{each:.2f}' for each in forwards)}", flush=True)
            figures[label] = Figure(statistics.median(forwards), most=ASKED.get((samples, name)))
            if peer and samples == SAMPLES and name == ONE_PASS:
                ratios = [peer.seconds(method, "unstructured") / seconds for seconds, _ in seen]
                figures[f"{name}, speed-up"] = Figure(statistics.median(ratios), least=2.5)
        if peer and samples == SAMPLES:
            theirs = peer.seconds("sparsegpt", "unstructured") / ours.forward()
            figures[f"llm-compressor's SparseGPT / forward, {tokens}"] = Figure(theirs)
    return figures


def selection() -> dict[str, float]:
    """Global selection of 10^8 weights, against one pass of abs + histogram in torch."""
    matrices = [torch.randn(2500, 2000) for _ in range(20)]
    pool = [lambda w=w: w.abs() for w in matrices]
    count = sum(w.numel() for w in matrices) // 2

    def histogram() -> None:
        for w in matrices:
            for chunk in torch.split(w.view(-1), 1 << 18):
                torch.histc(chunk.abs(), 2048, 0, 8)

    def bit_histogram() -> None:
        for w in matrices:
            for chunk in torch.split(w.view(-1), 1 << 18):
                torch.bincount(chunk.abs().view(torch.int32) >> 16, minlength=1 << 15)

    def choose() -> None:
        pool_counts(pool, count)

    def masks() -> None:
        for w, gone in zip(matrices, pool_counts(pool, count), strict=True):
            zero(w, smallest(w.abs(), gone))

    rows = [[timed(f) for f in (histogram, bit_histogram, choose)] for _ in range(3)]
    whole = timed(masks)
    one, bits, chosen = (statistics.median(column) for column in zip(*rows, strict=True))
    return {
        "selection of 1e8 / (abs + histc)": chosen / one,
        "selection of 1e8 / (abs + bit histogram)": chosen / bits,
        "selection and masks of 1e8, seconds": whole,
    }


def memory(directory: Path, method: str, samples: int) -> dict[str, float]:
    """Peak resident memory above the loaded model, MiB, in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.engine.memory", directory, method, samples]
    done = subprocess.run(
        [str(part) for part in command],
        check=True,
        capture_output=True,
        text=True,
        # Freed memory goes back at once, so that the peak is what is held and not fragments.
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"},
    )
    return json.loads(done.stdout.splitlines()[-1])


def peaks(models: Mapping[str, Path]) -> dict[str, Figure]:
    """Peak memory of each model by method, and how it grows with the calibration set."""
    figures = {}
    for name, model in models.items():
        for method in ("wanda", "sparsegpt"):
            few, many = (memory(model, method, count) for count in (8, 32))
            share = few["peak"] / few["allowed"]
            figures[f"{name} {method} peak MiB"] = Figure(few["peak"])
            figures[f"{name} {method} peak / block + statistics"] = Figure(share, most=1.0)
            growth = (many["peak"] - few["peak"]) / (many["inputs"] - few["inputs"])
            figures[f"{name} {method} growth / cached inputs"] = Figure(growth, most=1.1)
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", type=Path, help="python of llm-compressor's environment")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS, help="by default all")
    options = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, Figure] = {}
    with tempfile.TemporaryDirectory() as scratch:
        llama, llava, narrow, ids = (
            Path(scratch, name) for name in ("llama", "llava", "llama-bf16", "ids.pt")
        )
        build_llama(llama)
        torch.save(token_ids(SAMPLES), ids)
        if "float32" in options.only:
            peer = Peer(options.peer, llama, ids) if options.peer else None
            figures |= full(Ours(llama), peer, options.rounds)
        if "bf16" in options.only:
            build_llama(narrow, torch.bfloat16)
            peer = Peer(options.peer, narrow, ids) if options.peer else None
            figures |= half(Ours(narrow), Ours(llama), peer, options.rounds)
        if "solvers" in options.only:
            peer = Peer(options.peer, llama, ids) if options.peer else None
            figures |= solvers(llama, peer, options.rounds)
        if "memory" in options.only:
            build_llava(llava)
            figures |= peaks({"llama": llama, "llava": llava})
    if "selection" in options.only:
        chosen = selection()
        figures |= {name: Figure(value) for name, value in chosen.items()}
        name = "selection of 1e8 / (abs + histc)"
        figures[name] = Figure(chosen[name], most=1.5)
    return conclude(figures)


if __name__ == "__main__":
    sys.exit(main())
