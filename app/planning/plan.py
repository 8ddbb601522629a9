"""What a job would do, as far as names and shapes tell.

Which tensors a model prunes is decided by its adapter, which needs the model's classes. Here, rules
on the names in the checkpoint's files stand in for it; a test holds them against every adapter.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.errors import PatternUnmatchedError, RecipeError
from app.planning.experts import packed_experts
from app.planning.memory import modality_of
from app.planning.model_files.files import check_number
from app.planning.model_files.headers import BITS, StoredTensor
from app.recipes.coverage import (
    BRIDGE,
    CONVOLUTION,
    EMBEDDING,
    HEAD,
    NO_LINEAR_LAYER,
    OUTSIDE,
    UNREAD,
    Coverage,
    Covered,
    why_not,
)
from app.recipes.modality import Modality
from app.recipes.module_patterns import Patterns, has_experts, names_steering, steering
from app.recipes.pattern import FEWEST_INPUTS, NM
from app.recipes.recipe import Recipe

_BLOCK = re.compile(r"\.\d+\.|vision_model\.head\.")
_NEVER = re.compile(
    r"embed|(?<!attn_)norm(?!_attn)|relative_attention_bias|lm_head|position|A_log$|_bias$"
)
_FURTHER = re.compile(r"(^|[._])mtp([._]|$)")  # layers that predict further tokens
_LAYER = re.compile(r"(^|\.)layers\.(\d+)\.")
_EMBEDDING = re.compile(r"embed|wte|wpe|position")
_HEAD = re.compile(r"(^|\.)\w*head\b")
_THIRDS = ("qkv", "c_attn", "in_proj_weight", "Wqkv")  # fused projections that can be split
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
    """The matrices inside blocks that could be pruned, whatever else the recipe targets.

    What steers the model is one only where a target names it.
    """
    experts = has_experts(tensors)
    for matrix in _in_blocks(tensors, config, recipe):
        part = steering(matrix.file_key, experts=experts)
        if part is None or names_steering(recipe.targets, part):
            yield matrix


def _in_blocks(
    tensors: Mapping[str, StoredTensor], config: Mapping[str, Any], recipe: Recipe
) -> Iterator[PlannedMatrix]:
    uniform, number = recipe.allocation.same_share, 0
    for key, tensor in tensors.items():
        modality = modality_of(key)
        if not _BLOCK.search(key) or _NEVER.search(key) or is_unread(key, config):
            continue
        if modality is Modality.BRIDGE and not recipe.include_bridge:
            continue
        for name, shape in _matrices(key, tensor.shape, config):
            number += 1
            check_number(number)
            yield PlannedMatrix(
                key,
                name,
                modality,
                shape,
                recipe.sparsity_of(modality) if uniform else None,
                BITS[tensor.dtype],
            )


def is_unread(key: str, config: Mapping[str, Any]) -> bool:
    """Whether a tensor is of layers that predict further tokens, which transformers leaves out.

    They are named so, or stand behind the layers that the configuration counts.
    """
    if _FURTHER.search(key):
        return True
    text = config.get("text_config") or config
    layer, count = _LAYER.search(key), text.get("num_hidden_layers")
    behind = layer is not None and isinstance(count, int) and int(layer[2]) >= count
    return behind and bool(text.get("num_nextn_predict_layers"))


def _matrices(
    key: str, shape: tuple[int, ...], config: Mapping[str, Any]
) -> Iterator[tuple[str, tuple[int, int]]]:
    """Name and shape of every matrix in a tensor: one, or those of the experts packed in it."""
    name = module_name(key, config)
    if len(shape) == 3 or ".experts.mlp." in key:  # noqa: PLR2004 - rows and columns
        found = packed_experts(key, shape, config)
        path = re.sub(r"(?<=\.experts)\.mlp$", "", name.rpartition(".")[0])
        yield from ((f"{path}.{inner}", each) for inner, each in found.items())
    elif len(shape) == 2 and shape[0] > 1 and shape[1] >= FEWEST_INPUTS:  # noqa: PLR2004 - the same
        yield name, (shape[0], shape[1])


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


def coverage_of(
    tensors: Mapping[str, StoredTensor],
    config: Mapping[str, Any],
    recipe: Recipe,
    matrices: Iterable[PlannedMatrix],
) -> Coverage:
    """What the recipe reaches of the model, as far as names and shapes tell.

    Args:
        tensors: of the checkpoint.
        config: its config.json.
        recipe: what to prune.
        matrices: those that are `prunable` by it.
    """
    reached = Counter[str]()
    for matrix in matrices:
        reached[matrix.file_key] += matrix.numel
    everything = Recipe(sparsity=0.5, include_bridge=True)
    left = {key: tensor for key, tensor in tensors.items() if reached[key] < tensor.numel}
    able = {m.file_key: m for m in _in_blocks(left, config, everything)}
    experts = has_experts(tensors)
    found = []
    for key, tensor in tensors.items():
        if key not in left:
            reason = ""
        elif is_unread(key, config):
            reason = UNREAD
        elif key not in able:
            reason = _why_no_matrix(key, tensor)
        elif able[key].modality is Modality.BRIDGE and not recipe.include_bridge:
            reason = BRIDGE
        else:
            names = given_as(able[key].name, key)
            reason = why_not(recipe, able[key].modality, names, experts=experts)
        inside = _BLOCK.search(key) is not None and reason != UNREAD
        found.append(Covered(key, tensor.numel, min(reached[key], tensor.numel), inside, reason))
    return Coverage.of(found)


def _why_no_matrix(key: str, tensor: StoredTensor) -> str:
    if _EMBEDDING.search(key):
        return EMBEDDING
    if _HEAD.search(key):
        return HEAD
    if len(tensor.shape) > 3:  # noqa: PLR2004 - channels, and an area
        return CONVOLUTION
    return NO_LINEAR_LAYER if _BLOCK.search(key) or len(tensor.shape) != 2 else OUTSIDE  # noqa: PLR2004


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


_TOWERS = (
    (r"^language_model\.model\.", "model.language_model."),
    (r"^language_model\.lm_head", "lm_head"),
    (r"^(?:model\.)?vision_tower\.(?:vision_model\.)?", "model.vision_tower."),
    (r"^multi_modal_projector\.", "model.multi_modal_projector."),
)
_QWEN = (
    (r"^visual\.", "model.visual."),
    (r"^model\.(?=(?:layers|embed_tokens|norm)\.)", "model.language_model."),
)
_VIT = (
    (r"\.encoder\.layer\.", ".layers."),
    (r"\.attention\.attention\.(query|key|value)", r".attention.\1"),
    (r"\.attention\.query", ".attention.q_proj"),
    (r"\.attention\.key", ".attention.k_proj"),
    (r"\.attention\.value", ".attention.v_proj"),
    (r"\.attention\.output\.dense", ".attention.o_proj"),
    (r"\.intermediate\.dense", ".mlp.fc1"),
    (r"\.output\.dense", ".mlp.fc2"),
)
_PLAIN = (
    *("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "opt", "gpt2", "bert", "t5"),
    *("clip", "siglip", "blip", "blip-2", "instructblip", "idefics3", "smolvlm"),
    *("qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe", "glm4v", "glm4v_moe", "glm46v"),
    *("gemma4", "florence2", "llama4", "lfm2_vl"),
)
_TOWERED = ("llava", "llava_next", "llava_onevision", "paligemma", "gemma3", "mistral3", "internvl")
_RENAMED = {
    **dict.fromkeys(_PLAIN, ()),
    **dict.fromkeys(_TOWERED, _TOWERS),
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl"), _QWEN),
    "vit": _VIT,
}
_RULES = {
    kind: tuple((re.compile(old), new) for old, new in rules) for kind, rules in _RENAMED.items()
}


def is_known(config: Mapping[str, Any]) -> bool:
    """Whether the rules of the model's family are known."""
    return _kind(config) in _RULES


