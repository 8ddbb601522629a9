"""How many attention heads a part of a model has, and how many can stay, by its configuration."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.planning.model_files.files import number
from app.recipes.structure import NormError, NothingLeftError, NothingTakenError, taken_of

_HEADS = ("num_attention_heads", "num_heads", "n_head", "n_heads", "encoder_attention_heads")
_GROUPS = ("num_key_value_heads", "num_kv_heads", "n_kv_heads")
_HIDDEN = ("hidden_size", "embed_dim", "n_embd", "d_model", "dim")
_WIDTH = "head_dim"
# Classes that divide the hidden size by the heads, whatever their configuration says of a head.
_DIVIDED = re.compile(
    r"^(bert|roberta|distilbert|clip|siglip|blip|instructblip|idefics|smolvlm|gpt2|gpt_neo|bloom|t5)"
    r"|^opt$|_vision$"
)
_READS = re.compile(r"(^|\.)(o_proj|out_proj|c_proj|dense|projection|proj|wo)\.weight$")
_OUT_BIAS = re.compile(_READS.pattern.replace("weight", "bias"))
_MATRIX = 2  # dimensions


@dataclass(frozen=True, slots=True)
class Heads:
    """What a section of a configuration says.

    Attributes:
        name: of the number of heads.
        count: of query heads.
        shared: name of the number of key-value heads; None where there is none.
        groups: how many key-value heads there are; as many as heads where they are not shared.
        width: of a head.
    """

    name: str
    count: int
    shared: str | None
    groups: int
    width: int

    def after(self, kept: int) -> dict[str, int]:
        """The numbers where some of the groups stay."""
        found = {self.name: kept * (self.count // self.groups), _WIDTH: self.width}
        return found if self.shared is None else found | {self.shared: kept}

    def are_normed_by(self, shape: Sequence[int]) -> bool:
        """Whether a norm with a weight of this shape, beside what makes them, is over all heads."""
        widths = {self.count * self.width, self.groups * self.width} - {self.width}
        return len(shape) == 1 and shape[0] in widths


def heads_of(part: Mapping[str, Any]) -> Heads | None:
    """What a section says; None where it counts no heads."""
    name = next((each for each in _HEADS if number(part, each)), None)
    if name is None:
        return None
    count = number(part, name)
    shared = next((each for each in _GROUPS if each in part), None)
    groups = number(part, shared) if shared else 0
    hidden = next((size for each in _HIDDEN if (size := number(part, each))), 0)
    width = number(part, _WIDTH) or hidden // count
    if not width or (groups and count % groups):
        return None
    return Heads(name, count, shared, groups or count, width)


def says_no_width(part: Mapping[str, Any]) -> bool:
    """Whether models of a section divide the hidden size by the heads: none can go."""
    return bool(_DIVIDED.search(str(part.get("model_type"))))


def without_heads(path: str, shape: tuple[int, ...], heads: Heads, kept: int) -> tuple[int, ...]:
    """What becomes of a tensor of an attention where `kept` groups of heads stay.

    Args:
        path: its name in its block.
        shape: as stored.
        heads: as they are.
        kept: groups that stay.
    """
    queries, keys = heads.count * heads.width, heads.groups * heads.width
    if "norm" in path:
        return shape
    if _READS.search(path) and shape[1:] == (queries,):
        return (shape[0], queries // heads.groups * kept)
    made = {queries, keys, queries + 2 * keys}
    made |= {2 * queries} if len(shape) == _MATRIX else {heads.count}  # with a gate; sinks
    if shape[:1] and shape[0] in made and not _READS.search(path) and not _OUT_BIAS.search(path):
        return (shape[0] // heads.groups * kept, *shape[1:])
    return shape


def check_norms(shapes: Mapping[str, tuple[int, ...]], heads: Heads, block: str) -> None:
    """Refuse norms over all heads in the attention of a block.

    Args:
        shapes: of its tensors, by their paths in it.
        heads: as they are.
        block: its name.

    Raises:
        NormError: the message names one.
    """
    rows = {heads.count * heads.width, heads.groups * heads.width}
    makers = {
        _owner(path)
        for path, shape in shapes.items()
        if len(shape) == _MATRIX and shape[0] in rows and not _READS.search(path)
    }
    for path, shape in shapes.items():
        norm = path.removesuffix(".weight")
        if "norm" in norm and _owner(path) in makers and heads.are_normed_by(shape):
            raise NormError(f"{block}.{norm}")


def _owner(path: str) -> str:
    """The module whose child has the parameter."""
    return path.rpartition(".")[0].rpartition(".")[0]


def heads_kept(heads: Heads, removed: float, where: str) -> int:
    """How many key-value groups stay.

    Raises:
        NothingLeftError: none would go, or none stay.
    """
    kept = heads.groups - taken_of(heads.groups, removed)
    said = (
        f"{where}: removing a share of {removed:g} leaves {kept} of {heads.groups} groups of "
        "attention heads"
    )
    if kept == heads.groups:
        raise NothingTakenError(f"{said}; at least one has to go", where, "heads")
    if kept == 0:
        raise NothingLeftError(f"{said}; at least one has to stay")
    return kept
