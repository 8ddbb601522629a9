"""Names, shapes, types and places of tensors, from the header of a safetensors file.

A header is a length (8 bytes, little endian) and so many bytes of JSON; no weight is read.
Format: https://huggingface.co/docs/safetensors.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.bounded_json import JsonError, JsonLimits, parse_object
from app.errors import ModelLoadError

BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("BOOL", "I8", "U8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 8),
    **dict.fromkeys(("F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}
"""Bits of a value by type, as the format spells it: https://huggingface.co/docs/safetensors."""
POINTER = "it is a Git LFS pointer, not the file itself; run git lfs pull"
PREFIX = 8  # bytes, of the length
MAX_HEADER = 16 << 20  # bytes; the headers of the largest checkpoints have a tenth of it
_VALUES = 1 << 19  # brackets and commas: about 65,000 tensors
_MAX_NAME, _MAX_DIMENSIONS, _MAX_SIZE = 1024, 16, 1 << 48


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Shape, type and place of a tensor.

    Attributes:
        shape: as stored.
        dtype: the format's name, such as BF16.
        file: name of the file it lies in.
        begin: its first byte in the file.
        end: the byte after its last one.
    """

    shape: tuple[int, ...]
    dtype: str = "F32"
    file: str = ""
    begin: int = 0
    end: int = 0

    @property
    def numel(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """What its values take."""
        return -(-self.numel * BITS[self.dtype] // 8)

    @property
    def width(self) -> int:
        """Bytes of a value; one where several share a byte."""
        return max(1, BITS[self.dtype] // 8)


def read_header(file: Path, longest: int = MAX_HEADER) -> dict[str, StoredTensor]:
    """Tensors of a file by name.

    Args:
        file: a safetensors file.
        longest: header that is accepted, in bytes.

    Raises:
        ModelLoadError: the header is none, too long, or does not fit the file.
    """
    with file.open("rb") as stream:
        length = header_length(stream.read(PREFIX), file.name, longest)
        content = stream.read(length)
    return parse_header(content, length, file.name, file.stat().st_size)


def header_length(prefix: bytes, name: str, longest: int = MAX_HEADER) -> int:
    """Length of a header in bytes.

    Raises:
        ModelLoadError: the file is shorter than the length itself, or the header is too long.
    """
    if is_pointer(prefix):
        raise _broken(name, POINTER)
    length = int.from_bytes(prefix, "little")
    if len(prefix) < PREFIX or length < len("{}"):
        raise _broken(name, "it has no header")
    if length > longest:
        raise _broken(name, f"its header is to be {length} bytes long; {longest} are accepted")
    return length


def is_pointer(content: bytes) -> bool:
    """Whether a file that begins like this stands for another one, which was never fetched."""
    return content.startswith(b"version ")


def parse_header(content: bytes, length: int, name: str, size: int) -> dict[str, StoredTensor]:
    """Tensors by name.

    Args:
        content: the header.
        length: what it should have.
        name: of the file.
        size: of the file, in bytes.

    Raises:
        ModelLoadError: the header is cut off, no header, or does not fit the file.
    """
    if len(content) < length:
        raise _broken(name, "it is cut off in the header")
    try:
        entries = parse_object(content, JsonLimits(length, _VALUES, depth=3))
    except JsonError as error:
        raise _broken(name, f"its header is {error}") from error
    _check_metadata(name, entries.pop("__metadata__", {}))
    data = PREFIX + length
    found = {key: _tensor(name, key, entry, data) for key, entry in entries.items()}
    _check_places(name, found, data, size)
    return found


def _tensor(name: str, key: str, entry: Any, data: int) -> StoredTensor:
    """One entry of a header; `data` is the byte that offsets count from."""
    if len(key) > _MAX_NAME:
        raise _broken(name, f"a tensor has a name of {len(key)} characters")
    if not isinstance(entry, dict):
        raise _broken(name, f"{key!r} is not described by an object")
    dtype = entry.get("dtype")
    shape, offsets = _sizes(entry.get("shape")), _sizes(entry.get("data_offsets"))
    if not isinstance(dtype, str) or dtype not in BITS:
        raise _broken(name, f"{key!r} has no dtype that is known")
    if shape is None or len(shape) > _MAX_DIMENSIONS:
        raise _broken(name, f"{key!r} has no shape")
    if offsets is None or len(offsets) != len(("begin", "end")):
        raise _broken(name, f"{key!r} has no data_offsets")
    begin, end = offsets
    if 8 * (end - begin) != math.prod(shape) * BITS[dtype]:
        raise _broken(name, f"{key!r} has other data_offsets than its shape and dtype ask for")
    return StoredTensor(shape, dtype, name, data + begin, data + end)


def _sizes(value: Any) -> tuple[int, ...] | None:
    """Numbers that can be sizes; None where the value is something else."""
    if isinstance(value, list) and all(type(n) is int and 0 <= n <= _MAX_SIZE for n in value):
        return tuple(value)
    return None


def _check_places(name: str, tensors: Mapping[str, StoredTensor], data: int, size: int) -> None:
    """Tensors fill the file without holes and overlaps, as the format demands."""
    reached = data
    for tensor in sorted(tensors.values(), key=lambda tensor: (tensor.begin, tensor.end)):
        if tensor.begin != reached:
            raise _broken(name, "its tensors overlap or leave holes")
        reached = tensor.end
    if reached > size:
        raise _broken(name, f"it is cut off: {size} of {reached} bytes are there")
    if reached < size:
        raise _broken(name, f"{size - reached} bytes follow its last tensor")


def _check_metadata(name: str, metadata: Any) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _broken(name, "its metadata are not texts by name")


def _broken(name: str, reason: str) -> ModelLoadError:
    return ModelLoadError(
        f"{name} is broken or truncated: {reason}. Fetch it again and compare its checksum."
    )
