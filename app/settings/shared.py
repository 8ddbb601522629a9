"""What more than one process reads: where things are kept, and what the processes tell."""

import os
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from app.settings.section import PositiveSeconds, Section
from app.telemetry.logs import LogFormat, LogLevel
from app.uploads.limits import UploadLimits
from app.urls import UrlText, UrlTextOrNone


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
