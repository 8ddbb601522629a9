"""Worker processes, one by one; what the machines of a class can do is in `planning.machines`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from app.planning.machines import SILENT, Machine

FORGOTTEN = timedelta(hours=1)
"""A process that gave no sign of life for this long is not listed any more."""


class WorkerState(StrEnum):
    """What a process is doing, by all that is known."""

    BUSY = "busy"
    IDLE = "idle"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class NewWorker:
    """What a process tells of itself.

    Attributes:
        name: host and number of the process, as in the events of its jobs.
        machine: its part of one.
        versions: of what decides about results, by package.
    """

    name: str
    machine: Machine
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Worker:
    """One process.

    Attributes:
        name: host and number of the process.
        worker_class: the queue it listens on.
        device: what `auto` is there, `cpu` or `cuda`.
        devices: number of GPUs.
        device_bytes: memory of the smallest of them; None without one.
        memory_bytes: what a job may take of the host's memory.
        cores: a job computes on.
        versions: by package.
        started_at: when it began to take jobs.
        seen_at: its last sign of life; one a minute is given.
        busy: whether it has a job.
        job_id: of it, where the one who asks may see it.
    """

    name: str
    worker_class: str
    device: str
    devices: int
    device_bytes: int | None
    memory_bytes: int
    cores: int
    versions: dict[str, str]
    started_at: datetime
    seen_at: datetime
    busy: bool
    job_id: str | None

    @property
    def state(self) -> WorkerState:
        """Silent ones are gone, or cut off: their job's lease ends by itself."""
        if datetime.now(UTC) - self.seen_at > SILENT:
            return WorkerState.SILENT
        return WorkerState.BUSY if self.busy else WorkerState.IDLE
