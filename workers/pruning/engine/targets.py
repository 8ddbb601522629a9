"""Which matrices a recipe means, and in which block each can be pruned."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from app.errors import RecipeError
from app.messages import near_names
from app.planning.plan import given_as, refuse_ignored, refuse_targets
from app.recipes.coverage import (
    BRIDGE,
    CONVOLUTION,
    EMBEDDING,
    HEAD,
    IRREVERSIBLE,
    NO_LINEAR_LAYER,
    OUTSIDE,
    UNREAD,
    Coverage,
    Covered,
    why_not,
)
from app.recipes.modality import Modality
from app.recipes.module_patterns import Patterns, has_experts, names_steering, steering
from app.recipes.recipe import Recipe
from workers.pruning.memory import stored
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.layout.discovery import find_stacks
from workers.pruning.models.layout.replay import Batch
from workers.pruning.models.layout.structure import Block, Matrix, Tower


@dataclass(frozen=True, slots=True)
class Targets:
    """The matrices to prune.

    Attributes:
        blocks: the block each matrix is listed in, matrices in execution order.
        position: place of every block of the model in execution order, from 0.
        due: matrices by the last block that feeds them: tied weights wait for all their callers.
        seams: blocks after which no matrix waits for a later caller: a walk may be taken up there.
    """

    blocks: dict[Matrix, Block]
    position: dict[Block, int]
    due: dict[Block, list[Matrix]]
    seams: frozenset[Block]

    @property
    def last(self) -> Block:
        """The last block, in execution order, that has to be looked at."""
        return list(self.due)[-1]


_AUDIO, _VIDEO = re.compile(r"audio|speech|input_features|input_values"), re.compile(r"video")
_VIDEO_TOWER = re.compile(r"(^|\.)video_")


def unfed(towers: Sequence[Tower], recipe: Recipe, batches: Iterable[Batch]) -> list[Tower]:
    """Towers of sounds or videos that no input reaches, unless the recipe asks for them.

    It does with a sparsity for each modality, or with targets of its own. A recipe that reads no
    data leaves none out.
    """
    keys = {key for batch in batches for key in batch}
    if not keys or isinstance(recipe.sparsity, dict) or recipe.targets != ("*",):
        return []
    lacking = {each for each in (_AUDIO, _VIDEO) if not any(map(each.search, keys))}
    return [
        tower
        for tower in towers
        if (tower.modality is Modality.AUDIO and _AUDIO in lacking)
        or (_VIDEO_TOWER.search(tower.name) and _VIDEO in lacking)
    ]


def find_targets(towers: Sequence[Tower], recipe: Recipe, batches: Iterable[Batch] = ()) -> Targets:
    """Matrices that `targets` names, `ignore` does not and the sparsity covers.

    Args:
        towers: of the model.
        recipe: what to do.
        batches: calibration inputs; towers that are `unfed` by them are left dense.

    Raises:
        RecipeError: there are none.
    """
    blocks = [block for tower in towers for block in tower.blocks]
    targets, ignore = Patterns(recipe.targets), Patterns(recipe.ignore)
    left = {
        matrix
        for tower in unfed(towers, recipe, batches)
        for block in tower.blocks
        for matrix in block.matrices
    }
    experts = has_experts(m.name for block in blocks for m in block.matrices)

    def is_meant(matrix: Matrix) -> bool:
        part = steering(matrix.name, experts=experts)
        return (
            recipe.sparsity_of(matrix.modality) > 0
            and matrix not in left
            and targets.match(*_names(matrix))
            and not ignore.match(*_names(matrix))
            and (part is None or names_steering(recipe.targets, part))
        )

    found = {m: block for block in blocks for m in block.matrices if is_meant(m)}
    if not found and not any(_sparsities(recipe)):
        raise RecipeError("sparsity is 0 for the whole model, so nothing would be pruned")
    if not found:
        raise RecipeError(
            f"no matrix matches targets={list(recipe.targets)} ignore={list(recipe.ignore)}"
        )
    order = {
        module: index for index, block in enumerate(blocks) for module in block.module.modules()
    }
    position = {block: index for index, block in enumerate(blocks)}
    spans = {
        matrix: [position[block], *(order[c] for c in matrix.callers if c in order)]
        for matrix, block in found.items()
    }
    last = {matrix: max(span) for matrix, span in spans.items()}
    open_ = {at for span in spans.values() for at in range(min(span), max(span))}
    seams = frozenset(block for at, block in enumerate(blocks) if at not in open_)
    due: dict[Block, list[Matrix]] = defaultdict(list)
    for matrix in sorted(found, key=last.__getitem__):
        due[blocks[last[matrix]]].append(matrix)
    return Targets(found, position, dict(due), seams)


def coverage_of(adapter: Adapter, recipe: Recipe, targets: Targets) -> Coverage:
    """What the recipe reaches of the model."""
    reached = Counter[int]()
    for matrix in targets.blocks:
        reached[id(matrix.parameter)] += matrix.numel
    known = {id(matrix.parameter): matrix for matrix in adapter.matrices}
    experts = has_experts(matrix.name for matrix in adapter.matrices)
    inside = {
        id(stored(parameter))
        for stack in find_stacks(adapter.model)
        for _, block in stack.blocks
        for parameter in block.parameters()
    }
    seen: set[int] = set()
    found = []
    for path, module in adapter.model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            here = id(stored(parameter))
            if here in seen:
                continue
            seen.add(here)
            full = f"{path}.{name}" if path else name
            in_block = here in inside or here in known
            if here in known:
                matrix = known[here]
                reason = why_not(recipe, matrix.modality, _names(matrix), experts=experts)
            else:
                reason = _why_no_matrix(adapter, full, module, in_block=in_block)
            found.append(Covered(full, parameter.numel(), reached[here], in_block, reason))
    files = adapter.loaded.checkpoint.tensors
    found += [Covered(key, files[key].numel, 0, False, UNREAD) for key in adapter.unread]
    return Coverage.of(found)


def _why_no_matrix(adapter: Adapter, name: str, module: nn.Module, *, in_block: bool) -> str:
    if isinstance(module, nn.Embedding):
        return EMBEDDING
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return CONVOLUTION
    if name in adapter.irreversible:
        return IRREVERSIBLE
    if any(name.startswith(f"{bridge}.") for bridge in adapter.bridges):
        return BRIDGE
    if isinstance(module, nn.Linear) and name.endswith(".weight") and not in_block:
        untyped: Any = adapter.model
        return HEAD if module is untyped.get_output_embeddings() else OUTSIDE
    return NO_LINEAR_LAYER


def _names(matrix: Matrix) -> tuple[str, ...]:
    return given_as(matrix.name, matrix.file_key, *matrix.copies)


def _sparsities(recipe: Recipe) -> Iterable[float]:
    return recipe.sparsity.values() if isinstance(recipe.sparsity, dict) else [recipe.sparsity]


def check_patterns(model: nn.Module, towers: Sequence[Tower], recipe: Recipe) -> list[str]:
    """Refuse a recipe that has a pattern for nothing.

    Args:
        model: whose modules may be ignored, also those that are never pruned.
        towers: what can be pruned of it.
        recipe: what to prune.

    Returns:
        Warnings: patterns that match nothing, where the recipe allows that.

    Raises:
        PatternUnmatchedError: a pattern matches nothing.
    """
    found = [m for tower in towers for block in tower.blocks for m in block.matrices]
    matrices = {m.name for m in found}
    known = {name for matrix in found for name in _names(matrix)}
    unmatched = Patterns(recipe.targets).unmatched(known)
    refuse_targets(unmatched, near_names(unmatched[0], matrices) if unmatched else "")
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    modules = {*names, *(name.rpartition(".")[0] for name in names), *known}
    unmatched = Patterns(recipe.ignore).unmatched(modules)
    if recipe.allow_unmatched:
        return [f"ignore: {pattern!r} matches no module." for pattern in unmatched]
    refuse_ignored(unmatched, near_names(unmatched[0], modules) if unmatched else "")
    return []
