"""A zip archive, opened without trusting it: no path leaves it, no link, no bomb."""

import io
import stat
import zipfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Self

from app.uploads.errors import (
    DatasetArchiveError,
    DatasetError,
    DatasetPathError,
    DatasetTooLargeError,
)
from app.uploads.limits import UploadLimits

ROWS = ".jsonl"
OTHER_ENTRIES = 1000  # folders, the rows, files nobody asked for
_MAX_DIRECTORY = 32 << 20  # bytes of the list of entries
_MAX_NAME = 512
_RATIO, _FREE = 200, 64 << 20  # bytes unpacked for one of the archive; and those for which none is
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # unpacked in bounded steps
_ENCRYPTED = 0x1
_ENTRY = b"PK\1\2"  # every entry of the list begins with it
_LOCAL_HEADER = 30  # bytes before an entry's name, at its content
_TOO_LARGE = "the archive unpacks to more than the service accepts"


class Archive:
    """One JSONL file and the images it names.

    What entries unpack to is counted while they are read: the sizes an archive declares are only
    a first check.
    """

    def __init__(self, file: Path, limits: UploadLimits) -> None:
        """Look through the list of entries.

        Raises:
            DatasetArchiveError: no zip, encrypted, packed by another method than deflate, entries
                that overlap or have one name, or not one JSONL file.
            DatasetPathError: an entry's path leaves the archive, is too long, or is a link.
            DatasetTooLargeError: more entries, or larger ones, than the limits allow.
        """
        self._left = min(limits.unpacked_bytes, max(_FREE, _RATIO * file.stat().st_size))
        most = limits.rows + OTHER_ENTRIES
        with _foreign("the archive cannot be read"):
            self._file = _Directory(file, most)
            try:
                self._zip = zipfile.ZipFile(self._file)
                self._file.read_list()
                self._entries = _checked(self._zip, self._left)
            except BaseException:
                self._file.close()
                raise

    def __enter__(self) -> Self:
        """The open archive."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._zip.close()
        self._file.close()

    def lines(self, longest: int) -> Generator[bytes]:
        """Lines of the JSONL file; of a line that is longer than `longest`, one byte more."""
        name = next(name for name in self._entries if name.endswith(ROWS) and "/" not in name)
        with self._unpacking(name) as stream:
            while line := self._counted(stream.readline(longest + 1)):
                yield line

    def read(self, name: str, longest: int) -> bytes | None:
        """Content of an entry, of a longer one one byte more than `longest`; None without it."""
        if name not in self._entries:
            return None
        with self._unpacking(name) as stream:
            return self._counted(stream.read(min(self._left, longest) + 1))

    @contextmanager
    def _unpacking(self, name: str) -> Iterator[IO[bytes]]:
        with (
            _foreign(f"{name!r} cannot be unpacked"),
            self._zip.open(self._entries[name]) as stream,
        ):
            yield stream

    def _counted(self, content: bytes) -> bytes:
        self._left -= len(content)
        if self._left < 0:
            raise DatasetTooLargeError(_TOO_LARGE)
        return content


class _Directory(io.FileIO):
    """A file whose list of entries is counted before `zipfile` makes objects of it.

    `zipfile` reads the list in one piece, of the size that the archive declares.
    """

    def __init__(self, file: Path, most: int) -> None:
        super().__init__(file)
        self._most: int | None = most

    def read_list(self) -> None:
        """The list has been read; what follows are contents."""
        self._most = None

    def read(self, size: int | None = -1, /) -> bytes:
        if self._most is None:
            return super().read(size)
        if size is not None and size > _MAX_DIRECTORY:
            raise DatasetTooLargeError(f"the archive's list of entries has {size} bytes")
        content = super().read(size)
        if (entries := content.count(_ENTRY)) > self._most:
            raise DatasetTooLargeError(f"the archive has more than {entries - 1} entries")
        return content


@contextmanager
def _foreign(what: str) -> Iterator[None]:
    """Whatever a foreign archive makes its reader raise is an error of ours."""
    try:
        yield
    except DatasetError:
        raise
    except zipfile.BadZipFile as error:
        raise DatasetArchiveError(f"{what}: it is no zip archive, broken or cut off") from error
    except Exception as error:
        raise DatasetArchiveError(f"{what}: {error}") from error


def _checked(archive: zipfile.ZipFile, most: int) -> dict[str, zipfile.ZipInfo]:
    """The files of the archive by path; `most` bytes may they have."""
    entries = archive.infolist()
    if sum(entry.file_size for entry in entries) > most:
        raise DatasetTooLargeError(_TOO_LARGE)
    found: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        _check_path(entry)
        if entry.is_dir():
            continue
        if entry.flag_bits & _ENCRYPTED:
            raise DatasetArchiveError(f"{entry.filename!r} is encrypted")
        if entry.compress_type not in _METHODS:
            raise DatasetArchiveError(
                f"{entry.filename!r} is packed by a method other than deflate; pack it again"
            )
        if entry.filename in found:
            raise DatasetArchiveError(f"{entry.filename!r} is in the archive twice")
        found[entry.filename] = entry
    _check_places(entries, archive.start_dir)
    rows = [name for name in found if name.endswith(ROWS) and "/" not in name]
    if len(rows) != 1:
        below = next((name for name in found if name.endswith(ROWS) and not rows), None)
        hint = f"; {below!r} is in a folder: pack what is in the folder" if below else ""
        raise DatasetArchiveError(
            f"the archive needs one {ROWS} file beside its image folders; it has {len(rows)}{hint}"
        )
    return found


def _check_places(entries: list[zipfile.ZipInfo], end: int) -> None:
    """No two entries share bytes: a few could unpack to very much otherwise."""
    reached = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.header_offset < reached:
            raise DatasetArchiveError(f"{entry.filename[:100]!r} overlaps another entry")
        reached = entry.header_offset + _LOCAL_HEADER + entry.compress_size
    if reached > end:
        raise DatasetArchiveError("an entry reaches into the archive's list of entries")


def _check_path(entry: zipfile.ZipInfo) -> None:
    name = entry.filename
    if len(entry.orig_filename) > _MAX_NAME:
        raise DatasetPathError(f"{name[:100]!r}... is longer than {_MAX_NAME} characters")
    # ZipInfo cuts names at NUL bytes; what it was given is in orig_filename.
    odd = "\\" in entry.orig_filename or "\0" in entry.orig_filename or ":" in name
    if odd or name.startswith("/") or ".." in PurePosixPath(name).parts:
        raise DatasetPathError(f"{entry.orig_filename!r} is not a path inside the archive")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise DatasetPathError(f"{name!r} is a link or a device, not a file")
