"""Worker classes on the wire."""

from dataclasses import asdict
from datetime import datetime
from typing import Literal, Self

from pydantic import BaseModel, Field

from app.domain.machines import WorkerClass


class WorkerClassOut(BaseModel):
    """The workers that listen on one queue, as the last of them that started has measured."""

    name: str = Field(description="for `worker_class` of a job")
    memory_bytes: int = Field(description="what a job may take of the host's memory")
    cores: int
    device: Literal["cpu", "cuda"] = Field(description="what `auto` is there")
    devices: int = Field(description="number of GPUs")
    device_bytes: int | None = Field(description="memory of the smallest GPU; null without one")
    gflops: float = Field(description="1e9 float32 operations a second in a matrix product")
    disk_rate: float = Field(description="bytes a second written and read back")
    seen_at: datetime = Field(description="when a worker last spoke for the class")

    @classmethod
    def of(cls, found: WorkerClass) -> Self:
        """The wire form of a class."""
        values = asdict(found.machine)
        return cls(name=values.pop("worker_class"), seen_at=found.seen_at, **values)


class WorkerClassList(BaseModel):
    """Every class of which a worker has ever started."""

    workers: list[WorkerClassOut]
