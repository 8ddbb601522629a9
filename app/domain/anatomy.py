"""A checkpoint as its headers and its config.json show it: blocks, their matrices, their tokens."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from app.domain.model_config import number, section
from app.domain.plans import modality_of
from app.domain.recipe import Modality
from app.domain.tensors import StoredTensor

_BLOCK = re.compile(r"^(?P<tower>.*?)\.\d+\.")
_SHARED = (re.compile(r"\b(q|k|v)_proj\b|\b(query|key|value)\b"), re.compile(r"gate_proj|up_proj"))
_IMAGE_TOKENS = 1024  # where the configuration does not say: images of any size
_IMAGE_SIDE = 448


@dataclass(frozen=True, slots=True)
class BlockSize:
    """One block.

    Attributes:
        tower: the stack it lies in.
        modality: the part of the model.
        numel: all its values.
        shapes: of its matrices, stored (rows, columns).
        inputs: columns of every distinct input of them; q, k and v read one, gate and up another.
    """

    tower: str
    modality: Modality
    numel: int
    shapes: tuple[tuple[int, int], ...]
    inputs: tuple[int, ...]

    @property
    def hidden(self) -> int:
        """Width of the hidden states."""
        return min((min(shape) for shape in self.shapes), default=0)

    @property
    def largest(self) -> int:
        """Weights of its largest matrix."""
        return max((rows * columns for rows, columns in self.shapes), default=0)

    @property
    def features(self) -> int:
        """Inputs and outputs of its matrices, for one token."""
        return sum(rows + columns for rows, columns in self.shapes)


@dataclass(frozen=True, slots=True)
class Anatomy:
    """The whole.

    Attributes:
        blocks: by name.
        numel: all values.
        table: values of the largest tensor outside of blocks, such as an embedding.
        width: bytes of a value, that of the widest matrix.
        stored: bytes in the files.
        vocabulary: entries of the language model's output; 0 where there is none.
        positions: longest text.
        patches: tokens of an image; 0 where the model sees none.
        pixels: values of an image.
    """

    blocks: tuple[BlockSize, ...]
    numel: int
    table: int
    width: int
    stored: int
    vocabulary: int
    positions: int
    patches: int
    pixels: int

    @classmethod
    def of(cls, tensors: Mapping[str, StoredTensor], config: Mapping[str, Any]) -> Self:
        """Read it from headers and configuration."""
        text = section(config, "text_config")
        patches, pixels = _image(config)
        matrices = [tensor for tensor in tensors.values() if len(tensor.shape) > 1]
        return cls(
            blocks=tuple(_blocks(tensors)),
            numel=sum(tensor.numel for tensor in tensors.values()),
            table=max((t.numel for key, t in tensors.items() if not _BLOCK.match(key)), default=0),
            width=max((tensor.width for tensor in matrices), default=4),
            stored=sum(tensor.bytes for tensor in tensors.values()),
            vocabulary=number(text, "vocab_size"),
            positions=number(text, "max_position_embeddings") or 1 << 30,
            patches=patches,
            pixels=pixels,
        )

    @property
    def outside(self) -> int:
        """Values outside of blocks: embeddings, heads."""
        return self.numel - sum(block.numel for block in self.blocks)

    def tokens(self, modality: Modality, max_length: int) -> int:
        """Most tokens of one record that blocks of the modality see."""
        text = min(max_length, self.positions)
        if modality is Modality.VISION:
            return self.patches
        return text + self.patches if modality is Modality.LANGUAGE else text


def _blocks(tensors: Mapping[str, StoredTensor]) -> list[BlockSize]:
    members: dict[str, list[str]] = {}
    for key in tensors:
        if match := _BLOCK.match(key):
            members.setdefault(match[0], []).append(key)
    found = []
    for name, keys in members.items():
        shapes: list[tuple[int, int]] = []
        inputs: dict[Any, int] = {}
        for key in keys:
            shape = tensors[key].shape
            if len(shape) == 2 and min(shape) > 1:  # noqa: PLR2004 - rows and columns
                shapes.append((shape[0], shape[1]))
                kind = next((i for i, pattern in enumerate(_SHARED) if pattern.search(key)), key)
                inputs[kind, shape[1]] = shape[1]
        if shapes:
            numel = sum(tensors[key].numel for key in keys)
            tower = name.rstrip(".").rpartition(".")[0]
            modality = modality_of(name)
            found.append(BlockSize(tower, modality, numel, tuple(shapes), tuple(inputs.values())))
    return found


def _image(config: Mapping[str, Any]) -> tuple[int, int]:
    """Tokens and values of an image."""
    vision = section(config, "vision_config")
    side, patch = number(vision, "image_size"), number(vision, "patch_size")
    if side and patch:
        return (side // patch) ** 2, 3 * side**2
    if patch or "vision_config" in config:
        return _IMAGE_TOKENS, 3 * _IMAGE_SIDE**2
    return 0, 0
