"""What workers run on, as they have measured it themselves."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

# Workers give a sign of life once a minute; a class without one for this long has none, by all we
# know: they have been scaled to zero, or are gone.
SILENT = timedelta(minutes=5)


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
    """A class with the machine that spoke for it last.

    Attributes:
        machine: the last that started.
        seen_at: a worker's last sign of life.
        measured_at: when the machine's rates were measured.
    """

    machine: Machine
    seen_at: datetime
    measured_at: datetime

    @property
    def silent(self) -> bool:
        """Whether its workers have not been heard of lately."""
        return datetime.now(UTC) - self.seen_at > SILENT

    def __str__(self) -> str:
        """When it was heard of, in words."""
        seen = self.seen_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
        return f"no worker of class {self.machine.worker_class!r} has been heard of since {seen}"
