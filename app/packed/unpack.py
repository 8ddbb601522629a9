"""Turns packed checkpoints back into safetensors files, bit for bit.

    python unpack.py [directory]

writes, for every `NAME.safetensors.packed` in the directory (by default that of this file),
`NAME.safetensors` into the directory above. Needs numpy, and on Python before 3.14 `zstandard`.

A packed file is one zstd stream of

    SCTPACK1                     8 bytes
    the safetensors header       length as little-endian uint64, then the JSON, both as they were
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
from typing import Any, BinaryIO

import numpy as np

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdFile
else:
    from zstandard import ZstdDecompressor

    ZstdFile = ZstdDecompressor().stream_reader

MAGIC = b"SCTPACK1"
FOLDER = "packed"
SUFFIX = ".packed"
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


def unpack(packed: BinaryIO, target: BinaryIO) -> None:
    """Decode one file.

    Raises:
        DamagedError: the packed file is cut off or is none.
    """
    stream = ZstdFile(packed)
    if _read(stream, len(MAGIC)) != MAGIC:
        raise DamagedError("not a packed checkpoint")
    length = _read(stream, 8)
    if (size := int.from_bytes(length, "little")) > MAX_HEADER:
        raise DamagedError("the header is too long")
    header = _read(stream, size)
    target.write(length + header)
    target.writelines(_chunk(stream, elements, item) for elements, item in chunks(header))
    if stream.read(1):
        raise DamagedError("bytes follow the last tensor")


def _chunk(stream: BinaryIO, elements: int, item: int) -> bytes:
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


def _read(stream: BinaryIO, size: int) -> bytes:
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
    """Decode what lies in a directory."""
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent
    for source in sorted(directory.glob(f"*{SUFFIX}")):
        target = directory.parent / source.name.removesuffix(SUFFIX)
        unfinished = target.with_name(f".{target.name}.partial")
        with source.open("rb") as packed, unfinished.open("wb") as dense:
            unpack(packed, dense)
        unfinished.replace(target)
        sys.stdout.write(f"{target}\n")


if __name__ == "__main__":
    main()
