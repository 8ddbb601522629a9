"""A sweep: several methods at several sparsities on one model, compared."""

import time
from collections.abc import Iterator
from typing import Self

from secateur_client._sync.events import follow
from secateur_client._sync.http import Http, address
from secateur_client._sync.job import TERMINAL, Job
from secateur_client.errors import JobFailedError
from secateur_client.models import EventOut, Leaderboard, SweepOut
from secateur_client.progress import bar, is_watched


class Sweep:
    """A sweep as it was when the service told of it last.

    Attributes:
        data: the whole answer of the service.
    """

    def __init__(self, http: Http, data: SweepOut) -> None:
        self._http = http
        self.data = data

    def __repr__(self) -> str:
        """Its id and its state."""
        return f"{type(self).__name__}({self.id!r}, {self.status!r})"

    @property
    def id(self) -> str:
        """Its id."""
        return self.data["id"]

    @property
    def status(self) -> str:
        """`running`, `succeeded`, `failed` or `cancelled`, among others."""
        return self.data["status"]

    def refresh(self, *, wait: int = 0) -> Self:
        """Ask for its state, now or when it has ended, after `wait` seconds at the latest."""
        self.data = self._http.ask("GET", self._path(), params={"wait": wait})
        return self

    def wait(self, *, progress: bool | None = None, timeout: float | None = None) -> Self:
        """Follow it to its end.

        Args:
            progress: whether to show a bar; by default on terminals and in notebooks.
            timeout: seconds; None for any time. The sweep runs on after it.

        Raises:
            JobFailedError: it failed or was cancelled.
            TimeoutError: it has not ended in that time.
        """
        until = time.monotonic() + timeout if timeout is not None else None
        shown = is_watched() if progress is None else progress
        with bar(self.id, 100, "%", shown=shown) as show:
            while self.status not in TERMINAL:
                self.refresh(wait=1)
                show(round(100 * self.data["progress"]), self.status)
                if until is not None and time.monotonic() > until and self.status not in TERMINAL:
                    raise TimeoutError(f"sweep {self.id} is {self.status} after {timeout} s")
        if self.status != "succeeded":
            raise JobFailedError(self.id, self.status)
        return self

    def events(self, after: int = 0) -> Iterator[EventOut]:
        """Its log, oldest first, as it grows; ends with the sweep."""
        return follow(self._http, self._path("events"), after)

    def leaderboard(self, metric: str | None = None) -> Leaderboard:
        """Its jobs, the best first, by the metric of its objective or another."""
        asked = {"metric": metric} if metric else {}
        found: Leaderboard = self._http.ask("GET", self._path("leaderboard"), params=asked)
        return found

    def best(self) -> Job | None:
        """The job that meets the objective best so far."""
        self.refresh()
        if (best := self.data["best_job_id"]) is None:
            return None
        return Job(self._http, self._http.ask("GET", address("jobs", best)))

    def cancel(self) -> Self:
        """Stop all its jobs."""
        self.data = self._http.ask("POST", self._path("cancel"))
        return self

    def _path(self, *more: str) -> str:
        return address("sweeps", self.id, *more)
