"""What workers read."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from app.domain.job_options import WorkerClassName
from app.domain.jobs import DEFAULT_CLASS
from app.recipes.device import Device
from app.recipes.tasks import OFFER
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


class Tasks(Section):
    """Evaluation harnesses, which workers run in interpreters of their own."""

    lm_eval: str = Field(
        default="",
        description="Python interpreter that has lm-eval, as `.venv-evaluation/bin/python`; empty: "
        "this worker does not run it",
    )
    lmms_eval: str = Field(
        default="", description="the same that has lmms-eval; the two may be one"
    )
    dir: Path = Field(
        default=Path("tasks"),
        description="directory (under data_dir) with task files and their data, in `lm-eval` and "
        "`lmms-eval`; jobs may name every task there",
    )
    offered: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="tasks that come with the harnesses and jobs may name too, with commas: "
        "`lm-eval/hellaswag,lmms-eval/mme`; their data must be in the cache of `HF_HOME`",
    )
    network: bool = Field(
        default=False, description="let tasks fetch data that is not on this machine"
    )
    seconds: PositiveSeconds = Field(
        default=3600, description="most that one task may take of one model"
    )

    @field_validator("offered", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(filter(None, value.split(","))) if isinstance(value, str) else value

    @field_validator("offered")
    @classmethod
    def _of_a_harness(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [each for each in value if not OFFER.fullmatch(each)]:
            raise ValueError(f"{wrong[0]!r} is not a harness and the name of a task of it")
        return value


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
