"""How many more jobs projects may queue, as far as one process knows without asking."""

import time
from dataclasses import dataclass
from threading import Lock

from app.domain.projects import Caller, Limits

SECONDS = 1.0
# A process takes this part of what it found free, so that as many may do so at the same time.
PART = 8


@dataclass(slots=True)
class _Found:
    """What was free at some moment, and how much of it is this process's still."""

    limits: Limits
    until: float
    left: int


class Room:
    """Spares counting: a long queue takes longer to count than a job to store.

    Known for a second and for a part of what was free, so the limit on queued jobs holds; that on
    published bytes is noticed a second late.
    """

    def __init__(self) -> None:
        self._found: dict[str, _Found] = {}
        self._lock = Lock()

    def take(self, caller: Caller, jobs: int) -> bool:
        """Whether there is room for certain; it is taken then."""
        with self._lock:
            found = self._found.get(caller.project_id)
            if found is None or found.limits != caller.limits or time.monotonic() > found.until:
                return False
            found.left -= jobs
            return found.left >= 0

    def learn(self, caller: Caller, free: int) -> None:
        """Note how many jobs the project may queue beside those just counted."""
        until = time.monotonic() + SECONDS
        with self._lock:
            self._found[caller.project_id] = _Found(caller.limits, until, free // PART)