def module_name(key: str, config: Mapping[str, Any]) -> str:
    """The module whose weight, or the parameter which, lies in the files as `key`."""
    name = key.removesuffix(".weight")
    for old, new in _RULES.get(_kind(config), ()):
        name = old.sub(new, name)
    return name


def given_as(name: str, *keys: str) -> tuple[str, ...]:
    """Names that a matrix may be given by: its module's, and its tensor's in the files.

    Args:
        name: of the module.
        keys: of the tensor; several where the files hold it more than once.
    """
    return name, f"{name}.weight", *keys, *(key.removesuffix(".weight") for key in keys)


def _kind(config: Mapping[str, Any]) -> str:
    found = config.get("model_type")
    return found if isinstance(found, str) else ""


MOST_TESTS = 2_000_000  # of a pattern on a name
# Tied weights are stored under one name; modules of the other ones are not in the files.
_TIED = re.compile(r"embed|head|shared|pred")


def check_patterns(
    tensors: Mapping[str, StoredTensor], config: Mapping[str, Any], recipe: Recipe
) -> list[str]:
    """Refuse a recipe that has a pattern for nothing; a job asks the model itself.

    Args:
        tensors: of the checkpoint.
        config: its config.json.
        recipe: what to prune.

    Returns:
        Patterns of `ignore` that match nothing, where the recipe allows that; none for families
        whose names the files do not tell.

    Raises:
        PatternUnmatchedError: a pattern matches nothing.
        RecipeError: there are too many patterns for a model of so many tensors.
    """
    if len(tensors) * (len(recipe.targets) + len(recipe.ignore)) > MOST_TESTS:
        raise RecipeError(
            f"{len(recipe.targets)} targets and {len(recipe.ignore)} patterns to ignore are too "
            f"many for a model of {len(tensors)} tensors"
        )
    if not tensors or not is_known(config):
        return []
    prunable = {
        name
        for matrix in candidates(tensors, config, recipe)
        for whole in split_names(matrix, recipe)
        for name in _variants(whole, matrix.file_key, config)
    }
    if prunable:
        refuse_targets(Patterns(recipe.targets).unmatched(prunable))
    modules = {name for key in tensors for name in _variants(module_name(key, config), key, config)}
    unmatched = Patterns(recipe.ignore).unmatched(prunable | modules)
    unmatched = [pattern for pattern in unmatched if not _TIED.search(pattern)]
    if not recipe.allow_unmatched:
        refuse_ignored(unmatched)
    return unmatched


