"""Everything that can be set, one model per subsystem, read from `SECATEUR_*` variables.

`SECATEUR_WORKER__LEASE_SECONDS=60` sets `settings.worker.lease_seconds`. Only composition roots
read settings; everything below them is handed values.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.domain.compute import Device
from app.domain.destinations import Destination
from app.domain.job_options import WorkerClassName
from app.domain.jobs import DEFAULT_CLASS
from app.domain.publications import DestinationName
from app.domain.urls import UrlText, UrlTextOrNone
from app.telemetry.logs import LogFormat, LogLevel
from app.uploads.limits import UploadLimits
from app.webhooks.guard import LOOPBACK, Network

PositiveSeconds = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """Settings of one subsystem; a misspelt name is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    def under(self, data_dir: Path) -> Self:
        """A copy whose relative paths are resolved under `data_dir`."""
        return self.model_copy(
            update={
                name: (data_dir / value.expanduser()).resolve()
                for name, value in self
                if isinstance(value, Path)
            }
        )


class Database(Section):
    """PostgreSQL: the truth about jobs."""

    url: str = Field(
        default="postgresql+psycopg://127.0.0.1/secateur",
        pattern=r"^postgresql\+psycopg://",
        description="SQLAlchemy URL of the database, postgresql+psycopg://user:password@host/name",
    )
    answer_seconds: PositiveSeconds = Field(
        default=10,
        description="longest a statement of the API may take; a database that does not answer "
        "is given up then",
    )


class Queue(Section):
    """Redis or Valkey: hints that a job waits."""

    url: str = Field(
        default="redis://127.0.0.1:6379/0",
        pattern=r"^(rediss?|unix)://",
        description="URL of the Celery broker, redis://host:port/database",
    )


