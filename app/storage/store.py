"""What the house asks of a store of artifacts; a directory or S3 is behind it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from app.domain.jobs import Artifact
from app.packed.pack import Source
from app.storage.names import Found


class ArtifactStore(Protocol):
    """The artifacts of all jobs. An attempt's files are staged privately and published at once."""

    def check(self) -> None:
        """Raise StorageUnavailableError, soon, where nothing can be read or written."""

    def stage(self, job_id: str, attempt: int) -> Path:
        """An empty directory of this machine for the attempt to write to."""

    def publish(self, job_id: str, attempt: int) -> None:
        """Put the staged files, whole and durable, where `locate` finds them.

        Clients see them once the job's row says so.
        """

    def discard(self, job_id: str, attempt: int) -> None:
        """Remove whatever the attempt left."""

    def attempts(self) -> Found[tuple[str, int]]:
        """Every (job id, attempt) that has files here, staged or published; what else lies here."""

    def read(self, artifact: Artifact) -> Iterator[bytes]:
        """The content of a published artifact, piece by piece."""

    def open(self, artifact: Artifact) -> AbstractContextManager[Source]:
        """A published artifact to read from any place."""

    def locate(self, artifact: Artifact) -> Path | str:
        """Where a published artifact is: a file, or an address to GET it from for a while."""


def open_store(
    directory: Path, url: str = "", endpoint: str = "", public_endpoint: str = ""
) -> ArtifactStore:
    """The store that the settings name.

    Args:
        directory: published files, or where they wait for their upload.
        url: `s3://bucket/prefix`; empty for a store in the directory.
        endpoint: address of an S3 that is not Amazon's.
        public_endpoint: its address for clients, where that is another one.
    """
    if not url:
        from app.storage.local import LocalStore  # noqa: PLC0415  one of the two is needed

        return LocalStore(directory)
    from app.storage.s3 import S3ArtifactStore  # noqa: PLC0415  loading obstore takes a moment

    return S3ArtifactStore(directory, url, endpoint, public_endpoint)
