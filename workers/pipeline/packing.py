"""Packs a checkpoint: a bit per weight and the weights that are left. `app.packed` has the form."""

import io
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import zstandard

from app.packed import unpack
from app.packed.unpack import FOLDER, MAGIC, SUFFIX, chunks
from workers.pruning.models.checkpoint import open_checkpoint

# Higher levels are slower and gain one percent: the values' mantissas are noise.
LEVEL = 1


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a checkpoint weighs.

    Attributes:
        dense: bytes of the safetensors files.
        packed: bytes of the packed files.
        elements: of all tensors; types of less than a byte are counted in bytes.
        nonzeros: elements with a bit that is set.
    """

    dense: int = 0
    packed: int = 0
    elements: int = 0
    nonzeros: int = 0


def pack_checkpoint(directory: Path) -> Sizes:
    """Write `packed/` with the packed form of the checkpoint's files and the decoder.

    Args:
        directory: the exported checkpoint; masks and other safetensors beside it are left out.
    """
    folder = directory / FOLDER
    folder.mkdir()
    shutil.copyfile(unpack.__file__, folder / Path(unpack.__file__).name)
    dense = packed = elements = nonzeros = 0
    for name in open_checkpoint(directory).files:
        source, target = directory / name, folder / f"{name}{SUFFIX}"
        with source.open("rb") as reader, target.open("wb") as writer:
            of_file, left = pack(reader, writer)
        dense, packed = dense + source.stat().st_size, packed + target.stat().st_size
        elements, nonzeros = elements + of_file, nonzeros + left
    return Sizes(dense, packed, elements, nonzeros)


def pack(source: BinaryIO, target: BinaryIO) -> tuple[int, int]:
    """Pack one safetensors file; returns its elements and how many of them are not zero."""
    compressor = zstandard.ZstdCompressor(level=LEVEL)
    with compressor.stream_writer(target, closefd=False) as compressed:
        return write_packed(source, compressed)


def write_packed(source: BinaryIO, target: io.RawIOBase | BinaryIO) -> tuple[int, int]:
    """As `pack`, before compression: at most (1 + bits x density) / bits of the tensors' bytes."""
    length = source.read(8)
    header = source.read(int.from_bytes(length, "little"))
    target.write(MAGIC + length + header)
    total = nonzeros = 0
    for elements, item in chunks(header):
        values = np.frombuffer(source.read(elements * item), f"<u{item}")
        mask = values != 0
        left = int(np.count_nonzero(mask))
        total, nonzeros = total + elements, nonzeros + left
        bits = np.packbits(mask, bitorder="little")
        if pays := bits.nbytes < (elements - left) * item:
            # compress() is six times as fast as values[mask].
            values = values.compress(mask)
        target.write(values.size.to_bytes(4, "little"))
        if pays:
            target.write(bits.data)
        for byte in range(item):
            # Shifting is five times as fast as transposing the bytes.
            target.write((values >> (8 * byte)).astype(np.uint8).data)
    return total, nonzeros
