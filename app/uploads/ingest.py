"""From an uploaded file to a directory that holds a valid data set, or to the first error."""

import hashlib
import json
import zipfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import BoundedSemaphore

from app.domain.dataset_errors import (
    DatasetEmptyError,
    DatasetRowError,
    DatasetTooLargeError,
    ImageMissingError,
    ImageTooLargeError,
    RowDuplicateError,
    RowsMixedError,
)
from app.uploads.archive import Archive
from app.uploads.images import check_image
from app.uploads.limits import UploadLimits
from app.uploads.rows import MAX_LINE, Row, parse_rows

_ZIP = b"PK\3\4"
# Images that are in memory at a time, decoded: those of one upload come one after the other.
_DECODING = BoundedSemaphore(2)

ROWS_FILE = "rows.jsonl"
IMAGES = "images"


@dataclass(frozen=True, slots=True)
class Ingested:
    """What a valid upload holds.

    Attributes:
        id: `sha256:` and the digest of the rows, each image replaced by its own digest: the
            same rows and images have the same id however they were packed.
        fields: of every row.
        rows: number of rows.
        images: number of different images.
        bytes: of rows and images as stored.
        blank: rows that say nothing; they were skipped.
    """

    id: str
    fields: tuple[str, ...]
    rows: int
    images: int
    bytes: int
    blank: int = 0


def ingest(upload: Path, directory: Path, limits: UploadLimits) -> Ingested:
    """Check an upload and write it in its stored form.

    Args:
        upload: JSON lines, or a zip archive of one JSONL file and the images it names.
        directory: an empty one; receives `rows.jsonl` and `images/<sha256>`. After an error,
            whatever lies there is to be thrown away.
        limits: what is too much.

    Raises:
        DatasetError: the first thing that is wrong, with its row where it has one.
    """
    (directory / IMAGES).mkdir()
    if _is_zip(upload):
        # Closing the lines closes their entry, without which the archive's file stays open.
        with Archive(upload, limits) as archive, closing(archive.lines(MAX_LINE)) as lines:
            return _Writer(directory, limits, archive).write(lines)
    with upload.open("rb") as stream:
        plain = iter(lambda: stream.readline(MAX_LINE + 1), b"")
        return _Writer(directory, limits, None).write(plain)


def _is_zip(upload: Path) -> bool:
    """Also of one that is cut off, so that it is not taken for rows."""
    with upload.open("rb") as stream:
        return stream.read(len(_ZIP)) == _ZIP or zipfile.is_zipfile(upload)


class _Writer:
    """Writes rows one by one; what it has seen decides what may follow."""

    def __init__(self, directory: Path, limits: UploadLimits, archive: Archive | None) -> None:
        self._directory = directory
        self._limits = limits
        self._archive = archive
        self._fields: tuple[str, ...] = ()
        self._first: dict[bytes, int] = {}  # digest of a row -> its number
        self._images: dict[str, str] = {}  # path in the archive -> SHA-256
        self._bytes = 0
        self._blank = 0
        self._pixels = 0

    def write(self, lines: Iterator[bytes]) -> Ingested:
        digest = hashlib.sha256()
        with (self._directory / ROWS_FILE).open("wb") as out:
            for number, row in parse_rows(lines):
                if row is None:
                    self._blank += 1
                    if self._blank > self._limits.rows:
                        raise DatasetTooLargeError(f"more than {self._limits.rows} blank rows")
                    continue
                stored = self._stored(number, row)
                digest.update(stored)
                out.write(stored)
        if not self._first:
            raise DatasetEmptyError("every row is blank" if self._blank else "there are no rows")
        return Ingested(
            id=f"sha256:{digest.hexdigest()}",
            fields=self._fields,
            rows=len(self._first),
            images=len(set(self._images.values())),
            bytes=self._bytes,
            blank=self._blank,
        )

    def _stored(self, number: int, row: Row) -> bytes:
        if number > self._limits.rows:
            raise DatasetTooLargeError(f"more than {self._limits.rows} rows")
        self._fields = self._fields or row.fields
        if row.fields != self._fields:
            raise RowsMixedError(
                number, f"has {', '.join(row.fields)}; the first row has {', '.join(self._fields)}"
            )
        content = row.model_dump(exclude_none=True)
        if row.image is not None:
            content["image"] = self._image(number, row.image)
        stored = json.dumps(content, sort_keys=True, separators=(",", ":")).encode() + b"\n"
        self._once(number, stored)
        self._count(len(stored))
        return stored

    def _once(self, number: int, stored: bytes) -> None:
        seen = self._first.setdefault(hashlib.sha256(stored).digest(), number)
        if seen != number:
            raise RowDuplicateError(number, f"says what row {seen} says")

    def _image(self, number: int, path: str) -> str:
        """SHA-256 of the image, which is checked and stored the first time it is named."""
        if self._archive is None:
            raise DatasetRowError(number, "images come in a zip archive together with the rows")
        if path not in self._images:
            with _DECODING:
                self._images[path] = self._unpack(self._archive, number, path)
        return self._images[path]

    def _unpack(self, archive: Archive, number: int, path: str) -> str:
        limits = self._limits
        content = archive.read(path, limits.image_bytes)
        if content is None:
            raise ImageMissingError(number, f"there is no {path[:100]!r} in the archive")
        if len(content) > limits.image_bytes:
            raise ImageTooLargeError(number, f"{path!r} has more than {limits.image_bytes} bytes")
        self._pixels += check_image(content, number, limits.image_pixels)
        if self._pixels > limits.pixels:
            raise DatasetTooLargeError(f"the images have more than {limits.pixels} pixels together")
        sha256 = hashlib.sha256(content).hexdigest()
        (self._directory / IMAGES / sha256).write_bytes(content)
        self._count(len(content))
        return sha256

    def _count(self, size: int) -> None:
        self._bytes += size
        if self._bytes > self._limits.unpacked_bytes:
            raise DatasetTooLargeError(f"more than {self._limits.unpacked_bytes} bytes")
