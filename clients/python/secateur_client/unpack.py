# Made by `generate.py` from app/packed/unpack.py; do not edit.
"""Turns packed checkpoints back into safetensors files, bit for bit.

    python unpack.py model.safetensors.packed model.safetensors

Needs numpy and nothing else. A packed file is

    SCTPACK1                     8 bytes
    the safetensors header       length as little-endian uint64, then the JSON, both as they were
    first                        little-endian uint64, the byte of the safetensors file that the
                                 first chunk starts at: the end of the header, or further on where
                                 the reader has what comes before
    for every tensor, in the order of its bytes, for every 1,048,576 elements or the rest of it:
      stored                     little-endian uint32, how many elements follow
      mask                       1 bit per element, first element first, lowest bit first, padded
                                 to whole bytes; absent where all elements are stored
      planes                     first bytes of the stored elements, then their second bytes, ...

Elements that are not stored are zero in all their bits; a negative zero is stored.
"""

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

MAGIC = b"SCTPACK1"
CHUNK = 1 << 20  # elements
MAX_HEADER = 100_000_000  # bytes; the limit of safetensors itself
# Bytes per element; whatever is not listed (4-bit types among them) counts as bytes.
ITEM_SIZES = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
}


class DamagedError(ValueError):
    """The packed file is cut off or is none."""


class Readable(Protocol):
    """What a packed file is read from."""

    def read(self, size: int, /) -> bytes:
        """Up to so many bytes; none at the end."""


def chunks(header: bytes) -> Iterator[tuple[int, int]]:
    """Walk the tensors of a safetensors header.

    Yields:
        How many elements the next chunk has, and the bytes of one element: 1, 2, 4 or 8.
    """
    tensors: dict[str, Any] = json.loads(header)
    tensors.pop("__metadata__", None)
    for tensor in sorted(tensors.values(), key=lambda tensor: tensor["data_offsets"]):
        start, end = tensor["data_offsets"]
        item = ITEM_SIZES.get(tensor["dtype"], 1)
        elements = (end - start) // item
        for done in range(0, elements, CHUNK):
            yield min(CHUNK, elements - done), item


def unpack(packed: Readable, target: BinaryIO) -> None:
    """Decode one file.

    Args:
        packed: open for reading.
        target: open for writing at any place; cut off behind the last byte written.

    Raises:
        DamagedError: the packed file is cut off or is none.
    """
    if _read(packed, len(MAGIC)) != MAGIC:
        raise DamagedError("not a packed checkpoint")
    length = _read(packed, 8)
    if (size := int.from_bytes(length, "little")) > MAX_HEADER:
        raise DamagedError("the header is too long")
    header = _read(packed, size)
    place = len(length) + size
    first = int.from_bytes(_read(packed, 8), "little")
    target.seek(0)
    target.write(length + header)
    target.truncate(first)
    target.seek(first)
    for elements, item in chunks(header):
        if place >= first:
            target.write(_chunk(packed, elements, item))
        place += elements * item
    if packed.read(1):
        raise DamagedError("bytes follow the last tensor")


def _chunk(stream: Readable, elements: int, item: int) -> bytes:
    stored = int.from_bytes(_read(stream, 4), "little")
    if stored > elements:
        raise DamagedError("more elements are stored than the tensor has")
    mask = None
    if stored < elements:
        bits = np.frombuffer(_read(stream, math.ceil(elements / 8)), np.uint8)
        mask = np.unpackbits(bits, count=elements, bitorder="little").view(bool)
        if np.count_nonzero(mask) != stored:
            raise DamagedError("a mask and its values do not belong together")
    values = np.zeros(stored, f"<u{item}")
    for byte in range(item):
        plane = np.frombuffer(_read(stream, stored), np.uint8)
        values |= plane.astype(values.dtype) << values.dtype.type(8 * byte)
    if mask is None:
        return values.tobytes()
    dense = np.zeros(elements, values.dtype)
    dense[np.flatnonzero(mask)] = values  # six times as fast as dense[mask]
    return dense.tobytes()


def _read(stream: Readable, size: int) -> bytes:
    """Exactly so many bytes."""
    pieces = []
    while size > 0:
        piece = stream.read(size)
        if not piece:
            raise DamagedError("the packed file is cut off")
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def main() -> None:
    """Decode the file named first into the one named second."""
    source, target = map(Path, sys.argv[1:])
    with source.open("rb") as packed, target.open("wb") as dense:
        unpack(packed, dense)


if __name__ == "__main__":
    main()
