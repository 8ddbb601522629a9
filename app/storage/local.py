"""Artifacts on a local (or shared) disk: staged privately, published by one rename.

```
<root>/staging/<job>-<attempt>/...    what a worker is writing
<root>/published/<job>-<attempt>/...  complete; visible to clients once the job row says so
```
"""

import hashlib
import mimetypes
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from app.domain.jobs import Artifact
from app.errors import StorageUnavailableError
from app.storage.names import Found, attempt_name, listed, parse_attempt, remove

PIECE = 1 << 18


class LocalStore:
    """The artifacts of all jobs under one directory."""

    def __init__(self, root: Path) -> None:
        self._staging = root / "staging"
        self._published = root / "published"

    def check(self) -> None:
        """Is the directory there, and ours to write to?"""
        try:
            self._staging.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageUnavailableError(f"{self._staging}: {error.strerror}") from error
        if not os.access(self._staging, os.W_OK):
            raise StorageUnavailableError(f"{self._staging} cannot be written to")

    def stage(self, job_id: str, attempt: int) -> Path:
        """An empty directory for the attempt to write to."""
        self.discard(job_id, attempt)
        directory = self._staging / attempt_name(job_id, attempt)
        directory.mkdir(parents=True)
        return directory

    def describe(self, job_id: str, attempt: int) -> list[Artifact]:
        """Size and SHA-256 of every staged file, by path."""
        directory = self._staging / attempt_name(job_id, attempt)
        files = sorted(path for path in directory.rglob("*") if path.is_file())
        return [
            Artifact(
                job_id=job_id,
                attempt=attempt,
                path=file.relative_to(directory).as_posix(),
                size=file.stat().st_size,
                sha256=sha256_of(file),
                media_type=mimetypes.guess_type(file.name)[0] or "application/octet-stream",
            )
            for file in files
        ]

    def publish(self, job_id: str, attempt: int) -> None:
        """Make the staged files durable and move them into place, all at once."""
        staged = self._staging / attempt_name(job_id, attempt)
        for path in [*staged.rglob("*"), staged]:
            _sync(path)
        self._published.mkdir(exist_ok=True)
        staged.rename(self._published / attempt_name(job_id, attempt))
        _sync(self._published)

    def discard(self, job_id: str, attempt: int) -> None:
        """Remove whatever the attempt left.

        Raises:
            StorageUnavailableError: something of it cannot be removed.
        """
        for parent in (self._staging, self._published):
            remove(parent / attempt_name(job_id, attempt))

    def attempts(self) -> Found[tuple[str, int]]:
        """Every (job id, attempt) that has files here, staged or published.

        Raises:
            StorageUnavailableError: a directory cannot be read.
        """
        staged = listed(self._staging, parse_attempt)
        published = listed(self._published, parse_attempt)
        return Found(staged.ours | published.ours, staged.foreign | published.foreign)

    def locate(self, artifact: Artifact) -> Path:
        """The file of a published artifact."""
        return self._published / attempt_name(artifact.job_id, artifact.attempt) / artifact.path

    def read(self, artifact: Artifact) -> Iterator[bytes]:
        """The content of a published artifact, piece by piece."""
        with self.locate(artifact).open("rb") as file:
            while piece := file.read(PIECE):
                yield piece

    def open(self, artifact: Artifact) -> BinaryIO:
        """A published artifact to read from any place."""
        return self.locate(artifact).open("rb")


def sha256_of(file: Path) -> str:
    """Hex digest of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
