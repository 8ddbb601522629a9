"""Publications: the files of a job sent on to a destination once it has succeeded.

A destination is a name for an address and a secret that the installation holds; jobs, logs and
events know nothing but the name.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from app.errors import NotFoundError, SystemFaultError, UserError
from app.strict import Strict
from app.urls import UrlText, UrlTextOrNone

SecretName = Annotated[
    str,
    Field(
        pattern=r"^[A-Z_][A-Z0-9_]*$",
        description="environment variable of the maintenance process that holds the secret",
    ),
]

ArtifactRoot = Annotated[str, Field(pattern=r"^(s3://[^/]+(/.*)?|/.+)$")]


class _Destination(Strict):
    projects: tuple[str, ...] = Field(
        default=(), description="ids of the projects that may publish here; none: all"
    )

    def refuses(self, target: str) -> str | None:  # noqa: ARG002  for those that are particular
        """Why nothing can have that name over there; None: it can."""
        return None


class HuggingFace(_Destination):
    """A Hugging Face hub; the target is a repository."""

    kind: Literal["huggingface"]
    endpoint: UrlText = "https://huggingface.co"
    private: bool = True
    secret: SecretName = Field(description="a token that may write")


class MlFlow(_Destination):
    """An MLflow server; the target is an experiment and a registered model."""

    kind: Literal["mlflow"]
    endpoint: UrlText
    artifacts: tuple[ArtifactRoot, ...] = Field(
        default=(),
        max_length=16,
        description="directories and s3:// prefixes that files may be written to where the server "
        "leaves that to its clients; none: only files that the server takes itself",
    )
    secret: SecretName | None = Field(
        default=None, description="a token, or user:password; None: the server asks for nothing"
    )

    def refuses(self, target: str) -> str | None:
        """Why no registered model can have that name."""
        return "names of MLflow's models have no slash" if "/" in target else None


class OciRegistry(_Destination):
    """An OCI registry; the target is a repository, and the job's id the tag."""

    kind: Literal["oci"]
    endpoint: UrlText = Field(description="https://host, with a path before every repository")
    format: Literal["modelpack", "image"] = Field(
        default="modelpack",
        description="a CNCF ModelPack, or an image with the files in /models, as KServe wants it",
    )
    base: str = Field(
        default="",
        pattern=r"^([a-z0-9._/-]+(:[A-Za-z0-9_.-]+|@sha256:[0-9a-f]{64}))?$",
        description="repository:tag or repository@sha256:... of the same registry that images "
        "begin with; KServe's sidecars need a shell, as of busybox; none: images of files alone",
    )
    secret: SecretName | None = Field(
        default=None, description="user:password; None: the registry asks for nothing"
    )

    def refuses(self, target: str) -> str | None:
        """Why no repository can have that name."""
        if re.fullmatch(r"[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*", target):
            return None
        return "repositories of a registry are named in lower case, as acme/captioner"


class S3Prefix(_Destination):
    """A bucket; the target is a prefix under `url`."""

    kind: Literal["s3"]
    url: str = Field(pattern=r"^s3://[^/]+(/.*)?$")
    endpoint: UrlTextOrNone = ""
    region: str = "us-east-1"
    secret: SecretName = Field(description="access key id and secret access key, id:secret")


Destination = Annotated[HuggingFace | MlFlow | OciRegistry | S3Prefix, Field(discriminator="kind")]


DestinationName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]


class PublishRequest(Strict):
    """Where a job's files go on success."""

    destination: DestinationName = Field(description="name of a destination of the installation")
    target: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$",
        max_length=200,
        description="name over there: the hub's or the registry's repository, MLflow's model, the "
        "prefix on S3",
        examples=["acme/captioner-pruned"],
    )


class PublicationState(StrEnum):
    """Where one publication stands."""

    PENDING = "pending"
    PUBLISHED = "published"
    FAILED = "failed"


# The pause before each attempt.
SCHEDULE = (
    timedelta(0),
    *(timedelta(seconds=seconds) for seconds in (5, 30)),
    *(timedelta(minutes=minutes) for minutes in (5, 30)),
    *(timedelta(hours=hours) for hours in (2, 6)),
)


def pause_after(attempts: int) -> timedelta | None:
    """How long to wait after so many failed attempts; None: give up."""
    return SCHEDULE[attempts] if attempts < len(SCHEDULE) else None


@dataclass(frozen=True, slots=True)
class Publication:
    """One job on its way to one destination."""

    id: str
    job_id: str
    destination: str
    target: str
    state: PublicationState
    attempts: int
    next_at: datetime | None
    url: str | None
    last_error: str | None
    created_at: datetime


class DestinationUnknownError(UserError):
    """The installation has no destination of that name."""

    code = "destination_unknown"


class TargetInvalidError(UserError):
    """The destination can have nothing of that name."""

    code = "target_invalid"


class PublicationNotFoundError(NotFoundError):
    """The job has no publication of that id."""

    code = "publication_not_found"


class PublishingError(SystemFaultError):
    """A destination did not take the files."""

    code = "publishing_failed"
