"""A pruning job: wait for it, watch it, take what came of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from secateur_client import files
from secateur_client._sync.followed import Followed
from secateur_client._sync.http import address
from secateur_client.calls import directly
from secateur_client.configuration import cache_directory
from secateur_client.errors import DownloadError, UnreachableError
from secateur_client.loading import load_model
from secateur_client.models import ArtifactOut, JobOut, JobResult
from secateur_client.progress import bar, is_watched

_PARTIAL_CONTENT = 206
_PACKABLE = ".safetensors"


class Job(Followed):
    """A job as it was when the service told of it last.

    Attributes:
        data: the whole answer of the service.
    """

    noun = "job"
    data: JobOut

    @property
    def result(self) -> JobResult | None:
        """Its figures; None until it has succeeded."""
        return self.data["result"]

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
        self,
        destination: str | Path | None = None,
        *,
        packed: bool = False,
        progress: bool | None = None,
    ) -> Path:
        """Bring its files to a directory, and return that.

        What has arrived is kept and not asked for again. A file appears under its name when its
        SHA-256 is right. One download at a time into one directory.

        Args:
            destination: created if absent; by default a directory of the user's cache.
            packed: whether weights travel packed: a bit for each, and those that are left. The
                same files arrive. Needs numpy.
            progress: as `wait` has it.

        Raises:
            DownloadError: it has no files, or one arrived damaged.
        """
        if packed:
            files.require_numpy()
        directory = Path(destination) if destination else cache_directory() / self.id
        listed = self.artifacts()
        if not listed:
            raise DownloadError(f"job {self.id} has no files; it is {self.status}")
        shown = is_watched() if progress is None else progress
        done = 0
        with bar(self.id, sum(each["size"] for each in listed), "B", shown=shown) as show:
            for each in listed:
                target = files.inside(directory, each["path"])
                form = "packed" if packed and target.suffix == _PACKABLE else "artifacts"
                self._fetch(each, form, target, _after(done, each["path"], show))
                done += each["size"]
        return directory

    def load(
        self, destination: str | Path | None = None, *, packed: bool = False, **options: Any
    ) -> Any:
        """Download its files and load them with transformers.

        Of a router (`par`) the base model is loaded, with the router attached by the runtime that
        comes with it; `model.par.detach()` takes it off.

        Args:
            destination: as `download` has it.
            packed: as `download` has it.
            options: of `from_pretrained`, such as `dtype` or `device_map`; for a router also
                `base`, where the base model is not where the service has it, and `profile`.
        """
        directory = self.download(destination, packed=packed)
        return directly(load_model, directory, options)

    def _fetch(
        self, artifact: ArtifactOut, form: str, target: Path, show: Callable[[int], None]
    ) -> None:
        if directly(files.is_whole, target, artifact):
            return
        append = self._append_packed if form == "packed" else self._append
        gathered = files.partial(target, artifact)
        failed = 0
        while not gathered.exists() or gathered.stat().st_size < artifact["size"]:
            had = gathered.stat().st_size if gathered.exists() else -1
            try:
                append(artifact, gathered, show)
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
        path = self._path_of("artifacts", artifact)
        with self._http.stream(path, headers=headers) as response:
            goes_on = response.status_code == _PARTIAL_CONTENT
            with gathered.open("ab" if goes_on else "wb") as file:
                for chunk in response.iter_bytes():
                    file.write(chunk)
                    show(file.tell())

    def _append_packed(
        self, artifact: ArtifactOut, gathered: Path, show: Callable[[int], None]
    ) -> None:
        """The same in packed form; what of it is whole is kept where it is cut off."""
        start = gathered.stat().st_size if gathered.exists() else 0
        arrived = gathered.with_suffix(".packed")
        path = self._path_of("packed", artifact)
        with arrived.open("wb") as file:
            try:
                with self._http.stream(path, params={"start": start}) as response:
                    for chunk in response.iter_bytes():
                        file.write(chunk)
                        show(min(start + file.tell(), artifact["size"]))
            finally:
                file.flush()
                directly(files.unpack, arrived, gathered)

    def _path_of(self, form: str, artifact: ArtifactOut) -> str:
        # Without slashes quoted: the path of the file is part of the path of the request.
        return "/".join([self._path(form), *map(_quoted, artifact["path"].split("/"))])


def _after(before: int, word: str, show: Callable[[int, str], None]) -> Callable[[int], None]:
    """Shows what has come of one file, the files before it included."""
    return lambda size: show(before + size, word)


def _quoted(part: str) -> str:
    return address(part).removeprefix("/v1/")
