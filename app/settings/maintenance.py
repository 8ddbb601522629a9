"""What maintenance reads: its own rounds, and what it sends to others."""

from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from app.domain.publications import Destination, DestinationName
from app.settings.section import PositiveSeconds, Section
from app.urls import UrlTextOrNone
from app.webhooks.guard import LOOPBACK, Network


class Maintenance(Section):
    """The loop that relays unsent messages and reaps expired leases."""

    interval_seconds: PositiveSeconds = Field(
        default=1.0, description="pause between two rounds of maintenance"
    )
    keep_jobs_days: float = Field(
        default=0,
        ge=0,
        description="days after its end that a job is deleted, with its events and files, and a "
        "sweep with all of its members; what is a version of a model, is being published or is "
        "started from stays; 0: never",
    )
    grace_seconds: PositiveSeconds = Field(
        default=8,
        description="how long maintenance that is asked to end may take; what it leaves undone is "
        "done by the next one",
    )


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


class Lineage(Section):
    """Events of jobs for a catalogue that speaks OpenLineage, as Marquez or DataHub."""

    url: UrlTextOrNone = Field(
        default="",
        description="where events are posted, as https://marquez.example.org/api/v1/lineage; "
        "empty: nowhere. It may be in a private network",
    )
    namespace: str = Field(
        default="secateur",
        min_length=1,
        description="OpenLineage's namespace of jobs, uploaded data sets and results",
    )
    api_key: SecretStr = Field(
        default=SecretStr(""),
        description="sent as a bearer token; only the maintenance process needs it",
    )


class Publishing(Section):
    """Where jobs may have their files sent."""

    destinations: dict[DestinationName, Destination] = Field(
        default={},
        description='JSON: {"hub": {"kind": "huggingface", "secret": "HF_PUSH_TOKEN"}}; kinds are '
        "huggingface, mlflow, oci and s3; a secret is the name of a variable that only the "
        "maintenance process needs",
    )