class Models(Section):
    """Where the models to prune may come from."""

    roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(Path("models"),),
        description="directories under which a job may name a local model, separated by ':' "
        "(relative ones are under data_dir)",
    )
    hub_endpoint: UrlText = Field(
        default="https://huggingface.co",
        description="base URL of the Hugging Face Hub or of a mirror",
    )
    shared_hub_token: bool = Field(
        default=False,
        description="whether jobs of every project may use the hub token of this machine "
        "(HF_TOKEN, or a login), and so the private and gated models that it opens; otherwise "
        "models and data sets are asked for without a token",
    )
    hub_cache: Path = Field(
        default=Path("hub"), description="where models from the hub are kept (under data_dir)"
    )
    max_header_bytes: int = Field(
        default=16 << 20,
        ge=1024,
        le=100_000_000,
        description="longest header of a safetensors file that the API reads, in bytes",
    )

    @field_validator("roots", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return value.split(os.pathsep) if isinstance(value, str) else value

    def under(self, data_dir: Path) -> Self:
        """As `Section.under`, the roots included."""
        roots = tuple((data_dir / root.expanduser()).resolve() for root in self.roots)
        return super().under(data_dir).model_copy(update={"roots": roots})


class Storage(Section):
    """Where finished artifacts are kept."""

    dir: Path = Field(
        default=Path("artifacts"), description="directory of published artifacts (under data_dir)"
    )
    url: str = Field(
        default="",
        pattern=r"^(s3://[^/]+(/.*)?)?$",
        description="s3://bucket/prefix to keep published artifacts there instead; credentials as "
        "for every S3 client: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION",
    )
    endpoint: UrlTextOrNone = Field(
        default="",
        description="address of an S3 that is not Amazon's",
    )
    public_endpoint: UrlTextOrNone = Field(
        default="",
        description="its address as clients reach it, where that is another one; downloads are "
        "redirected there",
    )
    keep_days: float = Field(
        default=0,
        ge=0,
        description="days after its end that a job's files go, unless they are needed; 0: never",
    )


class Datasets(Section):
    """What an uploaded data set may hold."""

    max_upload_bytes: int = Field(
        default=256 << 20, ge=1024, description="largest upload accepted, in bytes"
    )
    max_unpacked_bytes: int = Field(
        default=1 << 30, ge=1024, description="largest data set stored, rows and images, in bytes"
    )
    max_rows: int = Field(default=100_000, ge=1, description="most rows of a data set")
    max_image_pixels: int = Field(
        default=1 << 24, ge=1, description="largest image accepted, width times height"
    )
    max_pixels: int = Field(
        default=1 << 31, ge=1, description="most pixels of all images of a data set together"
    )

    @property
    def limits(self) -> UploadLimits:
        """The same as the code below the settings wants it."""
        return UploadLimits(
            bytes=self.max_upload_bytes,
            unpacked_bytes=self.max_unpacked_bytes,
            rows=self.max_rows,
            image_pixels=self.max_image_pixels,
            pixels=self.max_pixels,
        )


class Api(Section):
    """The HTTP server."""

    host: str = Field(default="127.0.0.1", description="address the API listens on")
    port: int = Field(default=8321, ge=1, le=65535, description="port the API listens on")
    max_body_bytes: int = Field(
        default=1 << 20, ge=1024, description="largest request body accepted, in bytes"
    )
    max_connections: int = Field(
        default=1000,
        ge=10,
        description="clients connected at a time, and requests in work; beyond, connections that "
        "wait are closed and requests refused, but for health probes",
    )
    head_seconds: PositiveSeconds = Field(
        default=10, description="how long the head of a request may take to come"
    )
    write_seconds: PositiveSeconds = Field(
        default=60,
        description="how long a client that downloads may read nothing before it is cut off",
    )
    body_seconds: PositiveSeconds = Field(
        default=30,
        description="how long a request body may take to come; a large one has a second more for "
        "every 4096 bytes that have come",
    )
    drain_seconds: PositiveSeconds = Field(
        default=3,
        description="how long requests may take to end once the API is asked to; downloads are cut "
        "then, long polls and event streams are answered at once",
    )
    keep_alive_seconds: PositiveSeconds = Field(
        default=15, description="a silent event stream sends a comment this often"
    )

    @property
    def url(self) -> str:
        """Where this machine reaches what listens on `host` and `port`."""
        everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  compared, not bound
        host = everywhere.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


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
        default=30,
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
        description="times in a row a job is started and gets no further before it ends as failed",
    )

    @field_validator("heartbeat_seconds")
    @classmethod
    def _beats_within_lease(cls, value: float, info: ValidationInfo) -> float:
        if value >= info.data.get("lease_seconds", float("inf")):
            raise ValueError("heartbeat_seconds must be shorter than lease_seconds")
        return value


class Webhooks(Section):
    """Messages to clients' own servers."""

    allow_loopback: bool = Field(
        default=False, description="whether webhooks may go to this machine itself"
    )
    allow_networks: Annotated[tuple[Network, ...], NoDecode] = Field(
        default=(),
        description="networks in CIDR notation, separated by ',', to which webhooks may go beside "
        "public addresses, e.g. those of the cluster",
    )
    deadline_seconds: PositiveSeconds = Field(
        default=15,
        le=45,
        description="how long one attempt may take, from resolving the name to the answer",
    )
    max_endpoints: int = Field(default=20, ge=1, description="most webhooks of a project")
    disable_after_hours: PositiveSeconds = Field(
        default=120, description="a webhook whose every attempt failed for this long is disabled"
    )
    keep_days: float = Field(
        default=30,
        ge=7,
        description="days after which a message is forgotten, delivered or not; attempts at one "
        "end sooner, but what a disabled webhook missed waits",
    )

    @field_validator("allow_networks", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return (
            [each.strip() for each in value.split(",") if each.strip()]
            if isinstance(value, str)
            else value
        )

    @property
    def networks(self) -> tuple[Network, ...]:
        """Where webhooks may go beside public addresses."""
        return (*self.allow_networks, *(LOOPBACK if self.allow_loopback else ()))


class Telemetry(Section):
    """What the processes say about themselves."""

    log_format: LogFormat = Field(
        default=LogFormat.TEXT, description="lines for people (text) or for machines (json)"
    )
    log_level: LogLevel = Field(
        default=LogLevel.INFO, description="quieter lines are left out: debug, info, warning, error"
    )
    metrics_host: str = Field(
        default="127.0.0.1",
        description="address at which the processes answer Prometheus",
    )
    metrics_port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="port at which the processes answer Prometheus; 0: they do not. The API "
        "answers at its own /metrics too: to this machine, and to others with a key",
    )
    otlp_endpoint: UrlTextOrNone = Field(
        default="",
        description="where to send OpenTelemetry traces, http://host:4318/v1/traces; empty: "
        "nowhere",
    )


