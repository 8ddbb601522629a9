"""When a child must be gone: the rules its watchdog goes by, without a clock or a database."""

from dataclasses import dataclass
from enum import StrEnum

from app.domain.jobs import Lease

STEPS = 10  # a step may take this many times as long as the longest was planned to take


class Reason(StrEnum):
    """Why a child is ended."""

    CANCELLED = "cancelled"
    LOST = "lost"
    STALLED = "stalled"
    DRAINED = "drained"


@dataclass(frozen=True, slots=True)
class Task:
    """What a child works on.

    Attributes:
        job_id: of the job; None while one is being claimed.
        attempt: of the job.
        own: whether the child runs the job; otherwise it helps the worker that does.
    """

    job_id: str | None = None
    attempt: int = 0
    own: bool = True


class Rights:
    """What is known of one child's right to go on. Times are seconds of one steady clock."""

    def __init__(self, *, bound: float, drain: float, stall: float) -> None:
        """The child is idle.

        Args:
            bound: how long a child may go on after its right to its job has ended.
            drain: the same after it was asked to end.
            stall: how long it may go without progress, whatever its steps were planned to take.
        """
        self._bound = bound
        self._drain = drain
        self._stall = self._patience = stall
        self.task: Task | None = None
        self._lease = Lease.HELD
        self._held_at = self._moved_at = 0.0
        self._asked_at: float | None = None

    def begins(self, task: Task, now: float) -> None:
        """The child turns to a task."""
        self.task, self._lease, self._patience = task, Lease.HELD, self._stall
        self._held_at = self._moved_at = now

    def ends(self) -> None:
        """The child is idle."""
        self.task = None

    def moves(self, now: float) -> None:
        """The child has got further."""
        self._moved_at = now

    def plans(self, step: float, now: float) -> None:
        """The task's longest step should take this long."""
        self._patience = max(self._stall, STEPS * step)
        self._moved_at = now

    def asked_to_end(self, now: float) -> None:
        """The child was sent SIGTERM."""
        if self._asked_at is None:
            self._asked_at = now

    def looked(self, task: Task, lease: Lease | None, at: float) -> None:
        """The database said this of the task; None: it said nothing, so the right may last."""
        if task != self.task:
            return
        self._lease = lease or Lease.HELD
        if self._lease is Lease.HELD:
            self._held_at = max(self._held_at, at)

    def due(self, now: float) -> Reason | None:
        """Why the child must be ended now; None where it need not."""
        if self._asked_at is not None and now >= self._asked_at + self._drain:
            return Reason.DRAINED
        if self.task is None:
            return None
        if now >= self._held_at + self._bound and self._lease is not Lease.HELD:
            return Reason.CANCELLED if self._lease is Lease.CANCEL_REQUESTED else Reason.LOST
        if now >= self._moved_at + self._patience:
            return Reason.STALLED
        return None
