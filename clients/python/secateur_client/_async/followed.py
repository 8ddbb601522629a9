"""What jobs and sweeps have in common: an end to wait for, a log, a way to stop."""

import time
from collections.abc import AsyncIterator
from typing import Any, ClassVar, Self

from secateur_client._async.events import follow
from secateur_client._async.http import AsyncHttp, address
from secateur_client.errors import JobFailedError
from secateur_client.models import EventOut
from secateur_client.progress import bar, is_watched

TERMINAL = {"succeeded", "failed", "cancelled"}
_LOOK, _POLL = 1, 20  # seconds that a request waits for the end, with a bar and without


class AsyncFollowed:
    """Something of the service that ends, as it was when the service told of it last.

    Attributes:
        noun: what it is called; its address has the plural.
        data: the whole answer of the service.
    """

    noun: ClassVar[str]
    data: Any

    def __init__(self, http: AsyncHttp, data: Any) -> None:
        self._http = http
        self.data = data

    def __repr__(self) -> str:
        """Its id and its state."""
        return f"{type(self).__name__}({self.id!r}, {self.status!r}, {self.progress:.0%})"

    @property
    def id(self) -> str:
        """Its id."""
        return str(self.data["id"])

    @property
    def status(self) -> str:
        """`queued`, `running`, `cancelling`, `succeeded`, `failed` or `cancelled`."""
        return str(self.data["status"])

    @property
    def progress(self) -> float:
        """Share that is done, 0 to 1."""
        return float(self.data["progress"])

    async def refresh(self, *, wait: int = 0) -> Self:
        """Ask for its state, now or when it has ended, after `wait` seconds at the latest."""
        self.data = await self._http.ask("GET", self._path(), params={"wait": wait})
        return self

    async def wait(self, *, progress: bool | None = None, timeout: float | None = None) -> Self:
        """Follow it to its end.

        Args:
            progress: whether to show a bar; by default on terminals and in notebooks.
            timeout: seconds; None for any time. It runs on after that.

        Raises:
            JobFailedError: it failed or was cancelled.
            TimeoutError: it has not ended in that time.
        """
        until = time.monotonic() + timeout if timeout is not None else None
        shown = is_watched() if progress is None else progress
        with bar(self.id, 100, "%", shown=shown) as show:
            while self.status not in TERMINAL:
                left = _POLL if until is None else max(0, min(_POLL, int(until - time.monotonic())))
                await self.refresh(wait=min(left, _LOOK) if shown else left)
                show(round(100 * self.progress), self.data.get("phase") or self.status)
                if until is not None and time.monotonic() > until and self.status not in TERMINAL:
                    raise TimeoutError(f"{self.noun} {self.id} is {self.status} after {timeout} s")
        if self.status != "succeeded":
            raise JobFailedError(self.id, self.status, self.data.get("error"))
        return self

    def events(self, after: int = 0) -> AsyncIterator[EventOut]:
        """Its log, oldest first, as it grows; ends with it.

        Args:
            after: id of the last event seen.
        """
        return follow(self._http, self._path("events"), after)

    async def cancel(self) -> Self:
        """Stop it: what waits at once, what runs at the next block."""
        self.data = await self._http.ask("POST", self._path("cancel"))
        return self

    def _path(self, *more: str) -> str:
        return address(f"{self.noun}s", self.id, *more)