class Maintenance(Section):
    """The loop that relays unsent messages and reaps expired leases."""

    interval_seconds: PositiveSeconds = Field(
        default=1.0, description="pause between two rounds of maintenance"
    )
    grace_seconds: PositiveSeconds = Field(
        default=8,
        description="how long maintenance that is asked to end may take; what it leaves undone is "
        "done by the next one",
    )


class Publishing(Section):
    """Where jobs may have their files sent."""

    destinations: dict[DestinationName, Destination] = Field(
        default={},
        description='JSON: {"hub": {"kind": "huggingface", "secret": "HF_PUSH_TOKEN"}}; kinds are '
        "huggingface, mlflow and s3; a secret is the name of a variable that only the maintenance "
        "process needs",
    )


class Settings(BaseSettings):
    """All settings. Relative paths of the subsystems are under `data_dir`."""

    model_config = SettingsConfigDict(
        env_prefix="SECATEUR_", env_nested_delimiter="__", frozen=True, extra="forbid"
    )

    data_dir: Path = Field(
        default=Path(".secateur"),
        description="directory of everything the service keeps on this machine",
    )
    umask: str = Field(
        default="077",
        pattern=r"^0?[0-7]{3}$",
        description="what others may not do with the files and directories that the processes "
        "make, in octal: by default anything; 027 lets the group read them",
    )
    database: Database = Field(default=Database(), description=Database.__doc__)
    queue: Queue = Field(default=Queue(), description=Queue.__doc__)
    models: Models = Field(default=Models(), description=Models.__doc__)
    storage: Storage = Field(default=Storage(), description=Storage.__doc__)
    datasets: Datasets = Field(default=Datasets(), description=Datasets.__doc__)
    api: Api = Field(default=Api(), description=Api.__doc__)
    checkpoints: Checkpoints = Field(default=Checkpoints(), description=Checkpoints.__doc__)
    worker: Worker = Field(default=Worker(), description=Worker.__doc__)
    publishing: Publishing = Field(default=Publishing(), description=Publishing.__doc__)
    webhooks: Webhooks = Field(default=Webhooks(), description=Webhooks.__doc__)
    telemetry: Telemetry = Field(default=Telemetry(), description=Telemetry.__doc__)
    maintenance: Maintenance = Field(default=Maintenance(), description=Maintenance.__doc__)

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @field_validator("models", "storage", "checkpoints")
    @classmethod
    def _under_data_dir(cls, value: Section, info: ValidationInfo) -> Section:
        return value.under(info.data["data_dir"])

    def environment(self) -> dict[str, str]:
        """Variables that give a child process these settings."""
        variables = {"SECATEUR_DATA_DIR": str(self.data_dir), "SECATEUR_UMASK": self.umask}
        for section, values in self:
            if isinstance(values, Section):
                for name, value in values:
                    variables[f"SECATEUR_{section}__{name}".upper()] = _text(value)
        return variables


def _text(value: object) -> str:
    """A value as its variable holds it."""
    if isinstance(value, tuple):
        return (os.pathsep if all(isinstance(each, Path) for each in value) else ",").join(
            map(str, value)
        )
    if isinstance(value, dict):
        return TypeAdapter(dict[str, Any]).dump_json(value).decode()
    return str(value)
