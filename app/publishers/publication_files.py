"""What is sent: the files of a job, as files of this machine."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.domain.jobs import Artifact, Job
from app.storage.store import ArtifactStore

MANIFEST = "manifest.json"
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Parcel:
    """One job on its way.

    Attributes:
        job: which job.
        files: by path; the manifest is the last one, so where it is, all is.
        digests: SHA-256 of each, as it was written.
    """

    job: Job
    files: Mapping[str, Path]
    digests: Mapping[str, str]


@contextmanager
def packed_up(store: ArtifactStore, job: Job, artifacts: Sequence[Artifact]) -> Iterator[Parcel]:
    """The parcel of a job; what lies on an object store is brought here for the time being.

    Raises:
        StorageUnavailableError: the store is away.
        OSError: there is no room here.
    """
    with tempfile.TemporaryDirectory(prefix="secateur-publish-") as name:
        files = {}
        for artifact in sorted(artifacts, key=lambda artifact: artifact.path == MANIFEST):
            place = store.locate(artifact)
            files[artifact.path] = (
                place if isinstance(place, Path) else _fetch(store, artifact, Path(name))
            )
        yield Parcel(job, files, {each.path: each.sha256 for each in artifacts})


def _fetch(store: ArtifactStore, artifact: Artifact, directory: Path) -> Path:
    target = directory / artifact.path
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        file.writelines(store.read(artifact))
    return target


def chunks(file: Path) -> Iterator[bytes]:
    """The content of a file, a megabyte at a time."""
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk
