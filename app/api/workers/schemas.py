"""Workers and their classes on the wire."""

from dataclasses import asdict
from datetime import datetime
from typing import Literal, Self

from pydantic import BaseModel, Field

from app.planning.machines import WorkerClass
from app.planning.workers import Worker, WorkerState
from app.services.jobs.stranded import Retired


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
    libraries: list[str] = Field(description="optional libraries they import, as `torchvision`")
    tasks: list[str] = Field(
        description="tasks of evaluation harnesses they offer, as `lm-eval/hellaswag`"
    )
    seen_at: datetime = Field(description="last sign of life; workers give one every minute")
    measured_at: datetime = Field(description="when the rates were measured")

    @classmethod
    def of(cls, worker_class: WorkerClass) -> Self:
        """The wire form of a class."""
        values = asdict(worker_class.machine)
        times = {"seen_at": worker_class.seen_at, "measured_at": worker_class.measured_at}
        return cls(name=values.pop("worker_class"), **times, **values)


class WorkerOut(BaseModel):
    """One worker process."""

    name: str = Field(description="host and number of the process, as in `data.worker` of events")
    worker_class: str
    state: WorkerState = Field(description="`silent` after five minutes without a sign of life")
    job_id: str | None = Field(
        description="what it runs; null where that is nothing, or a job of another project"
    )
    device: Literal["cpu", "cuda"] = Field(description="what `auto` is there")
    devices: int = Field(description="number of GPUs")
    device_bytes: int | None = Field(description="memory of the smallest GPU; null without one")
    memory_bytes: int = Field(description="what a job may take of the host's memory")
    cores: int
    versions: dict[str, str] = Field(description="of Python and packages, by name")
    started_at: datetime = Field(description="when it began to take jobs")
    seen_at: datetime = Field(description="last sign of life; one a minute is given")

    @classmethod
    def of(cls, worker: Worker) -> Self:
        """The wire form of a process."""
        return cls.model_validate({name: getattr(worker, name) for name in cls.model_fields})


class WorkerClassList(BaseModel):
    """Classes and processes."""

    workers: list[WorkerClassOut] = Field(
        description="every class of which a worker has ever started, but those that were retired"
    )
    processes: list[WorkerOut] = Field(description="those heard of within an hour")


class RetiredOut(BaseModel):
    """What became of the jobs that waited for the class."""

    moved: list[str] = Field(description="ids of those that wait for another class now")
    failed: list[str] = Field(description="ids of those that no other class can take")

    @classmethod
    def of(cls, retired: Retired) -> Self:
        """The wire form."""
        return cls(moved=list(retired.moved), failed=list(retired.failed))
