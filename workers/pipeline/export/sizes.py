"""What a checkpoint weighs: dense, packed, and how much of it is not zero."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from app.packed import unpack
from app.packed.pack import Counts, compress, pack
from workers.pruning.models.files.checkpoint import open_checkpoint


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a checkpoint weighs.

    Attributes:
        dense: bytes of the safetensors files.
        packed: bytes that a packed download sends in their place.
        elements: of all tensors; types of less than a byte are counted in bytes.
        nonzeros: elements with a bit that is set.
    """

    dense: int = 0
    packed: int = 0
    elements: int = 0
    nonzeros: int = 0


def weigh(directory: Path) -> Sizes:
    """Pack the checkpoint's files for their sizes alone: downloads pack what they send.

    Args:
        directory: the exported checkpoint; masks and other safetensors beside it are left out.
    """
    dense = packed = 0
    counts = Counts()
    for name in open_checkpoint(directory).files:
        with (directory / name).open("rb") as source:
            packed += sum(map(len, compress(pack(source, counts=counts))))
        dense += (directory / name).stat().st_size
    return Sizes(dense, packed, counts.elements, counts.nonzeros)


def write_decoder(folder: Path) -> None:
    """Put the decoder of packed downloads into a folder."""
    shutil.copyfile(unpack.__file__, folder / Path(unpack.__file__).name)
