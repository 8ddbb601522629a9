"""Files of a download: where they go, and whether they are what the service lists."""

import hashlib
import os
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from secateur_client.errors import DownloadError, SecateurError
from secateur_client.models import ArtifactOut


def inside(directory: Path, path: str) -> Path:
    """Where a listed file goes.

    Raises:
        DownloadError: it would be outside the directory.
    """
    relative = PurePosixPath(path)
    if relative.is_absolute() or ".." in relative.parts or not relative.parts:
        raise DownloadError(f"the service names a file {path!r} outside the destination")
    return directory / relative


def is_whole(path: Path, artifact: ArtifactOut) -> bool:
    """Is the file there, with the content that is listed?"""
    if not path.is_file() or path.stat().st_size != artifact["size"]:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == artifact["sha256"]


def partial(target: Path, artifact: ArtifactOut) -> Path:
    """The file that gathers the content of `target`; after its digest, so a rest fits it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.with_name(f".{target.name}.{artifact['sha256'][:12]}.partial")


def finish(gathered: Path, target: Path, artifact: ArtifactOut) -> None:
    """Move a gathered file into place.

    Raises:
        DownloadError: its SHA-256 is not the listed one; it is gone then.
    """
    if not is_whole(gathered, artifact):
        gathered.unlink(missing_ok=True)
        raise DownloadError(f"{artifact['path']} arrived damaged; download it again")
    with gathered.open("rb") as file:
        os.fsync(file.fileno())
    gathered.replace(target)


def require_numpy() -> None:
    """Packed files are unpacked with numpy; all else works without it.

    Raises:
        SecateurError: it is not installed.
    """
    if find_spec("numpy") is None:
        hint = "packed downloads need numpy: pip install 'secateur-client[packed]'"
        raise SecateurError("numpy_missing", hint)


def unpack(arrived: Path, gathered: Path) -> None:
    """Append what a packed file holds to what was gathered, and remove it.

    One that is cut off gives what is whole; one that is damaged shows in the SHA-256.
    """
    from secateur_client.unpack import DamagedError, unpack  # noqa: PLC0415  imports numpy

    gathered.touch()
    with arrived.open("rb") as packed, gathered.open("r+b") as target, suppress(DamagedError):
        unpack(packed, target)
    arrived.unlink()
