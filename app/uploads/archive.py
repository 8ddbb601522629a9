"""A zip archive, opened without trusting it: no path leaves it, no link, no bomb."""

import stat
import zipfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Self

from app.domain.dataset_errors import (
    DatasetArchiveError,
    DatasetPathError,
    DatasetTooLargeError,
)
from app.uploads.limits import UploadLimits

ROWS = ".jsonl"
OTHER_ENTRIES = 1000  # folders, the rows, files nobody asked for
_ENCRYPTED = 0x1
_TOO_LARGE = "the archive unpacks to more than the service accepts"
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError)


class Archive:
    """One JSONL file and the images it names.

    What entries unpack to is counted while they are read: the sizes an archive declares are only
    a first check.
    """

    def __init__(self, file: Path, limits: UploadLimits) -> None:
        """Look through the list of entries.

        Raises:
            DatasetArchiveError: no zip, encrypted, two entries of one name, or not one JSONL file.
            DatasetPathError: an entry's path leaves the archive, or is a link.
            DatasetTooLargeError: more entries, or larger ones, than the limits allow.
        """
        self._left = limits.unpacked_bytes
        try:
            self._zip = zipfile.ZipFile(file)
        except _BROKEN as error:
            raise DatasetArchiveError(f"not a readable zip archive ({error})") from error
        try:
            self._entries = _checked(self._zip.infolist(), limits)
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> Self:
        """The open archive."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._zip.close()

    def lines(self, longest: int) -> Generator[bytes]:
        """Lines of the JSONL file; of a line that is longer than `longest`, one byte more."""
        name = next(name for name in self._entries if name.endswith(ROWS) and "/" not in name)
        with self._unpacking(name) as stream:
            while line := self._counted(stream.readline(longest + 1)):
                yield line

    def read(self, name: str) -> bytes | None:
        """Content of an entry; None where there is none of that name."""
        if name not in self._entries:
            return None
        with self._unpacking(name) as stream:
            return self._counted(stream.read(self._left + 1))

    @contextmanager
    def _unpacking(self, name: str) -> Iterator[IO[bytes]]:
        try:
            with self._zip.open(self._entries[name]) as stream:
                yield stream
        except _BROKEN as error:
            raise DatasetArchiveError(f"{name} cannot be unpacked ({error})") from error

    def _counted(self, content: bytes) -> bytes:
        self._left -= len(content)
        if self._left < 0:
            raise DatasetTooLargeError(_TOO_LARGE)
        return content


def _checked(entries: list[zipfile.ZipInfo], limits: UploadLimits) -> dict[str, zipfile.ZipInfo]:
    """The files of the archive by path."""
    if len(entries) > limits.rows + OTHER_ENTRIES:
        raise DatasetTooLargeError(f"the archive has {len(entries)} entries")
    if sum(entry.file_size for entry in entries) > limits.unpacked_bytes:
        raise DatasetTooLargeError(_TOO_LARGE)
    found: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        _check_path(entry)
        if entry.is_dir():
            continue
        if entry.flag_bits & _ENCRYPTED:
            raise DatasetArchiveError(f"{entry.filename!r} is encrypted")
        if entry.filename in found:
            raise DatasetArchiveError(f"{entry.filename!r} is in the archive twice")
        found[entry.filename] = entry
    rows = [name for name in found if name.endswith(ROWS) and "/" not in name]
    if len(rows) != 1:
        raise DatasetArchiveError(
            f"the archive needs one {ROWS} file beside its image folders; it has {len(rows)}"
        )
    return found


def _check_path(entry: zipfile.ZipInfo) -> None:
    name = entry.filename
    # ZipInfo cuts names at NUL bytes; what it was given is in orig_filename.
    odd = "\\" in entry.orig_filename or "\0" in entry.orig_filename or ":" in name
    if odd or name.startswith("/") or ".." in PurePosixPath(name).parts:
        raise DatasetPathError(f"{entry.orig_filename!r} is not a path inside the archive")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise DatasetPathError(f"{name!r} is a link or a device, not a file")
