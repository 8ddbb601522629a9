"""What a model will be after its structure is taken out, as far as names and shapes tell.

The worker decides by the model's classes and what passes through its blocks; these rules on names
and shapes stand in for it where no weight is read, and refuse what they know it would refuse.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from app.planning.depth import Blocks, Tensors, dead_blocks, part_of, shallower
from app.planning.experts import (
    chosen_experts,
    counted_experts,
    experts_kept,
    holds_experts,
    without_experts,
)
from app.planning.heads import check_norms, heads_kept, heads_of, says_no_width, without_heads
from app.planning.memory import modality_of, tokens_of
from app.planning.model_files.files import number, section
from app.planning.model_files.headers import StoredTensor
from app.planning.model_files.outlines import Outline
from app.recipes.modality import Modality
from app.recipes.recipe import Recipe
from app.recipes.routing_report import ROUTER_FILE
from app.recipes.structure import (
    ConfigurationError,
    Experts,
    Step,
    StructureError,
    UnevenError,
    Width,
    WiringError,
    channels_kept,
)
from app.recipes.structure_report import StructureReport, TowerStructure

_BLOCK = re.compile(r"^(?P<tower>.*?)\.(?P<number>\d+)\.(?P<path>.*)$")
_HEAD = re.compile(r"^(?P<tower>.*vision_model\.head)\.(?P<path>.*)$")
_ATTENTION = re.compile(r"att(ention|n)", re.IGNORECASE)
_EXPERTS = re.compile(r"experts?\b|block_sparse_moe")
_FIXED = {"bloom": "four times hidden_size"}
_MATRIX = 2  # dimensions


@dataclass(frozen=True, slots=True)
class PlannedStructure:
    """What a recipe's steps come to.

    Attributes:
        outline: of the model that is left; where its tensors lie in their files means nothing.
        report: what is taken out.
        notes: sentences.
    """

    outline: Outline
    report: StructureReport
    notes: tuple[str, ...]


def plan_structure(outline: Outline, recipe: Recipe) -> PlannedStructure:
    """The model after the recipe's steps, what that takes out, and what is worth knowing.

    Args:
        outline: of the model.
        recipe: with a structure.

    Raises:
        StructureError: one of its kinds; the message says which part cannot be made smaller.
    """
    if ROUTER_FILE in outline.unread:
        raise StructureError(
            f"beside the model lies {ROUTER_FILE}, a router that was trained for it as it is and "
            "would be of no use to a smaller one; make the model smaller without it, and train a "
            "router for the result"
        )
    tensors: Tensors = outline.tensors
    notes: list[str] = []
    widths: dict[str, tuple[int, int]] = {}
    counts: dict[str, tuple[int, int]] = {}
    for step in recipe.structure:
        if tensors and not any(map(step.takes_from, modalities_in(outline, recipe))):
            raise WiringError(f"no part of the model has what {step.kind} is to take out")
        towers = _towers(tensors, step, recipe)
        if isinstance(step, Width):
            tensors = _with_fewer_heads(tensors, step, outline.config)
            meant = {n: b for n, b in towers.items() if step.share_of(modality_of(f"{n}.0."))}
            for name, blocks in _with_mlps(tensors, meant).items():
                tensors, widths[name] = _narrower(tensors, name, blocks, step, outline.config)
        elif isinstance(step, Experts):
            for name, blocks in _with_experts(tensors, towers, outline.config).items():
                tensors, counts[name] = _thinner(tensors, name, blocks, step, outline.config)
        else:
            notes += dead_blocks(outline.config, towers) if step.keep is None else ()
            for name, blocks in towers.items():
                tensors = shallower(tensors, name, blocks, step, outline.config)
    report = _report(outline, tensors, widths, counts)
    return PlannedStructure(replace(outline, tensors=tensors), report, tuple(notes))


def _stacks(tensors: Tensors) -> dict[str, Blocks]:
    """The stacks of blocks with matrices; a head that pools is a block of its own."""
    found: dict[str, Blocks] = defaultdict(lambda: defaultdict(dict))
    for key in tensors:
        if match := _BLOCK.match(key):
            found[match["tower"]][int(match["number"])][match["path"]] = key
        elif match := _HEAD.match(key):
            found[match["tower"]][0][match["path"]] = key
    return {
        name: blocks
        for name, blocks in found.items()
        if any(len(tensors[key].shape) == _MATRIX for key in blocks[min(blocks)].values())
    }


def modalities_in(outline: Outline, recipe: Recipe) -> set[Modality]:
    """Those of the stacks that a recipe's structure may take from."""
    found = {modality_of(f"{name}.0.") for name in _stacks(outline.tensors)}
    return found if recipe.include_bridge else found - {Modality.BRIDGE}


