"""What workers read."""

from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator

from app.domain.job_options import WorkerClassName
from app.domain.jobs import DEFAULT_CLASS
from app.recipes.device import Device
from app.settings.section import PositiveSeconds, Section


class Checkpoints(Section):
    """What running jobs keep, so that a lost one continues where it was."""

    dir: Path = Field(
        default=Path("checkpoints"),
        description="directory of unfinished jobs' blocks (under data_dir); where it is shared "
        "between machines, a job continues on any of them",
    )
    max_bytes: int = Field(
        default=64 << 30, ge=0, description="most bytes one job may keep there; 0 keeps nothing"
    )


class Worker(Section):
    """The processes that prune."""

    class_name: WorkerClassName = Field(
        default=DEFAULT_CLASS,
        description="class of this worker: it takes jobs of this class only; workers of a class "
        "are machines of one kind",
    )
    memory_bytes: int = Field(
        default=0,
        ge=0,
        description="memory a job may take here; 0: all that the machine or its container has",
    )
    device: Device = Field(default="auto", description="what `auto` is in a job: cpu, cuda, cuda:N")
    tf32: bool = Field(
        default=False, description="let GPUs round float32 products to 10 bits of mantissa"
    )
    signing_key: str = Field(
        default="",
        description="PEM file of a private key on P-256, P-384 or P-521, without a password, that "
        "signs every result (under data_dir); empty: results are not signed",
    )

    lease_seconds: PositiveSeconds = Field(
        default=20, description="a running job without a heartbeat for this long is given away"
    )
    heartbeat_seconds: PositiveSeconds = Field(
        default=3, description="how often a worker extends the lease of its job"
    )
    drain_seconds: PositiveSeconds = Field(
        default=5,
        description="how long a worker that is asked to end may take to finish its block",
    )
    kill_seconds: PositiveSeconds = Field(
        default=20,
        description="a process that still works on a job this long after the job was cancelled, "
        "given to another worker or out of time is killed",
    )
    stall_seconds: PositiveSeconds = Field(
        default=600,
        description="an attempt without progress for this long, and for ten times what its longest "
        "step was planned to take, is ended and its job queued again",
    )
    activation_bytes: int = Field(
        default=4 << 30,
        ge=0,
        description="most bytes of activations held in memory between blocks; more wait on disk",
    )
    max_jobs_per_child: int = Field(
        default=50, ge=1, description="jobs a worker process runs before it is replaced"
    )
    max_attempts: int = Field(
        default=3,
        ge=1,
        description="times in a row a job is started and gets no further before it ends as failed; "
        "while a disk, a store or a hub fails it has five more, further and further apart",
    )

    @field_validator("heartbeat_seconds")
    @classmethod
    def _beats_within_lease(cls, value: float, info: ValidationInfo) -> float:
        if value >= info.data.get("lease_seconds", float("inf")):
            raise ValueError("heartbeat_seconds must be shorter than lease_seconds")
        return value
