"""What a client says about a job beside its recipe: labels, notes, priority, time limits."""

import json
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from app.domain.models import ModelName
from app.domain.publications import PublishRequest
from app.strict import Strict

MAX_METADATA_BYTES = 8192
DAY = 86_400


def _small(value: dict[str, Any]) -> dict[str, Any]:
    if len(json.dumps(value)) > MAX_METADATA_BYTES:
        raise PydanticCustomError("metadata_too_large", "metadata takes at most 8192 bytes as JSON")
    return value


LabelKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_./-]{0,62}$")]
LabelValue = Annotated[str, Field(pattern=r"^[A-Za-z0-9_./-]{0,63}$")]
Labels = Annotated[
    dict[LabelKey, LabelValue], Field(max_length=32, description="for filters on the list")
]
Metadata = Annotated[
    dict[str, Any], AfterValidator(_small), Field(description="anything; handed back as it came")
]
Priority = Annotated[
    int, Field(ge=-100, le=100, description="among waiting jobs, higher ones start first")
]


WorkerClassName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]


class JobOptions(Strict):
    """Everything but the recipe."""

    worker_class: WorkerClassName | None = Field(
        default=None,
        description="only workers of this class take the job; else the smallest that fit it. "
        "GET /v1/workers lists them",
    )

    labels: Labels = Field(default={}, examples=[{"team": "search"}])
    metadata: Metadata = Field(default={})
    priority: Priority = 0
    max_runtime_seconds: int | None = Field(
        default=None,
        ge=1,
        le=30 * DAY,
        description="the job fails this long after its first start, retries included",
    )
    max_pending_seconds: int | None = Field(
        default=None, ge=1, le=30 * DAY, description="the job fails if it has not started by then"
    )


class PublishOptions(Strict):
    """Where a job goes that succeeds."""

    publish_as: ModelName | None = Field(
        default=None,
        description="model of the project that gets a new version where the job succeeds",
        examples=["captioner"],
    )
    publish: tuple[PublishRequest, ...] = Field(
        default=(), max_length=8, description="where its files go where the job succeeds"
    )


class JobChange(Strict):
    """Body of `PATCH /v1/jobs/{id}`; a field that is left out stays as it is."""

    labels: Labels | None = None
    metadata: Metadata | None = None
    priority: Priority | None = None
