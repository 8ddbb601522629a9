"""`secateur download`: the files of a job, resumed, verified, each in place at once."""

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Annotated, BinaryIO

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

from app.cli.bars import bar_text
from app.cli.client import AsJson, Client, Json, Key, RefusedError, Url, connected
from app.cli.console import Exit, err, fail, interruptible, tell
from app.packed import PACKABLE

_CHUNK = 1 << 20
_MODELS = "models/"


class DownloadError(Exception):
    """What arrived is not what the listing promised."""


def download(
    job: Annotated[str, typer.Argument(help="Id of the job, or models/name@v3.")],
    destination: Annotated[Path, typer.Argument(help="Directory to write to.")],
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
    *,
    packed: Annotated[
        bool, typer.Option("--packed", help="Send packed weights and unpack them here.")
    ] = False,
) -> None:
    """Download the files of a finished job.

    Packed or not, the same files arrive. An interrupted download goes on where it stopped;
    several at once into one directory share the work. A file appears under its name only when
    its SHA-256 is right.
    """
    again = "What has arrived is kept. The same command goes on from there."
    with interruptible(again), connected(url, key) as client, download_bars() as bars:
        try:
            artifacts = fetch(client, _job_id(client, job), destination, bars, packed=packed)
        except (DownloadError, OSError) as error:
            fail(f"download_failed: {error}", Exit.FAILED)
    brought = {"destination": str(destination), "artifacts": artifacts}
    tell(brought, f"{len(artifacts)} files in {destination}", as_json=as_json)


def _job_id(client: Client, named: str) -> str:
    """The job that is meant: itself, or a version of a model."""
    if not named.startswith(_MODELS):
        return named
    # Only who names a model waits for what this imports.
    from app.domain.models import version_of  # noqa: PLC0415

    name, _, revision = named.removeprefix(_MODELS).partition("@")
    version = version_of(revision)
    if revision and version is None:
        raise DownloadError(f"{revision!r} is no version; the third one is called v3")
    found: str = client.version(name, version)["job_id"]
    return found


def fetch(
    client: Client, job_id: str, destination: Path, bars: Progress, *, packed: bool = False
) -> list[Json]:
    """Bring every file of a job to `destination`; returns the listing.

    Args:
        client: the service.
        job_id: which job.
        destination: a directory; created if absent.
        bars: gets a bar.
        packed: whether weights travel packed.

    Raises:
        RefusedError: the job is unknown, or has no files (yet).
        UnreachableError: the connection broke; ask again to go on from there.
        DownloadError: a file is not what the listing says.
        OSError: the destination cannot be written.
    """
    artifacts = client.artifacts(job_id)
    if not artifacts:
        status = client.job(job_id)["status"]
        raise RefusedError("artifacts_missing", f"job {job_id} has no files; it is {status}")
    bar = bars.add_task(destination.name, total=sum(artifact["size"] for artifact in artifacts))
    for artifact in artifacts:
        path = artifact["path"]
        bring = _append_packed if packed and path.endswith(PACKABLE) else _append_rest
        rest = partial(bring, client, job_id, artifact)
        _fetch_file(artifact, destination / _inside(path), rest, partial(bars.advance, bar))
    return artifacts


def _fetch_file(
    artifact: Json,
    target: Path,
    bring_rest: Callable[[BinaryIO, Callable[[int], None]], None],
    advance: Callable[[int], None],
) -> None:
    size, digest = artifact["size"], artifact["sha256"]
    # Named after the digest, so that what is there belongs to this very file.
    partial = target.with_name(f".{target.name}.{digest[:12]}.partial")
    with _locked(partial) as file:
        if _holds(target, artifact):
            partial.unlink()
            advance(size)
            return
        start = file.seek(0, os.SEEK_END)
        if start > size:
            start = file.truncate(0)
        advance(start)
        if start < size:
            bring_rest(file, advance)
        file.flush()
        os.fsync(file.fileno())
        if _sha256(partial) != digest:
            partial.unlink()
            raise DownloadError(f"{artifact['path']} arrived damaged; download it again")
        partial.replace(target)


def _append_rest(
    client: Client, job_id: str, artifact: Json, file: BinaryIO, advance: Callable[[int], None]
) -> None:
    start = file.seek(0, os.SEEK_END)
    with client.file(job_id, artifact["path"], start) as response:
        if start and response.status_code != 206:  # noqa: PLR2004  partial content
            advance(-start)
            file.seek(0)
            file.truncate()
        for chunk in response.iter_bytes(_CHUNK):
            file.write(chunk)
            advance(len(chunk))


def _append_packed(
    client: Client, job_id: str, artifact: Json, file: BinaryIO, advance: Callable[[int], None]
) -> None:
    # numpy takes a tenth of a second to import; plain downloads do without.
    from app.packed.unpack import DamagedError, unpack  # noqa: PLC0415

    start = file.seek(0, os.SEEK_END)
    with client.packed(job_id, artifact["path"], start) as response:
        try:
            unpack(_Arriving(response.iter_bytes(_CHUNK)), file)
        except DamagedError as error:
            raise DownloadError(f"{artifact['path']} cannot be unpacked: {error}") from error
    advance(artifact["size"] - start)


class _Arriving:
    """Chunks as a file; a read returns what of a chunk is left, up to the size asked for."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        """Up to so many bytes; none at the end."""
        if not self._left:
            self._left = memoryview(next(self._chunks, b""))
        piece, self._left = self._left[:size], self._left[size:]
        return bytes(piece)


@contextmanager
def _locked(partial: Path) -> Iterator[BinaryIO]:
    """The partial file, made where there is none, and ours alone.

    Whoever had it before may have moved it into place meanwhile, or removed a directory that was
    empty for a moment; then a new one is opened.
    """
    while True:
        partial.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = os.fdopen(os.open(partial, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        except FileNotFoundError:
            continue
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_at(partial, file):
                yield file
                return


def _is_at(path: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _inside(path: str) -> PurePosixPath:
    relative = PurePosixPath(path)
    if relative.is_absolute() or ".." in relative.parts or not relative.parts:
        raise DownloadError(f"the service names a file {path!r} outside the destination")
    return relative


def _holds(path: Path, artifact: Json) -> bool:
    """Is the file there already, whole?"""
    if not path.is_file() or path.stat().st_size != artifact["size"]:
        return False
    return bool(_sha256(path) == artifact["sha256"])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download_bars() -> Progress:
    """A bar per job."""
    columns = (bar_text("{task.description}"), BarColumn(), DownloadColumn())
    return Progress(*columns, TransferSpeedColumn(), console=err)
