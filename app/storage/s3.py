"""Artifacts in an S3 bucket: staged on the worker's disk, uploaded, checked, then published.

```
<directory>/staging/<job>-<attempt>/...   what a worker is writing
s3://<bucket>/<prefix>/<job>-<attempt>/...  visible to clients once the job row says so
```
Credentials and region come from the environment (`AWS_ACCESS_KEY_ID`, ...) or the machine's role.
"""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError, InvalidPathError
from obstore.store import S3Store

from app.domain.errors import StorageUnavailableError
from app.domain.jobs import Artifact
from app.storage.names import Found, attempt_name, listed, parse_attempt, remove, sorted_out

if TYPE_CHECKING:
    from obstore import ReadableFile
    from obstore.store import ClientConfig, S3Config

logger = logging.getLogger("secateur.storage")

# A folder that has nothing in it, to ask whether the bucket answers.
_PROBE = "secateur-check"
# Sorts before every key of ours, and after nearly all that the client cannot read.
_FIRST = "job_"
# Stands for foreign keys whose names the client cannot read.
UNREADABLE = "a key that cannot be read"
PART = 16 << 20  # bytes; 10,000 parts at most make a file of 160 GB
PIECE = 1 << 20
PARTS_AT_ONCE = 4
# How long a client may take from the redirect to the first byte.
GRANT = timedelta(minutes=15)
PATIENCE = timedelta(seconds=60)
SOON = timedelta(seconds=3)


class S3ArtifactStore:
    """The artifacts of all jobs under one prefix of a bucket.

    Raises:
        StorageUnavailableError: from every method; S3 is away, refuses us, or lost something.
    """

    def __init__(
        self, directory: Path, url: str, endpoint: str = "", public_endpoint: str = ""
    ) -> None:
        self._staging = directory / "staging"
        config: S3Config = {"checksum_algorithm": "SHA256"}
        if endpoint:
            config |= {"endpoint": endpoint, "virtual_hosted_style_request": False}
        http = endpoint.startswith("http://")
        self._bucket = S3Store.from_url(
            url,
            config=config,
            client_options={"allow_http": http},
            retry_config={"max_retries": 6, "retry_timeout": PATIENCE},
        )
        self._probe = S3Store.from_url(
            url,
            config=config,
            client_options={"allow_http": http, "timeout": SOON, "connect_timeout": SOON},
            retry_config={"max_retries": 0},
        )
        # A signature covers the address it is for.
        self._public = self._bucket
        if public_endpoint:
            public: S3Config = {"endpoint": public_endpoint, "virtual_hosted_style_request": False}
            options: ClientConfig = {"allow_http": public_endpoint.startswith("http://")}
            self._public = S3Store.from_url(url, config=config | public, client_options=options)

    def check(self) -> None:
        """Does the bucket answer?"""
        # Where no foreign key is: the client cannot read every name that S3 may hold.
        with _told():
            next(iter(obstore.list(self._probe, _PROBE, chunk_size=1)), None)

    def stage(self, job_id: str, attempt: int) -> Path:
        """An empty directory of this machine for the attempt to write to."""
        self.discard(job_id, attempt)
        directory = self._staging / attempt_name(job_id, attempt)
        directory.mkdir(parents=True)
        return directory

    def publish(self, job_id: str, attempt: int) -> None:
        """Upload the staged files, large ones in parts, and see that all of them arrived."""
        name = attempt_name(job_id, attempt)
        staged = self._staging / name
        sizes = {
            f"{name}/{file.relative_to(staged).as_posix()}": file.stat().st_size
            for file in staged.rglob("*")
            if file.is_file()
        }
        with _told():
            for key in sorted(sizes):
                file = staged / key.removeprefix(f"{name}/")
                obstore.put(self._bucket, key, file, chunk_size=PART, max_concurrency=PARTS_AT_ONCE)
            if (found := self._sizes(name)) != sizes:
                wrong = sorted(found.items() ^ sizes.items())
                raise StorageUnavailableError(f"after the upload of {name}, {wrong} differ")
        shutil.rmtree(staged)

    def discard(self, job_id: str, attempt: int) -> None:
        """Remove whatever the attempt left."""
        name = attempt_name(job_id, attempt)
        remove(self._staging / name)
        with _told():
            if keys := list(self._sizes(name)):
                obstore.delete(self._bucket, keys)

    def attempts(self) -> Found[tuple[str, int]]:
        """Every (job id, attempt) that has files here or waits on this machine."""
        with _told():
            uploaded = sorted_out(self._top_names() - {""}, _parse_folder)
        staged = listed(self._staging, parse_attempt)
        return Found(uploaded.ours | staged.ours, uploaded.foreign | staged.foreign)

    def _top_names(self) -> set[str]:
        """The first part of every key, with its slash where more follows."""
        try:
            # Not by common prefixes: some servers list those that have become empty.
            return {_top(key) for key in self._sizes("")}
        except InvalidPathError as error:
            # The client cannot read every key that S3 may hold, but what lies deeper is no matter.
            logger.warning("a foreign key among the artifacts: %s", _first_line(error))
        with suppress(InvalidPathError):
            found = obstore.list_with_delimiter(self._bucket)
            keys = {entry["path"] for entry in found["objects"]}
            return keys | {f"{prefix}/" for prefix in found["common_prefixes"]}
        return self._readable_top_names()

    def _readable_top_names(self) -> set[str]:
        """As above, where a name at the top cannot be read: from our first key on, up to it."""
        names = {UNREADABLE}
        with suppress(InvalidPathError):
            for page in obstore.list(self._bucket, offset=_FIRST, chunk_size=1):
                names |= {_top(entry["path"]) for entry in page}
        return names

    def read(self, artifact: Artifact) -> Iterator[bytes]:
        """The content of a published artifact, piece by piece."""
        with _told():
            for piece in obstore.get(self._bucket, _key(artifact)).stream(min_chunk_size=PIECE):
                yield bytes(piece)

    @contextmanager
    def open(self, artifact: Artifact) -> Iterator["ReadableFile"]:
        """A published artifact to read from any place."""
        with _told():
            key = _key(artifact)
            yield obstore.open_reader(self._bucket, key, buffer_size=PART, size=artifact.size)

    def locate(self, artifact: Artifact) -> str:
        """A presigned address: whoever has it may GET this file for a while."""
        with _told():
            return obstore.sign(self._public, "GET", _key(artifact), GRANT)

    def _sizes(self, name: str) -> dict[str, int]:
        pages = obstore.list(self._bucket, f"{name}/" if name else None)
        return {entry["path"]: entry["size"] for page in pages for entry in page}


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (BaseError, OSError) as error:
        # The first line says what happened; what follows may quote the request.
        raise StorageUnavailableError(f"the artifact store failed: {_first_line(error)}") from error


def _top(key: str) -> str:
    return "".join(key.partition("/")[:2])


def _parse_folder(name: str) -> tuple[str, int] | None:
    return parse_attempt(name[:-1]) if name.endswith("/") else None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _key(artifact: Artifact) -> str:
    return f"{attempt_name(artifact.job_id, artifact.attempt)}/{artifact.path}"
