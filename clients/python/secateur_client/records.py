"""Records as an upload: JSON lines, or a zip archive of them and their images."""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from secateur_client.errors import SecateurError

ZIP, JSONL = "application/zip", "application/jsonl"
_CHUNK = 1 << 20
_FILES = (".zip", ".jsonl", ".json")


def pack(records: Iterable[Mapping[str, Any]]) -> bytes:
    """The upload that holds these records.

    Args:
        records: rows of one form; `image` is the path of a file or a picture of Pillow.

    Raises:
        SecateurError: a row is no mapping, or an image cannot be read.
    """
    lines: list[str] = []
    images: dict[str, bytes] = {}
    for number, record in enumerate(records, start=1):
        if not isinstance(record, Mapping):
            hint = f"row {number} is a {type(record).__name__}; records are a list of mappings"
            raise SecateurError("dataset_row_invalid", hint)
        row = dict(record)
        if row.get("image") is not None:
            try:
                content = _image(row["image"])
            except OSError as error:
                hint = f"row {number}: {error.filename or 'an image'} cannot be read: {error}"
                raise SecateurError("dataset_image_missing", hint) from error
            row["image"] = f"images/{hashlib.sha256(content).hexdigest()}"
            images[row["image"]] = content
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    text = "".join(lines).encode()
    if not images:
        return text
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:  # images are compressed already
        file.writestr("rows.jsonl", text)
        for name, content in images.items():
            file.writestr(name, content)
    return archive.getvalue()


def refuse_missing_file(name: str) -> None:
    """The name of a data set that is not there as a file may not look like one.

    Raises:
        SecateurError: it does.
    """
    if name.endswith(_FILES) and not name.startswith("hf:"):
        hint = f"there is no file {name!r} in {Path.cwd()}"
        raise SecateurError("file_missing", hint)


def media_type(start: bytes) -> str:
    """What an upload that begins like this is."""
    return ZIP if start.startswith(b"PK") else JSONL


def chunks(path: Path) -> Iterator[bytes]:
    """A file, a mebibyte at a time."""
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            yield piece


def _image(image: Any) -> bytes:
    if isinstance(image, str | Path):
        return Path(image).read_bytes()
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()
