"""Workers on this machine: the program of each, and what it gets of the machine."""

import os
import re
import subprocess
from collections.abc import Mapping, Sequence

import psutil

from app.local.process import LocalError, Program, python_program
from app.process import memory_limit
from app.settings import Settings

_GPU = re.compile(r"UUID: ((GPU|MIG)-[\w-]+)")
_LISTED = 20.0  # seconds that the driver may take to list its GPUs


def worker_program(environment: Mapping[str, str], name: str = "worker") -> Program:
    """A worker that runs one job at a time; each of a machine has a name of its own."""
    arguments = ["celery", "-A", "workers.runtime.celery_app", "worker", "--concurrency=1"]
    named = [*arguments, f"--hostname={name}@%h", "--loglevel=INFO"]
    return python_program(name, named, environment)


def worker_programs(settings: Settings, count: int) -> list[Program]:
    """So many workers, which share the machine.

    One answers Prometheus at the port of the settings, where maintenance has the next; the others
    at those behind it.

    Raises:
        LocalError: there are GPUs, and fewer than workers.
    """
    environment = settings.environment()
    if count == 1:
        return [worker_program(environment)]
    port = settings.telemetry.metrics_port
    programs = []
    for number, share in enumerate(shares(settings, count), 1):
        behind = {"SECATEUR_TELEMETRY__METRICS_PORT": str(port + number)}
        own = behind if port and number > 1 else {}
        programs.append(worker_program(environment | share | own, f"worker-{number}"))
    return programs


def shares(settings: Settings, count: int) -> list[dict[str, str]]:
    """What each of several workers gets: its part of memory and cores, and a GPU of its own.

    What the settings or OMP_NUM_THREADS say of one worker holds for each.

    Raises:
        LocalError: there are GPUs, and fewer than workers.
    """
    worker = settings.worker
    memory = worker.memory_bytes or memory_limit() // count
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, cores // count)))
    share = {"SECATEUR_WORKER__MEMORY_BYTES": str(memory), "OMP_NUM_THREADS": threads}
    cards = [] if worker.device == "cpu" else _cards(worker.device)
    if not cards:
        return [share] * count
    if len(cards) < count:
        raise LocalError(
            f"{count} workers, and {len(cards)} GPUs for them: each takes one; start fewer, or set "
            "SECATEUR_WORKER__DEVICE=cpu"
        )
    return [share | {"CUDA_VISIBLE_DEVICES": card} for card in cards[:count]]


def _cards(device: str) -> Sequence[str]:
    """The GPUs that `device` means, in the words of CUDA_VISIBLE_DEVICES."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    cards = _listed() if visible is None else [each for each in visible.split(",") if each.strip()]
    _, named, number = device.partition(":")
    return cards[int(number) : int(number) + 1] if named else cards


def _listed() -> Sequence[str]:
    try:
        said = subprocess.run(
            ["nvidia-smi", "-L"],  # noqa: S607  where it is differs from system to system
            capture_output=True,
            text=True,
            check=False,
            timeout=_LISTED,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return []
    found = _GPU.findall(said)
    parts = [name for name, kind in found if kind == "MIG"]  # of cards that are divided
    return parts or [name for name, _ in found]
