"""What ECoFLaP's first stage costs, beside plain Wanda and the paper's loop; last line is JSON.

    make bench-ecoflap

Times are CPU seconds of one thread; sides take turns and the median of their ratios is quoted.
Peak memory is that of fresh processes. Models are random but for scenes-llava, where it is trained.
"""

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from torch.utils.flop_counter import FlopCounterMode

from app.recipes.allocation import GradientNorm, ZerothOrder
from app.recipes.recipe import build_recipe
from benchmarks.ecoflap.models import MODELS, prepared
from benchmarks.figures import Figure, conclude
from workers.pruning.allocation.ecoflap import measure
from workers.pruning.allocation.ecoflap.perturbation import noise
from workers.pruning.engine.prune import evaluating, prune
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.layout.replay import Batch

SAMPLES = {"blip2": 16, "llama": 16, "scenes-llava": 128}
SIZES = {"blip2": 2, "llama": 2, "scenes-llava": 16}
EPS = 1e-3
SEEDS = 300
# Scored for it: with fewer, 300 seeds alone stray by up to 9 % from the exact norms.
RECORDS = 8


def timed(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


class Subject:
    """A model whose weights come back before every run."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.adapter = prepared(name, directory)
        self.adapter.model.requires_grad_(False)  # the counter of operations trips over it
        self.batches = MODELS[name][1](self.adapter, SAMPLES[name], SIZES[name])
        self._dense = {k: v.clone() for k, v in self.adapter.model.state_dict().items()}

    def run(self, method: str, **parameters: object) -> float:
        """CPU seconds of one pruning run at 50 %."""
        self.adapter.model.load_state_dict(self._dense)
        recipe = build_recipe(method, parameters, "unstructured", sparsity=0.5)
        return timed(lambda: prune(self.adapter, recipe, self.batches))

    def quarter(self, estimator: str) -> dict[str, object]:
        """ECoFLaP's parameters, scores on a quarter of the samples."""
        return {"estimator": estimator, "samples": SAMPLES[self.name] // 4}

    def forward(self) -> float:
        with torch.no_grad():
            return timed(lambda: [self.adapter.forward(batch) for batch in self.batches])


def whole_runs(subject: Subject, rounds: int) -> dict[str, Figure]:
    """Whole runs against plain Wanda, both beside dense forwards."""
    subject.run("wanda")  # warm-up
    seen: dict[str, list[float]] = {"gradient-norm": [], "first-order": [], "wanda": []}
    for number in range(rounds):
        dense, wanda = subject.forward(), subject.run("wanda")
        seen["wanda"].append(wanda / dense)
        for estimator in ("gradient-norm", "first-order"):
            ecoflap = subject.run("ecoflap", **subject.quarter(estimator))
            seen[estimator].append(ecoflap / wanda)
            print(
                f"{subject.name} round {number + 1} {estimator}: wanda {wanda:.2f} s, "
                f"ecoflap {ecoflap:.2f} s, dense forward {dense:.2f} s",
                flush=True,
            )
    return {
        "wanda, dense forwards": Figure(statistics.median(seen["wanda"])),
        "gradient-norm run / wanda": Figure(statistics.median(seen["gradient-norm"]), most=1.5),
        "first-order run / wanda": Figure(statistics.median(seen["first-order"])),
    }


def naive(adapter: Adapter, batch: Batch) -> None:
    """The paper's loop with one draw, kept while it is needed: two forwards for every matrix."""
    with torch.no_grad(), evaluating(adapter.model):
        for matrix in adapter.matrices:
            z = noise(0, matrix, 0, 0)
            matrix.weight.add_(z, alpha=EPS)
            adapter.loss(batch)
            matrix.weight.sub_(z, alpha=2 * EPS)
            adapter.loss(batch)
            matrix.weight.add_(z, alpha=EPS)


def zeroth_order(subject: Subject, rounds: int) -> dict[str, Figure]:
    """Ours / the paper's loop, on one batch: CPU time, and floating point operations."""
    adapter = subject.adapter
    size = 1 if subject.name != "scenes-llava" else 16
    batch = MODELS[subject.name][1](adapter, size, size)[0]

    def ours() -> None:
        with evaluating(adapter.model):
            measure(adapter, ZerothOrder(), [(0, batch)], adapter.matrices)

    seen = []
    for number in range(rounds):
        paper, own = timed(lambda: naive(adapter, batch)), timed(ours)
        seen.append(own / paper)
        print(
            f"{subject.name} round {number + 1} zeroth-order: "
            f"naive {paper:.2f} s, ours {own:.2f} s",
            flush=True,
        )
    most = 0.55 if len(adapter.towers) > 1 else 0.65
    return {
        "zeroth-order / paper's loop": Figure(statistics.median(seen), most=most),
        "the same, operations": Figure(
            operations(ours) / operations(lambda: naive(adapter, batch))
        ),
    }


def operations(work: Callable[[], object]) -> int:
    """Floating point operations of the matrix products."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def sampling(subject: Subject) -> dict[str, Figure]:
    """Mean of many draws / (sqrt(2/pi) x exact norm), over matrices from all over the model."""
    adapter = subject.adapter
    some = adapter.matrices[:: len(adapter.matrices) // 6]
    batches = list(enumerate(MODELS[subject.name][1](adapter, RECORDS, 1)))
    with evaluating(adapter.model):
        exact = measure(adapter, GradientNorm(), batches, some).values
        parts = [
            measure(adapter, ZerothOrder(draws=60), batches, some, seed=seed).values
            for seed in range(SEEDS // 60)
        ]
    ratios = [
        statistics.fmean(math.fsum(part[name]) for part in parts)
        / (math.sqrt(2 / math.pi) * math.fsum(norms))
        for name, norms in exact.items()
    ]
    # One draw is |N(0, 1)|: its deviation is sqrt(pi / 2 - 1) of its mean.
    errors = [
        math.sqrt((math.pi / 2 - 1) / SEEDS) * math.hypot(*norms) / math.fsum(norms)
        for norms in exact.values()
    ]
    return {
        "mean of 300 seeds, largest standard error": Figure(max(errors)),
        "mean of 300 seeds / exact, least": Figure(min(ratios), least=0.94),
        "mean of 300 seeds / exact, most": Figure(max(ratios), most=1.06),
    }


def memory(name: str, directory: Path, method: str) -> float:
    """Peak memory of a fresh process that loads and prunes, MiB."""
    command = [sys.executable, "-m", "benchmarks.ecoflap", "--memory", name, directory, method]
    done = subprocess.run(
        [str(part) for part in command], check=True, capture_output=True, text=True
    )
    return float(done.stdout.split()[-1])


def peak(name: str, directory: Path, method: str) -> None:
    """Run once and print the peak."""
    subject = Subject(name, directory)
    subject.run(method, **(subject.quarter("gradient-norm") if method == "ecoflap" else {}))
    lines = Path("/proc/self/status").read_text().splitlines()
    print(next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")))


def figures(name: str, directory: Path, rounds: int) -> dict[str, Figure]:
    wanda, ecoflap = (memory(name, directory, method) for method in ("wanda", "ecoflap"))
    subject = Subject(name, directory)
    found = {
        "matrices": Figure(len(subject.adapter.matrices)),
        **zeroth_order(subject, rounds),
        **whole_runs(subject, rounds),
        "peak memory ecoflap / wanda": Figure(ecoflap / wanda, most=1.2),
    }
    if name == "scenes-llava":
        found |= sampling(Subject(name, directory))
    return {f"{name} {what}": figure for what, figure in found.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--memory", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory:
        name, directory, method = options.memory
        peak(name, Path(directory), method)
        return 0
    found: dict[str, Figure] = {}
    with tempfile.TemporaryDirectory() as directory:
        for name in options.models:
            found |= figures(name, Path(directory), options.rounds)
    return conclude(found)


if __name__ == "__main__":
    sys.exit(main())
