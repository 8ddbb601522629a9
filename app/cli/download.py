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
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from app.cli.client import AsJson, Client, Json, Key, RefusedError, Url, connected
from app.cli.console import Exit, err, fail, out

_CHUNK = 1 << 20


class DownloadError(Exception):
    """What arrived is not what the listing promised."""


def download(
    job: Annotated[str, typer.Argument(help="Id of the job.")],
    destination: Annotated[Path, typer.Argument(help="Directory to write to.")],
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Download the files of a finished job.

    An interrupted download goes on where it stopped; several at once into one directory share
    the work. A file appears under its name only when its SHA-256 is right.
    """
    with connected(url, key) as client, download_bars() as bars:
        try:
            artifacts = fetch(client, job, destination, bars)
        except (DownloadError, OSError) as error:
            fail(f"download_failed: {error}", Exit.FAILED)
    if as_json:
        out.print_json(data={"destination": str(destination), "artifacts": artifacts})
    else:
        out.print(f"{len(artifacts)} files in {destination}")


def fetch(client: Client, job_id: str, destination: Path, bars: Progress) -> list[Json]:
    """Bring every file of a job to `destination`; returns the listing.

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
        target = destination / _inside(artifact["path"])
        _fetch_file(client, job_id, artifact, target, partial(bars.advance, bar))
    return artifacts


def _fetch_file(
    client: Client, job_id: str, artifact: Json, target: Path, advance: Callable[[int], None]
) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    size, digest = artifact["size"], artifact["sha256"]
    partial = target.with_name(f".{target.name}.{digest[:12]}.partial")
    with _locked(partial) as file:
        if target.exists() and target.stat().st_size == size and _sha256(target) == digest:
            partial.unlink()
            advance(size)
            return
        if file.seek(0, os.SEEK_END) > size:
            file.truncate(0)
        _append_rest(client, job_id, artifact, file, advance)
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
    advance(start)
    if start == artifact["size"]:
        return
    # If-Range: bytes of another version must not be appended to ours.
    resume = {"Range": f"bytes={start}-", "If-Range": f'"{artifact["sha256"]}"'} if start else {}
    with client.file(job_id, artifact["path"], resume) as response:
        if start and response.status_code != 206:  # noqa: PLR2004  partial content
            file.truncate(0)
            advance(-start)
        for chunk in response.iter_bytes(_CHUNK):
            file.write(chunk)
            advance(len(chunk))


@contextmanager
def _locked(partial: Path) -> Iterator[BinaryIO]:
    """The partial file, opened for appending and ours alone.

    Whoever had it before may have moved it into place meanwhile; then a new one is opened.
    """
    while True:
        with partial.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if partial.exists() and partial.stat().st_ino == os.fstat(file.fileno()).st_ino:
                yield file
                return


def _inside(path: str) -> PurePosixPath:
    relative = PurePosixPath(path)
    if relative.is_absolute() or ".." in relative.parts or not relative.parts:
        raise DownloadError(f"the service names a file {path!r} outside the destination")
    return relative


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download_bars() -> Progress:
    """A bar per job."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    return Progress(*columns, TransferSpeedColumn(), console=err)
