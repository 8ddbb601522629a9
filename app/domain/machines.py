"""What workers run on, as they have measured it themselves."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine of one worker; workers of a class are taken to be alike.

    Attributes:
        worker_class: the queue its workers listen on.
        memory_bytes: what a job may take of the host's memory.
        cores: a job computes on.
        device: what `auto` is.
        devices: number of GPUs.
        device_bytes: memory of the smallest of them; None without one.
        gflops: 1e9 float32 operations a second in a matrix product, on `device`.
        disk_rate: bytes a second when a file is written and read back.
    """

    worker_class: str
    memory_bytes: int
    cores: int
    device: Literal["cpu", "cuda"]
    devices: int
    device_bytes: int | None
    gflops: float
    disk_rate: float


@dataclass(frozen=True, slots=True)
class WorkerClass:
    """A class with the machine that spoke for it last."""

    machine: Machine
    seen_at: datetime