def _towers(tensors: Tensors, step: Step, recipe: Recipe) -> dict[str, Blocks]:
    """The stacks that the step asks something of."""
    return {
        name: blocks
        for name, blocks in _stacks(tensors).items()
        if step.takes_from(modality := modality_of(f"{name}.0."))
        and (modality is not Modality.BRIDGE or recipe.include_bridge)
        and (isinstance(step, Width) or not _HEAD.match(f"{name}.0"))
    }


def _with_mlps(tensors: Tensors, towers: Mapping[str, Blocks]) -> dict[str, Blocks]:
    """The stacks with an MLP: names show some that are no towers, such as heads of several layers.

    Raises:
        WiringError: none of a modality has one.
    """
    found, lacking = dict[str, Blocks](), dict[Modality, WiringError]()
    for name, blocks in towers.items():
        try:
            for paths in blocks.values():
                _mlp(tensors, name, paths)
            found[name] = blocks
        except WiringError as error:
            lacking[modality_of(f"{name}.0.")] = error
    for modality, why in lacking.items():
        if modality not in {modality_of(f"{name}.0.") for name in found}:
            raise why
    return found


def _with_experts(
    tensors: Tensors, towers: Mapping[str, Blocks], config: Mapping[str, Any]
) -> dict[str, Blocks]:
    """The stacks with mixtures of experts.

    Raises:
        WiringError: there are none, or attention is routed too.
    """
    count, _ = counted_experts(config)
    found = {
        name: blocks
        for name, blocks in towers.items()
        if any(
            holds_experts(path, tensors[key].shape, count)
            for paths in blocks.values()
            for path, key in paths.items()
        )
    }
    if not found:
        raise WiringError(
            "no part of the model that was asked for has experts, by the names and shapes of its "
            "tensors; give the share for the modality that has them, or leave the step out"
        )
    for name, blocks in found.items():
        paths = {path for each in blocks.values() for path in each}
        if attention := next((p for p in paths if re.search(r"att\w*\.experts\.", p)), None):
            raise WiringError(
                f"{name}: {attention} shows that its attention is routed by as many experts; which "
                "of them belong together is not understood"
            )
    return found


def _thinner(
    tensors: Tensors, name: str, blocks: Blocks, step: Experts, config: Mapping[str, Any]
) -> tuple[dict[str, StoredTensor], tuple[int, int]]:
    """The tensors with fewer experts in every mixture; how many there were, and are."""
    count, part = counted_experts(config)
    if not count:
        raise ConfigurationError(
            f"{name}: no number of config.json says how many experts its mixtures have"
        )
    kept = experts_kept(count, step.share_of(modality_of(f"{name}.0.")), part, name)
    extra = number(part, "zero_expert_num")
    left = dict(tensors)
    for path, key in (each for paths in blocks.values() for each in paths.items()):
        shape = without_experts(path, tensors[key].shape, count, kept, extra)
        if shape is None:
            del left[key]
        elif shape != tensors[key].shape:
            left[key] = _shaped(tensors[key], shape)
    return left, (count, kept)


def _with_fewer_heads(tensors: Tensors, step: Width, config: Mapping[str, Any]) -> Tensors:
    """The tensors with fewer heads in the attentions of the towers that are asked for.

    Raises:
        ConfigurationError: the configuration cannot say how wide a head is.
        NormError: a norm is over all heads.
        NothingLeftError: no head would go, or none stay.
    """
    left = dict(tensors)
    for name, blocks in _stacks(tensors).items():
        modality = modality_of(f"{name}.0.")
        share = step.heads_of(modality)
        if not share or _HEAD.match(f"{name}.0") or modality is Modality.BRIDGE:
            continue
        part = part_of(config, modality)
        heads = heads_of(part)
        if heads is None or says_no_width(part):
            raise ConfigurationError(
                f"{name}: no numbers of config.json say how many heads its attention has and how "
                "wide a head is; leave heads_removed out for it"
            )
        kept = heads_kept(heads, share, name)
        for at, paths in blocks.items():
            attention = {p: tensors[key].shape for p, key in paths.items() if _ATTENTION.search(p)}
            check_norms(attention, heads, f"{name}.{at}")
            for path, shape in attention.items():
                key = paths[path]
                left[key] = _shaped(tensors[key], without_heads(path, shape, heads, kept))
    return left


def _narrower(
    tensors: Tensors, name: str, blocks: Blocks, step: Width, config: Mapping[str, Any]
) -> tuple[dict[str, StoredTensor], tuple[int, int]]:
    """The tensors with fewer channels in the MLPs of a tower; how many there were, and are."""
    kind = str(section(config, "text_config").get("model_type"))
    if kind in _FIXED:
        raise ConfigurationError(
            f"{name}: the MLPs of {kind} have {_FIXED[kind]} channels, which no number of "
            "config.json says"
        )
    found = {number: _mlp(tensors, name, paths) for number, paths in blocks.items()}
    widths = sorted({width for width, _ in found.values()})
    if len(widths) > 1:
        raise UnevenError(
            f"{name}: its MLPs have {', '.join(map(str, widths[:4]))} channels, and one number is "
            "to say how many there are"
        )
    kept = channels_kept(widths[0], step.share_of(modality_of(f"{name}.0.")), step.multiple, name)
    changed = {
        key: _resized(tensors[key], side, widths[0], kept)
        for _, sides in found.values()
        for key, side in sides.items()
    }
    return {**tensors, **changed}, (widths[0], kept)


