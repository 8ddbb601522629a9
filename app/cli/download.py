"""`secateur download`: the files of a job, resumed, verified, each in place at once."""

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Annotated, BinaryIO

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from app.cli.client import AsJson, Client, Json, Key, RefusedError, Url, connected
from app.cli.console import Exit, err, fail, out
from app.packed import is_packed, packed_name
from app.packed.unpack import FOLDER, DamagedError, unpack

_CHUNK = 1 << 20


class DownloadError(Exception):
    """What arrived is not what the listing promised."""


def download(
    job: Annotated[str, typer.Argument(help="Id of the job.")],
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
    with connected(url, key) as client, download_bars() as bars:
        try:
            bring = fetch_packed if packed else fetch
            artifacts = bring(client, job, destination, bars)
        except (DownloadError, OSError) as error:
            fail(f"download_failed: {error}", Exit.FAILED)
    if as_json:
        out.print_json(data={"destination": str(destination), "artifacts": artifacts})
    else:
        out.print(f"{len(artifacts)} files in {destination}")


def fetch(client: Client, job_id: str, destination: Path, bars: Progress) -> list[Json]:
    """Bring every file of a job to `destination`, but the packed ones; returns the listing.

    Raises:
        RefusedError: the job is unknown, or has no files (yet).
        UnreachableError: the connection broke; ask again to go on from there.
        DownloadError: a file is not what the listing says.
        OSError: the destination cannot be written.
    """
    artifacts = [file for file in _listing(client, job_id) if not is_packed(file["path"])]
    _fetch_all(client, job_id, artifacts, destination, bars)
    return artifacts


def fetch_packed(client: Client, job_id: str, destination: Path, bars: Progress) -> list[Json]:
    """As `fetch`, with less to send: weights travel packed, where there is a packed form."""
    listing = _listing(client, job_id)
    dense = {file["path"]: file for file in listing if not is_packed(file["path"])}
    packed = {
        name: file for file in listing if (name := packed_name(file["path"])) and name in dense
    }
    missing = {
        name: file
        for name, file in packed.items()
        if not _holds(destination / _inside(name), dense[name])
    }
    sent = [*(dense[name] for name in dense if name not in packed), *missing.values()]
    _fetch_all(client, job_id, sent, destination, bars)
    for name, file in missing.items():
        _unpack(destination / _inside(file["path"]), destination / _inside(name), dense[name])
    with suppress(OSError):  # it is not there, or another download still needs it
        (destination / FOLDER).rmdir()
    return list(dense.values())


def _listing(client: Client, job_id: str) -> list[Json]:
    artifacts = client.artifacts(job_id)
    if not artifacts:
        status = client.job(job_id)["status"]
        raise RefusedError("artifacts_missing", f"job {job_id} has no files; it is {status}")
    return artifacts


def _fetch_all(
    client: Client, job_id: str, artifacts: list[Json], destination: Path, bars: Progress
) -> None:
    bar = bars.add_task(destination.name, total=sum(artifact["size"] for artifact in artifacts))
    for artifact in artifacts:
        target = destination / _inside(artifact["path"])
        _fetch_file(client, job_id, artifact, target, partial(bars.advance, bar))


def _unpack(source: Path, target: Path, artifact: Json) -> None:
    unfinished = target.with_name(f".{target.name}.unpacked")
    with _locked(unfinished) as writer:
        if _holds(target, artifact):
            unfinished.unlink()
        else:
            writer.truncate(0)
            try:
                with source.open("rb") as reader:
                    unpack(reader, writer)
            except DamagedError as error:
                raise DownloadError(f"{source.name} cannot be unpacked: {error}") from error
            writer.flush()
            os.fsync(writer.fileno())
            if not _holds(unfinished, artifact):
                raise DownloadError(f"{source.name} unpacked to something else")
            unfinished.replace(target)
    source.unlink(missing_ok=True)


def _fetch_file(
    client: Client, job_id: str, artifact: Json, target: Path, advance: Callable[[int], None]
) -> None:
    size, digest = artifact["size"], artifact["sha256"]
    partial = target.with_name(f".{target.name}.{digest[:12]}.partial")
    with _locked(partial) as file:
        if _holds(target, artifact):
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
    # Without If-Range: object stores have validators of their own. The partial file is named after
    # the digest, which is checked at the end.
    resume = {"Range": f"bytes={start}-"} if start else {}
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

    Whoever had it before may have moved it into place meanwhile, or removed a directory that was
    empty for a moment; then a new one is opened.
    """
    while True:
        partial.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = partial.open("ab")
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
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    return Progress(*columns, TransferSpeedColumn(), console=err)
