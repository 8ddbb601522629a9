"""Webhook endpoints and deliveries on the wire."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field

from app.domain.webhooks import ENDS, Delivery, DeliveryState, Endpoint, EndpointState, WebhookEvent
from app.strict import Strict

Url = Annotated[str, Field(max_length=2000, examples=["https://example.com/hooks/secateur"])]
Events = Annotated[list[WebhookEvent], Field(min_length=1, max_length=len(WebhookEvent))]


class WebhookRequest(Strict):
    """Body of `POST /v1/webhooks`."""

    url: Url
    events: Events = Field(default=sorted(ENDS), description="what to be told of")


class WebhookChange(Strict):
    """Body of `PATCH /v1/webhooks/{id}`; a field that is left out stays as it is."""

    url: Url | None = None
    events: Events | None = None
    enabled: bool | None = None


class WebhookOut(BaseModel):
    """One endpoint, without its secret."""

    id: str
    url: str
    events: list[WebhookEvent]
    enabled: bool
    state: EndpointState = Field(description="failing: the last attempt was not accepted")
    disabled_reason: str | None
    failing_since: datetime | None = Field(description="null where the last attempt was accepted")
    last_error: str | None = Field(description="why the last attempt was not accepted")
    created_at: datetime

    @classmethod
    def of(cls, endpoint: Endpoint) -> Self:
        """The wire form of an endpoint."""
        return cls.model_validate(
            asdict(endpoint) | {"events": sorted(endpoint.events), "state": endpoint.state}
        )


class NewWebhookOut(BaseModel):
    """An endpoint with a secret that was just made."""

    webhook: WebhookOut
    secret: str = Field(description="signs every message; shown here and never again")

    @classmethod
    def of(cls, made: tuple[Endpoint, str]) -> Self:
        """The wire form of an endpoint and its secret."""
        return cls(webhook=WebhookOut.of(made[0]), secret=made[1])


class WebhookList(BaseModel):
    """The project's endpoints, newest first."""

    webhooks: list[WebhookOut]


class DeliveryOut(BaseModel):
    """One message to an endpoint."""

    id: str = Field(description="the `webhook-id` of every attempt")
    event: WebhookEvent
    payload: dict[str, Any]
    state: DeliveryState
    attempts: int
    next_at: datetime | None
    last_status: int | None
    last_error: str | None
    created_at: datetime

    @classmethod
    def of(cls, delivery: Delivery) -> Self:
        """The wire form of a delivery."""
        return cls.model_validate(asdict(delivery))


class DeliveryPage(BaseModel):
    """Deliveries, newest first."""

    deliveries: list[DeliveryOut]
    next_cursor: str | None
