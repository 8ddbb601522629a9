"""Names, shapes and types of a checkpoint's tensors, from the headers of its safetensors files.

A header is a length (8 bytes, little endian) and so many bytes of JSON; no weight is read.
"""

import json
from pathlib import Path
from typing import Any

from app.domain.tensors import StoredTensor

MAX_HEADER = 100 << 20  # the format's own limit


def read_headers(directory: Path) -> dict[str, StoredTensor] | None:
    """Tensors by name; None where a file has no header that can be read."""
    found: dict[str, StoredTensor] = {}
    for file in sorted(directory.glob("*.safetensors")):
        header = _header(file)
        if header is None:
            return None
        for name, entry in header.items():
            if name != "__metadata__":
                found[name] = StoredTensor(tuple(entry["shape"]), str(entry.get("dtype", "F32")))
    return found


def stored_size(directory: Path) -> int:
    """Bytes of the weights' files."""
    return sum(file.stat().st_size for file in directory.glob("*.safetensors"))


def _header(file: Path) -> dict[str, dict[str, Any]] | None:
    with file.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        if not 0 < size <= MAX_HEADER:
            return None
        try:
            header = json.loads(stream.read(size))
        except ValueError:
            return None
    entries = [value for name, value in header.items() if name != "__metadata__"]
    return header if all("shape" in entry for entry in entries) else None
