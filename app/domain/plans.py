"""What a job would do, as far as names and shapes tell.

Which tensors a model prunes is decided by its adapter, which needs the model's classes. Here, rules
on the names in the checkpoint's files stand in for it; a test holds them against every adapter.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from app.domain.recipe import NM, Modality, Recipe, Uniform
from app.domain.tensors import BITS, StoredTensor

_BLOCK = re.compile(r"\.\d+\.|vision_model\.head\.")
_NEVER = re.compile(r"embed|norm|relative_attention_bias|lm_head|position")
_MODALITIES = (
    (Modality.BRIDGE, re.compile(r"qformer|projector|connector|merger|language_projection")),
    (Modality.VISION, re.compile(r"vision|visual|\bvit\b|image_encoder")),
    (Modality.TEXT, re.compile(r"text_encoder|text_decoder|text_model\.encoder|encoder\.layer\.")),
)
_MANY = 0.6  # above it, quality is known to fall off without retraining


@dataclass(frozen=True, slots=True)
class PlannedMatrix:
    """One matrix the job would prune.

    `shape` is that of the stored tensor; `sparsity` is None where weights compete across matrices.
    """

    file_key: str
    modality: Modality
    shape: tuple[int, int]
    sparsity: float | None
    bits: int

    @property
    def numel(self) -> int:
        """Number of weights."""
        return self.shape[0] * self.shape[1]


def prunable(tensors: Mapping[str, StoredTensor], recipe: Recipe) -> list[PlannedMatrix]:
    """The matrices inside blocks that the recipe's targets take in, in the files' order."""
    found = []
    for key, tensor in tensors.items():
        shape = tensor.shape
        name = key.removesuffix(".weight")
        modality = modality_of(key)
        matrix = len(shape) == 2 and min(shape) > 1  # noqa: PLR2004 - rows and columns
        if not matrix or not _BLOCK.search(key) or _NEVER.search(name):
            continue
        if modality is Modality.BRIDGE and not recipe.include_bridge:
            continue
        if not _matches(name, recipe.targets) or _matches(name, recipe.ignore):
            continue
        sparsity = recipe.sparsity_of(modality)
        uniform = isinstance(recipe.allocation, Uniform)
        found.append(
            PlannedMatrix(
                key,
                modality,
                (shape[0], shape[1]),
                sparsity if uniform else None,
                BITS[tensor.dtype],
            )
        )
    return found


def modality_of(key: str) -> Modality:
    """The part of a model that a tensor of this name serves."""
    return next((m for m, pattern in _MODALITIES if pattern.search(key)), Modality.LANGUAGE)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


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
    if recipe.targets != ("*",) or recipe.ignore:
        found.append("targets and ignore name modules; here they were held against file keys")
    return found
