"""Records as an upload: JSON lines, or a zip archive of them and their images."""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

ZIP, JSONL = "application/zip", "application/jsonl"
_CHUNK = 1 << 20


def pack(records: Iterable[Mapping[str, Any]]) -> bytes:
    """The upload that holds these records.

    Args:
        records: rows of one form; `image` is the path of a file or a picture of Pillow.
    """
    lines: list[str] = []
    images: dict[str, bytes] = {}
    for record in records:
        row = dict(record)
        if row.get("image") is not None:
            content = _image(row["image"])
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