def refuse_targets(unmatched: list[str], hint: str = "") -> None:
    """Refuse targets that match nothing.

    Raises:
        PatternUnmatchedError: there are some.
    """
    if unmatched:
        raise PatternUnmatchedError(
            f"targets: {_listed(unmatched)} matches no matrix that can be pruned; projectors and "
            f"Q-Formers can with include_bridge, parts of a fused projection with split_qkv.{hint}"
        )


def refuse_ignored(unmatched: list[str], hint: str = "") -> None:
    """Refuse patterns to ignore that match nothing.

    Raises:
        PatternUnmatchedError: there are some.
    """
    if unmatched:
        raise PatternUnmatchedError(
            f"ignore: {_listed(unmatched)} matches no module of the model, so what it should keep "
            f"would be pruned; correct it, or set allow_unmatched.{hint}"
        )


def _listed(patterns: list[str]) -> str:
    more = f" (and {len(patterns) - 3} more)" if len(patterns) > 3 else ""  # noqa: PLR2004
    return ", ".join(map(repr, patterns[:3])) + more


def _variants(name: str, key: str, config: Mapping[str, Any]) -> Iterator[str]:
    """Names a module may have: files of a base model lack the prefix of those with a head."""
    plain = name.removesuffix(".bias")
    yield from (*given_as(plain, key), name, key.removesuffix(".bias"))
    yield from (plain.partition(".")[2], f"model.{plain}", f"{config.get('model_type')}.{plain}")
