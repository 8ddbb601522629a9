"""A pruning job: wait for it, watch it, take what came of it."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

from secateur_client import files
from secateur_client._sync.events import follow
from secateur_client._sync.http import Http, address
from secateur_client.calls import directly
from secateur_client.configuration import cache_directory
from secateur_client.errors import DownloadError, JobFailedError, UnreachableError
from secateur_client.loading import load_model
from secateur_client.models import ArtifactOut, EventOut, JobOut, JobResult
from secateur_client.progress import bar, is_watched

TERMINAL = {"succeeded", "failed", "cancelled"}
_LOOK, _POLL = 1, 20  # seconds that a request waits for the end, with a bar and without
_PARTIAL_CONTENT = 206


class Job:
    """A job as it was when the service told of it last.

    Attributes:
        data: the whole answer of the service.
    """

    def __init__(self, http: Http, data: JobOut) -> None:
        self._http = http
        self.data = data

    def __repr__(self) -> str:
        """Its id and its state."""
        return f"{type(self).__name__}({self.id!r}, {self.status!r}, {self.progress:.0%})"

    @property
    def id(self) -> str:
        """Its id."""
        return self.data["id"]

    @property
    def status(self) -> str:
        """`queued`, `running`, `cancelling`, `succeeded`, `failed` or `cancelled`."""
        return self.data["status"]

    @property
    def progress(self) -> float:
        """Share that is done, 0 to 1."""
        return self.data["progress"]

    @property
    def result(self) -> JobResult | None:
        """Its figures; None until it has succeeded."""
        return self.data["result"]

    def refresh(self, *, wait: int = 0) -> Self:
        """Ask for its state, now or when it has ended, after `wait` seconds at the latest."""
        self.data = self._http.ask("GET", self._path(), params={"wait": wait})
        return self

    def wait(self, *, progress: bool | None = None, timeout: float | None = None) -> Self:
        """Follow it to its end.

        Args:
            progress: whether to show a bar; by default on terminals and in notebooks.
            timeout: seconds; None for any time. The job runs on after it.

        Raises:
            JobFailedError: it failed or was cancelled.
            TimeoutError: it has not ended in that time.
        """
        until = time.monotonic() + timeout if timeout is not None else None
        shown = is_watched() if progress is None else progress
        with bar(self.id, 100, "%", shown=shown) as show:
            while self.status not in TERMINAL:
                left = _POLL if until is None else max(0, min(_POLL, int(until - time.monotonic())))
                self.refresh(wait=min(left, _LOOK) if shown else left)
                show(round(100 * self.progress), self.data["phase"] or self.status)
                if until is not None and time.monotonic() > until and self.status not in TERMINAL:
                    raise TimeoutError(f"job {self.id} is {self.status} after {timeout} s")
        if self.status != "succeeded":
            raise JobFailedError(self.id, self.status, self.data["error"])
        return self

    def events(self, after: int = 0) -> Iterator[EventOut]:
        """Its log, oldest first, as it grows; ends with the job.

        Args:
            after: id of the last event seen.
        """
        return follow(self._http, self._path("events"), after)

    def cancel(self) -> Self:
        """Stop it: at once while it is queued, at the next block while it runs."""
        self.data = self._http.ask("POST", self._path("cancel"))
        return self

    def retry(self, *, idempotency_key: str | None = None) -> "Job":
        """Submit it again after it failed or was cancelled, as a new job."""
        made = self._http.create(self._path("retry"), None, idempotency_key)
        return Job(self._http, made)

    def clone(self, *, idempotency_key: str | None = None, **changes: Any) -> "Job":
        """Submit its request again, with fields set anew; None puts one back to its default."""
        made = self._http.create(self._path("clone"), changes, idempotency_key)
        return Job(self._http, made)

    def delete(self) -> None:
        """Remove it with its events and files, once it has ended."""
        self._http.ask("DELETE", self._path())

    def report(self) -> str:
        """The report as a page of HTML."""
        page: str = self._http.ask("GET", self._path("report"))
        return page

    def artifacts(self) -> list[ArtifactOut]:
        """Its files: path, size in bytes, SHA-256."""
        found: list[ArtifactOut] = (self._http.ask("GET", self._path("artifacts")))["artifacts"]
        return found

    def download(
        self, destination: str | Path | None = None, *, progress: bool | None = None
    ) -> Path:
        """Bring its files to a directory, and return that.

        What has arrived is kept and not asked for again. A file appears under its name when its
        SHA-256 is right. One download at a time into one directory.

        Args:
            destination: created if absent; by default a directory of the user's cache.
            progress: as `wait` has it.

        Raises:
            DownloadError: it has no files, or one arrived damaged.
        """
        directory = Path(destination) if destination else cache_directory() / self.id
        listed = self.artifacts()
        if not listed:
            raise DownloadError(f"job {self.id} has no files; it is {self.status}")
        shown = is_watched() if progress is None else progress
        done = 0
        with bar(self.id, sum(each["size"] for each in listed), "B", shown=shown) as show:
            for each in listed:
                target = files.inside(directory, each["path"])
                self._fetch(each, target, _after(done, each["path"], show))
                done += each["size"]
        return directory

    def load(self, destination: str | Path | None = None, **options: Any) -> Any:
        """Download its files and load them with transformers.

        Args:
            destination: as `download` has it.
            options: of `from_pretrained`, such as `dtype` or `device_map`.
        """
        directory = self.download(destination)
        return directly(load_model, directory, options)

    def _path(self, *more: str) -> str:
        return address("jobs", self.id, *more)

    def _fetch(self, artifact: ArtifactOut, target: Path, show: Callable[[int], None]) -> None:
        if directly(files.is_whole, target, artifact):
            return
        gathered = files.partial(target, artifact)
        failed = 0
        while not gathered.exists() or gathered.stat().st_size < artifact["size"]:
            had = gathered.stat().st_size if gathered.exists() else -1
            try:
                self._append(artifact, gathered, show)
            except UnreachableError as error:
                # What came on the way counts: only tries that brought nothing do not go on.
                failed = failed + 1 if gathered.exists() and gathered.stat().st_size == had else 1
                self._http.pause(failed, error)
            else:
                break
        directly(files.finish, gathered, target, artifact)

    def _append(self, artifact: ArtifactOut, gathered: Path, show: Callable[[int], None]) -> None:
        """Ask for what is missing; a service that sends everything is taken from the start."""
        start = gathered.stat().st_size if gathered.exists() else 0
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        # Without slashes quoted: the path of the file is part of the path of the request.
        path = "/".join([self._path("artifacts"), *map(_quoted, artifact["path"].split("/"))])
        with self._http.stream(path, headers=headers) as response:
            goes_on = response.status_code == _PARTIAL_CONTENT
            with gathered.open("ab" if goes_on else "wb") as file:
                for chunk in response.iter_bytes():
                    file.write(chunk)
                    show(file.tell())


def _after(before: int, word: str, show: Callable[[int, str], None]) -> Callable[[int], None]:
    """Shows what has come of one file, the files before it included."""
    return lambda size: show(before + size, word)


def _quoted(part: str) -> str:
    return address(part).removeprefix("/v1/")
