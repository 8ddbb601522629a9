"""Models and publications on the wire."""

from dataclasses import asdict
from datetime import datetime
from typing import Self

from pydantic import BaseModel, Field

from app.domain.models import ModelVersion
from app.domain.publications import Publication, PublicationState
from app.strict import Strict


class VersionRequest(Strict):
    """Body of `POST /v1/models/{name}/versions`."""

    job_id: str = Field(max_length=64, description="a job that has succeeded")


class VersionOut(BaseModel):
    """One version of a model."""

    name: str
    version: int
    revision: str = Field(description="as the hub's clients name it", examples=["v3"])
    job_id: str
    created_at: datetime

    @classmethod
    def of(cls, version: ModelVersion) -> Self:
        """The wire form of a stored version."""
        return cls(**asdict(version), revision=version.revision)


class VersionList(BaseModel):
    """All versions of a model, newest first."""

    versions: list[VersionOut]


class ModelPage(BaseModel):
    """The newest version of each model, by name."""

    models: list[VersionOut]
    next_cursor: str | None


class LocalModelOut(BaseModel):
    """A model on the service's machines."""

    name: str = Field(description="what a job's `model` calls it", examples=["scenes-clip"])


class LocalModelList(BaseModel):
    """Local models under the allowed roots, at most a thousand of a root and level, by name."""

    models: list[LocalModelOut]


class PublicationOut(BaseModel):
    """One job on its way to one destination."""

    id: str
    destination: str
    target: str
    state: PublicationState
    attempts: int
    next_at: datetime | None
    url: str | None = Field(description="where it is, once it is there")
    last_error: str | None
    created_at: datetime

    @classmethod
    def of(cls, publication: Publication) -> Self:
        """The wire form of a stored publication."""
        return cls.model_validate(asdict(publication))


class PublicationList(BaseModel):
    """All publications of a job."""

    publications: list[PublicationOut]
