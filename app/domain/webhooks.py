"""Webhooks: who is told what, and when it is tried again."""

import heapq
import random
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from http import HTTPStatus
from typing import Any

from app.domain.jobs import JobStatus
from app.domain.sweeps import SweepStatus
from app.errors import LimitError, NotFoundError, UserError


class WebhookEvent(StrEnum):
    """What an endpoint can be told of: statuses of jobs and sweeps, the end of other endpoints."""

    QUEUED = "job.queued"
    RUNNING = "job.running"
    CANCELLING = "job.cancelling"
    SUCCEEDED = "job.succeeded"
    FAILED = "job.failed"
    CANCELLED = "job.cancelled"
    SWEEP_QUEUED = "sweep.queued"
    SWEEP_RUNNING = "sweep.running"
    SWEEP_CANCELLING = "sweep.cancelling"
    SWEEP_SUCCEEDED = "sweep.succeeded"
    SWEEP_FAILED = "sweep.failed"
    SWEEP_CANCELLED = "sweep.cancelled"
    DISABLED = "webhook.disabled"


ENDS = frozenset(
    [WebhookEvent(f"job.{status}") for status in JobStatus if status.terminal]
    + [WebhookEvent(f"sweep.{status}") for status in SweepStatus if status.terminal]
)


class DeliveryState(StrEnum):
    """Where one message to one endpoint stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


# Standard Webhooks, "retries": the pause before each attempt.
SCHEDULE = (
    timedelta(0),
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    *(timedelta(hours=hours) for hours in (2, 5, 10, 14, 20, 24)),
)


def pause_after(attempts: int) -> timedelta | None:
    """How long to wait after so many failed attempts, up to a tenth more; None: give up."""
    if attempts >= len(SCHEDULE):
        return None
    return SCHEDULE[attempts] * random.uniform(1, 1.1)  # noqa: S311 - spreads load, hides nothing


class EndpointState(StrEnum):
    """How an endpoint does."""

    ACTIVE = "active"
    FAILING = "failing"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a project wants to be told.

    Attributes:
        failing_since: since when every attempt has failed; None where the last one did not.
        last_error: why the last one failed.
    """

    id: str
    project_id: str
    url: str
    events: frozenset[WebhookEvent]
    enabled: bool
    disabled_reason: str | None
    failing_since: datetime | None
    last_error: str | None
    created_at: datetime

    @property
    def state(self) -> EndpointState:
        """How it does."""
        if not self.enabled:
            return EndpointState.DISABLED
        return EndpointState.ACTIVE if self.failing_since is None else EndpointState.FAILING


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message to one endpoint; its id is the `webhook-id` of every attempt."""

    id: str
    endpoint_id: str
    event: WebhookEvent
    payload: dict[str, Any]
    state: DeliveryState
    attempts: int
    next_at: datetime | None
    last_status: int | None
    last_error: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Dispatch:
    """A delivery that is due, with what is needed to send it.

    Attributes:
        secrets: all that are live: two for a while after a rotation.
        own: whether the endpoint is the installation's own, for lineage, and not a project's.
        headers: what is sent beside the signature.
    """

    id: str
    endpoint_id: str
    attempts: int
    url: str
    payload: dict[str, Any]
    secrets: tuple[str, ...]
    own: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What came of an attempt: an HTTP status, or why there is none."""

    status: int | None
    error: str | None = None

    @property
    def reason(self) -> str:
        """What there is to say of it."""
        return self.error or f"the receiver answered {self.status}"

    @property
    def accepted(self) -> bool:
        """Only 2xx counts; a redirect is a failure."""
        return self.status is not None and 200 <= self.status < 300  # noqa: PLR2004 - HTTP's 2xx

    @property
    def gone(self) -> bool:
        """The receiver wants nothing more."""
        return self.status == 410  # noqa: PLR2004 - HTTP's Gone


class WebhookAddressError(UserError):
    """The webhook's address is not one that can be sent to."""

    code = "webhook_address_refused"


class WebhookQuotaError(LimitError):
    """The project has as many webhooks as it may have."""

    code = "quota_webhooks"
    status = HTTPStatus.FORBIDDEN


class WebhookNotFoundError(NotFoundError):
    """The project has no webhook endpoint of that id."""

    code = "webhook_not_found"


class DeliveryNotFoundError(NotFoundError):
    """The webhook endpoint has no delivery of that id."""

    code = "webhook_delivery_not_found"


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that could be done now, for an endpoint of a project."""

    id: str
    endpoint_id: str
    project_id: str


@dataclass(frozen=True, slots=True)
class Shares:
    """How many may be under way: in all, of one project, to one endpoint."""

    total: int = 256
    project: int = 8
    endpoint: int = 4


def choose(
    candidates: Iterable[Candidate], held: Sequence[Candidate], shares: Shares
) -> list[Candidate]:
    """Those to begin now: project by project, the one with the fewest under way first.

    Args:
        candidates: in the order in which they are due.
        held: what is under way.
        shares: the limits.
    """
    projects = Counter(each.project_id for each in held)
    endpoints = Counter(each.endpoint_id for each in held)
    waiting: dict[str, deque[Candidate]] = {}
    for each in candidates:
        waiting.setdefault(each.project_id, deque()).append(each)
    turns = [(projects[name], turn, name) for turn, name in enumerate(waiting)]
    heapq.heapify(turns)
    chosen = list[Candidate]()
    while turns and len(held) + len(chosen) < shares.total:
        count, turn, project = heapq.heappop(turns)
        if count >= shares.project:
            continue
        queue = waiting[project]
        while queue and endpoints[queue[0].endpoint_id] >= shares.endpoint:
            queue.popleft()
        if queue:
            each = queue.popleft()
            endpoints[each.endpoint_id] += 1
            chosen.append(each)
            heapq.heappush(turns, (count + 1, turn, project))
    return chosen
