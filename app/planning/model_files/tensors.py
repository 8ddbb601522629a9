"""What the header of a safetensors file says of a tensor."""

import math
from dataclasses import dataclass

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