def _mlp(tensors: Tensors, tower: str, paths: Mapping[str, str]) -> tuple[int, dict[str, int]]:
    """Channels of the MLP of a block, and which dimension of which tensors they are.

    A matrix of an MLP has the hidden size on one side, and on the other the channels, or twice as
    many where two projections are fused.
    """
    if any(_EXPERTS.search(path) for path in paths):
        raise WiringError(
            f"{tower}: its blocks are mixtures of experts, whose widths are left alone; give "
            "mlp_removed for the other modalities"
        )
    shapes = {path: tensors[key].shape for path, key in paths.items()}
    sizes = Counter(size for shape in shapes.values() if len(shape) <= _MATRIX for size in shape)
    hidden = max(sizes, key=lambda size: (sizes[size], -size), default=0)
    others: dict[str, tuple[int, int]] = {}  # the side that is not hidden, and its size
    for path, shape in shapes.items():
        if len(shape) == _MATRIX and hidden in shape and not _ATTENTION.search(path):
            side = 0 if shape[1] == hidden else 1
            others[path] = side, shape[side]
    found = [
        width
        for side, width in others.values()
        if any(at != side and size in {width, 2 * width} for at, size in others.values())
        or (width == hidden and len(others) > 1)
    ]
    if not found:
        raise WiringError(f"{tower}: no MLP is found in its blocks, by the shapes of its matrices")
    width = max(found)
    cut = {}
    for path, (side, size) in others.items():
        if size in {width, 2 * width}:
            cut[paths[path]] = side
            bias = f"{path.removesuffix('.weight')}.bias"
            if bias in paths and shapes[bias] == (size,) and size != hidden:
                cut[paths[bias]] = 0
    return width, cut


def _resized(tensor: StoredTensor, side: int, width: int, kept: int) -> StoredTensor:
    """A tensor with fewer channels on one side."""
    shape = list(tensor.shape)
    shape[side] = shape[side] // width * kept
    return _shaped(tensor, tuple(shape))


def _shaped(tensor: StoredTensor, shape: tuple[int, ...]) -> StoredTensor:
    """A tensor of another shape; where it lies in its file means nothing."""
    return StoredTensor(shape, tensor.dtype, tensor.file)


def _report(
    outline: Outline,
    after: Tensors,
    widths: Mapping[str, tuple[int, int]],
    counts: Mapping[str, tuple[int, int]],
) -> StructureReport:
    before = outline.tensors
    count, _ = counted_experts(outline.config)
    chosen = chosen_experts(outline.config)
    towers = []
    for name, blocks in _stacks(before).items():
        experts = {
            key
            for paths in blocks.values()
            for path, key in paths.items()
            if holds_experts(path, before[key].shape, count)
        }
        had, has = counts.get(name, (count, count) if experts else (None, None))
        keys = [key for paths in blocks.values() for key in paths.values()]
        left = {number for number, paths in blocks.items() if set(paths.values()) & after.keys()}
        old, new = [before[key] for key in keys], [after[key] for key in keys if key in after]
        width, kept = widths.get(name, (None, None))
        towers.append(
            TowerStructure(
                name=name,
                modality=modality_of(f"{name}.0."),
                blocks=len(blocks),
                blocks_kept=len(left),
                width=width,
                width_kept=kept,
                experts=had,
                experts_kept=has,
                parameters=_numel(old),
                parameters_kept=_numel(new),
                bytes=sum(tensor.bytes for tensor in old),
                bytes_kept=sum(tensor.bytes for tensor in new),
                flops=_operations(before, keys, experts, chosen, had),
                flops_kept=_operations(after, keys, experts, chosen, has),
                tokens=tokens_of(outline.config, modality_of(f"{name}.0.")),
            )
        )
    return StructureReport(
        towers=tuple(towers),
        parameters=_numel(before.values()),
        parameters_kept=_numel(after.values()),
        bytes=sum(tensor.bytes for tensor in before.values()),
        bytes_kept=sum(tensor.bytes for tensor in after.values()),
    )


def _operations(
    tensors: Tensors, keys: Iterable[str], experts: Collection[str], chosen: int, count: int | None
) -> int:
    """Of the matrices for a token, which a few of the experts see."""
    left = [key for key in keys if key in tensors]
    dense = (tensors[k] for k in left if k not in experts and len(tensors[k].shape) == _MATRIX)
    found = _numel(dense)
    if count:
        found += _numel(tensors[k] for k in left if k in experts) * min(chosen, count) // count
    return 2 * found


def _numel(tensors: Iterable[StoredTensor]) -> int:
    return sum(tensor.numel for tensor in tensors)
