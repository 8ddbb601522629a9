"""What this worker's machine can do, measured in a second."""

import os
import platform
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch

from app.planning.machines import Machine
from app.process import memory_limit
from workers.pruning.libraries import importable
from workers.pruning.models.layout.precision import find_device

_SIDE = 1024
_ROUNDS = 3
_FILE = 32 << 20


def describe(
    worker_class: str, memory_bytes: int, device: str, tasks: tuple[str, ...] = ()
) -> Machine:
    """What can be told without measuring; both rates are zero.

    Args:
        worker_class: of the worker.
        memory_bytes: what a job may take; 0 for all there is.
        device: what `auto` is.
        tasks: of harnesses, that it offers.
    """
    found = find_device("auto", device)
    gpus = torch.cuda.device_count() if found.type == "cuda" else 0
    sizes = [torch.cuda.get_device_properties(i).total_memory for i in range(gpus)]
    limit = memory_limit()
    return Machine(
        worker_class=worker_class,
        memory_bytes=min(memory_bytes, limit) if memory_bytes else limit,
        cores=torch.get_num_threads(),
        device="cuda" if gpus else "cpu",
        devices=gpus,
        device_bytes=min(sizes, default=None),
        gflops=0.0,
        disk_rate=0.0,
        libraries=importable(),
        tasks=tasks,
    )


def versions() -> dict[str, str]:
    """Of what decides about results, by package."""
    named = ("secateur", "torch", "transformers")
    return {"python": platform.python_version()} | {name: version(name) for name in named}


def gflops(device: str, clock: Callable[[], float] = time.perf_counter) -> float:
    """1e9 float32 operations a second in a matrix product, the best of a few.

    Args:
        device: `cpu`, `cuda` or `cuda:N`.
        clock: seconds; those of the process where other processes are not to count.
    """
    place = find_device("auto", device)
    one = torch.rand(_SIDE, _SIDE, device=place)
    best = float("inf")
    for _ in range(_ROUNDS + 1):
        start = clock()
        product = one @ one
        float(product[0, 0])  # waits for a GPU
        best = min(best, clock() - start)
    return 2 * _SIDE**3 / best / 1e9


def disk_rate(directory: Path) -> float:
    """Bytes a second to write a file, have it on the disk, and read it back."""
    directory.mkdir(parents=True, exist_ok=True)
    content = os.urandom(1 << 20)
    with tempfile.TemporaryFile(dir=directory) as file:
        start = time.perf_counter()
        for _ in range(_FILE >> 20):
            file.write(content)
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        while file.read(1 << 20):
            pass
        return 2 * _FILE / (time.perf_counter() - start)
