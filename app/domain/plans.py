"""What a job would do, as far as names and shapes tell.

Which tensors a model prunes is decided by its adapter, which needs the model's classes. Here, rules
on the names in the checkpoint's files stand in for it; a test holds them against every adapter.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.domain.module_names import given_as, module_name
from app.domain.patterns import Patterns
from app.domain.recipe import NM, Modality, Recipe, Uniform
from app.domain.tensors import BITS, StoredTensor

_BLOCK = re.compile(r"\.\d+\.|vision_model\.head\.")
_NEVER = re.compile(r"embed|norm|relative_attention_bias|lm_head|position")
# transformers packs experts that lie apart in the files; packed ones are no matrices of a job.
_EXPERT = re.compile(
    r"\.experts\.\d+\.|\.(?:block_sparse_moe|mlp|feed_forward)\.(?:gate|router)\.weight$"
)
_THIRDS = ("qkv", "c_attn", "in_proj_weight", "Wqkv")  # fused projections that can be split
_MODALITIES = (
    (Modality.BRIDGE, re.compile(r"qformer|projector|connector|merger|language_projection")),
    (Modality.VISION, re.compile(r"vision|visual|\bvit\b|image_encoder")),
    (Modality.TEXT, re.compile(r"text_encoder|text_decoder|text_model\.encoder|encoder\.layer\.")),
)
_MANY = 0.6  # above it, quality is known to fall off without retraining


@dataclass(frozen=True, slots=True)
class PlannedMatrix:
    """One matrix the job would prune.

    Attributes:
        file_key: name of the stored tensor.
        name: of the module, as far as the files tell.
        modality: the part of the model.
        shape: of the stored tensor, or of the parts of it that are pruned.
        sparsity: None where weights compete across matrices.
        bits: of a weight.
    """

    file_key: str
    name: str
    modality: Modality
    shape: tuple[int, int]
    sparsity: float | None
    bits: int

    @property
    def numel(self) -> int:
        """Number of weights."""
        return self.shape[0] * self.shape[1]


def prunable(
    tensors: Mapping[str, StoredTensor], config: Mapping[str, Any], recipe: Recipe
) -> list[PlannedMatrix]:
    """The matrices inside blocks that the recipe's targets take in, in the files' order.

    Args:
        tensors: of the checkpoint.
        config: its config.json.
        recipe: what to prune.
    """
    targets, ignore = Patterns(recipe.targets), Patterns(recipe.ignore)
    found = []
    for matrix in candidates(tensors, config, recipe):
        names = split_names(matrix, recipe)
        known = {name: given_as(name, matrix.file_key) for name in names}
        meant = [n for n in names if targets.match(*known[n]) and not ignore.match(*known[n])]
        if meant and recipe.sparsity_of(matrix.modality) > 0:
            part = _part(matrix.shape, len(meant)) if len(meant) < len(names) else matrix.shape
            found.append(replace(matrix, shape=part))
    return found


def candidates(
    tensors: Mapping[str, StoredTensor], config: Mapping[str, Any], recipe: Recipe
) -> Iterator[PlannedMatrix]:
    """The matrices inside blocks that could be pruned, whatever the recipe targets."""
    uniform = isinstance(recipe.allocation, Uniform)
    for key, tensor in tensors.items():
        shape = tensor.shape
        modality = modality_of(key)
        matrix = len(shape) == 2 and min(shape) > 1  # noqa: PLR2004 - rows and columns
        if not matrix or not _BLOCK.search(key) or _NEVER.search(key) or _EXPERT.search(key):
            continue
        if modality is not Modality.BRIDGE or recipe.include_bridge:
            yield PlannedMatrix(
                key,
                module_name(key, config),
                modality,
                (shape[0], shape[1]),
                recipe.sparsity_of(modality) if uniform else None,
                BITS[tensor.dtype],
            )


def split_names(matrix: PlannedMatrix, recipe: Recipe) -> list[str]:
    """The names it goes by: one, or those of the parts of a fused projection."""
    fused = matrix.name.rpartition(".")[2] in _THIRDS and 3 * min(matrix.shape) == max(matrix.shape)
    if recipe.split_qkv and fused:
        return [f"{matrix.name}[{part}]" for part in "qkv"]
    return [matrix.name]


def _part(shape: tuple[int, int], parts: int) -> tuple[int, int]:
    """Shape of so many thirds of a fused projection, whichever way it is stored."""
    rows, columns = shape
    return (rows // 3 * parts, columns) if rows > columns else (rows, columns // 3 * parts)


def modality_of(key: str) -> Modality:
    """The part of a model that a tensor of this name serves."""
    return next((m for m, pattern in _MODALITIES if pattern.search(key)), Modality.LANGUAGE)


def warnings(recipe: Recipe, matrices: Sequence[PlannedMatrix]) -> list[str]:
    """What whoever submits this should know before."""
    found = []
    if isinstance(recipe.pattern, NM):
        kept, group = recipe.pattern.n, recipe.pattern.m
        odd = [m.file_key for m in matrices if m.shape[1] % group]
        if odd:
            found.append(f"{group} does not divide the inputs of {len(odd)} matrices: {odd[0]} ...")
        if (kept, group) != (2, 4):
            found.append(f"no hardware in common use speeds up {kept}:{group}")
    else:
        found.append("unstructured sparsity gives no speed-up on its own; only packed files shrink")
    targets = recipe.sparsity.values() if isinstance(recipe.sparsity, dict) else [recipe.sparsity]
    if any(target > _MANY for target in targets):
        found.append("above 60 % sparsity quality falls off steeply; measure it with `evaluation`")
    return found
