"""One method in a process of its own; the last line is JSON.

`python -m benchmarks.seven_b.run <source> <output> <kept> <method> <limit in MiB>`: prunes a copy
of <source> in <output> to a half, writes the masks and verifies it. What is finished is kept in
<kept>: a second call goes on from there.
"""

import json
import os
import resource
import shutil
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "2")

import torch
import transformers

from app.recipes.recipe import build_recipe
from benchmarks.seven_b.model import batches
from workers.pipeline.checkpoints import DiskCheckpoints
from workers.pipeline.export import FOLDER, verify_sparsity, write_masks
from workers.pruning.engine.prune import prune
from workers.pruning.engine.report_builder import Progress
from workers.pruning.memory import Memory
from workers.pruning.models.export import copy_checkpoint, read_weights, write_back
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model

SAMPLES = 2
ACTIVATIONS = 256 << 20  # bytes held between blocks; more wait on disk
PARAMETERS = {"ecoflap": {"estimator": "gradient-norm", "samples": SAMPLES}}


def main(source: Path, output: Path, kept: Path, method: str, limit: int) -> None:
    """Copy, prune, verify."""
    assert transformers.LlavaForConditionalGeneration  # imported before the clock starts
    # Files that are mapped shared do not count, and may be let go at any time.
    resource.setrlimit(resource.RLIMIT_DATA, (limit << 20, limit << 20))
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    peak = _Peak()
    begun = time.monotonic()
    shutil.rmtree(output, ignore_errors=True)
    copy_checkpoint(source, output)
    copied = time.monotonic()
    moving = _written_and_read(output) + copied - begun
    begun_pruning = time.monotonic()
    memory = Memory(output, activations=ACTIVATIONS, scratch=output)
    adapter = adapt(load_model(source, memory=memory))
    recipe = build_recipe(method, PARAMETERS.get(method, {}), "unstructured", sparsity=0.5)
    data = [] if method == "magnitude" else batches(SAMPLES)
    phases = _Phases()
    checkpoints = DiskCheckpoints(kept, {}, limit=1 << 40)
    report = prune(adapter, recipe, data, phases, checkpoints=checkpoints)
    pruned = time.monotonic()
    write_back(output, adapter.matrices, memory)
    write_masks(output / FOLDER, adapter, report.matrices)
    verify_sparsity(read_weights(output).zeros, report.matrices)
    found = {
        "anonymous": peak.mebibytes(),
        "copying": copied - begun,
        "moving": moving,
        "pruning": pruned - begun_pruning,
        "verifying": time.monotonic() - pruned,
        "cpu": time.process_time(),
        "sparsity": report.model.sparsity,
        **phases.seconds(),
    }
    print(json.dumps(found))


def _written_and_read(directory: Path) -> float:
    """Seconds until what was written lies on the disk and was read from there once."""
    begun = time.monotonic()
    piece = bytearray(1 << 21)
    for path in directory.iterdir():
        with path.open("rb", buffering=0) as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            while file.readinto(piece):
                pass
    return time.monotonic() - begun


class _Phases:
    """CPU seconds by phase and tower, and how many steps each had."""

    def __init__(self) -> None:
        self._last = time.process_time()
        self._times: dict[str, list[float]] = defaultdict(list)

    def __call__(self, progress: Progress) -> None:
        now = time.process_time()
        tower = "vision" if "vision" in progress.block else "language"
        name = progress.phase if progress.phase == "allocating" else f"{progress.phase} {tower}"
        self._times[name].append(now - self._last)
        self._last = now
        print(f"{progress.phase} {progress.block} {self._times[name][-1]:.1f} CPU s", flush=True)

    def seconds(self) -> dict[str, float]:
        """The sums, by `<phase> <tower>` and `<phase> <tower> steps`."""
        found = {}
        for name, times in self._times.items():
            found[name] = sum(times)
            found[f"{name} steps"] = float(len(times))
        return found


class _Peak:
    """Most anonymous memory, looked at twenty times a second."""

    def __init__(self) -> None:
        self._most = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def mebibytes(self) -> float:
        """So far."""
        return self._most

    def _watch(self) -> None:
        while True:
            lines = Path("/proc/self/status").read_text().splitlines()
            now = next(int(x.split()[1]) / 1024 for x in lines if x.startswith("RssAnon"))
            self._most = max(self._most, now)
            time.sleep(0.05)


if __name__ == "__main__":
    first, second, third, method, limit = sys.argv[1:]
    main(Path(first), Path(second), Path(third), method, int(limit))
