"""What the header of a safetensors file says of a tensor."""

import math
from dataclasses import dataclass

_BITS = {"F64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32}
_BITS |= {"F16": 16, "BF16": 16, "I16": 16, "U16": 16}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Shape and type; `dtype` is the format's name, such as BF16."""

    shape: tuple[int, ...]
    dtype: str = "F32"

    @property
    def numel(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def width(self) -> int:
        """Bytes of a value."""
        return _BITS.get(self.dtype, 8) // 8
