"""Parts of blocks whose width hangs on one number of the configuration: MLPs, or attention."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from app.recipes.structure import (
    ConfigurationError,
    UnevenError,
    Width,
    WiringError,
    channels_kept,
)
from workers.pruning.memory import stored
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.files import read_json
from workers.pruning.models.layout.structure import Block, Tower
from workers.pruning.structure.attention import Attention, find_attentions
from workers.pruning.structure.cut import Files
from workers.pruning.structure.mlp import Mlp, find_mlp
from workers.pruning.structure.setting import Setting, Settings, Shapes, Trials


@dataclass(frozen=True, slots=True)
class Group:
    """MLPs, or attentions, that have one number of channels together.

    Attributes:
        mlps: by the block they lie in.
        outside: those that lie in no block that is walked through, such as a head that pools.
        kept: how many channels stay.
        setting: what says so.
    """

    mlps: Mapping[Block, Mlp | Attention]
    outside: tuple[Mlp, ...]
    kept: int
    setting: Setting | Settings


def find_groups(adapter: Adapter, settings: Width) -> list[Group]:
    """The MLPs that are asked for, with the number of the configuration that each hangs on.

    Raises:
        StructureError: one of its kinds.
    """
    found: dict[Block, Mlp] = {}
    for tower in adapter.towers:
        if settings.share_of(tower.modality) > 0:
            found |= _mlps(tower)
    if not found:
        raise WiringError("no tower of the model has what was asked to be narrowed")
    homes = {block: tower for tower in adapter.towers for block in tower.blocks}
    trials = Trials(adapter.model, read_json(adapter.loaded.directory, "config.json"))
    groups: list[Group] = []
    left = dict(found)
    while left:
        block, mlp = next(iter(left.items()))
        group = _group(trials, homes[block], mlp, left, settings)
        shares = {settings.share_of(homes[each].modality) for each in group.mlps}
        if len(shares) > 1:
            raise ConfigurationError(
                f"{group.setting} says how many channels the MLPs of several modalities have; give "
                "them one share"
            )
        groups.append(group)
        left = {each: mlp for each, mlp in left.items() if each not in group.mlps}
    every = [*found.values(), *(mlp for group in groups for mlp in group.outside)]
    names = [f"{path}.{attribute}" for path, attribute in _parameters(every)]
    Files(adapter).check(names)
    _check_alone(adapter, found)
    return groups


def find_heads(adapter: Adapter, settings: Width) -> list[Group]:
    """The attentions that are asked for, tower by tower.

    Raises:
        StructureError: one of its kinds.
    """
    towers = [tower for tower in adapter.towers if settings.heads_of(tower.modality) > 0]
    if not towers:
        raise WiringError("no tower of the model has what was asked to have fewer heads")
    trials = Trials(adapter.model, read_json(adapter.loaded.directory, "config.json"))
    groups = []
    for tower in towers:
        found, kept, setting = find_attentions(trials, tower, settings)
        groups.append(Group(found, (), kept, setting))
        names = {f"{path}.{name}" for each in found.values() for path, name in _cut_names(each)}
        Files(adapter).check(names)
        _check_alone(adapter, found)
    return groups


def _cut_names(part: Mlp | Attention) -> Iterator[tuple[str, str]]:
    for path, _, attribute, _, _ in part.cuts(torch.arange(part.unit)):
        yield path, attribute
    if getattr(part.reader, "bias", None) is not None:
        yield part.name, "bias"


def _mlps(tower: Tower) -> dict[Block, Mlp]:
    found = {block: find_mlp(block.name, block.module) for block in tower.blocks}
    mlps = {block: mlp for block, mlp in found.items() if mlp is not None}
    if not mlps:
        raise WiringError(
            f"{tower.name}: no MLP is found in its blocks; give mlp_removed for other modalities"
        )
    widths = sorted({mlp.width for mlp in mlps.values()})
    if len(widths) > 1:
        raise UnevenError(
            f"{tower.name}: its MLPs have {', '.join(map(str, widths[:4]))} channels, and one "
            "number is to say how many there are"
        )
    return mlps


def _group(
    trials: Trials, tower: Tower, first: Mlp, known: Mapping[Block, Mlp], settings: Width
) -> Group:
    """The MLPs whose channels change with the number that those of the first one hang on."""
    share = settings.share_of(tower.modality)
    kept = channels_kept(first.width, share, settings.multiple, tower.name)
    hidden = _hidden(first)
    tried: list[str] = []
    for setting in trials.candidates(first.width, kept, hidden):
        changes = trials.changes(setting)
        if not changes or f"{first.name}.weight" not in changes:
            continue
        mlps = {
            block: mlp
            for block, mlp in known.items()
            if mlp.width == first.width and f"{mlp.name}.weight" in changes
        }
        outside = _outside(trials.model, changes, mlps.values())
        if (strange := _strange(changes, [*mlps.values(), *outside], kept)) is None:
            return Group(mlps, outside, kept, setting)
        tried.append(f"{setting} changes {strange} too")
    said = f"; {tried[0]}" if tried else ""
    raise ConfigurationError(
        f"{tower.name}: no number of config.json says that its MLPs have {first.width} channels, "
        f"and nothing else{said}"
    )


def _outside(model: nn.Module, changes: Shapes, mlps: Collection[Mlp]) -> tuple[Mlp, ...]:
    """MLPs beside the known ones among the parameters that change."""
    known = {f"{path}.{attribute}" for path, attribute in _parameters(mlps)}
    owners = {name.rpartition(".")[0].rpartition(".")[0] for name in changes.keys() - known}
    found = (find_mlp(owner, model.get_submodule(owner)) for owner in sorted(owners))
    return tuple(mlp for mlp in found if mlp is not None)


def _strange(changes: Shapes, mlps: Collection[Mlp], kept: int) -> str | None:
    """A parameter that changes and belongs to none of the MLPs, or not as they do."""
    expected: dict[str, tuple[int, ...]] = {}
    indices = torch.arange(kept)
    for mlp in mlps:
        for path, module, attribute, dimension, left in mlp.cuts(indices):
            sizes = list(getattr(module, attribute).shape)
            sizes[dimension] = len(left)
            expected[f"{path}.{attribute}"] = tuple(sizes)
    for name, shape in changes.items():
        if expected.get(name) != shape:
            return name
    return next((name for name in expected if name not in changes), None)


def _hidden(mlp: Mlp) -> int:
    weight: Any = mlp.makers[0][1].weight
    sizes = set(weight.shape) - {mlp.width, 2 * mlp.width}
    return int(min(sizes, default=mlp.width))


def _parameters(mlps: Collection[Mlp]) -> Iterator[tuple[str, str]]:
    return (name for mlp in mlps for name in _cut_names(mlp))


def _check_alone(adapter: Adapter, mlps: Mapping[Block, Mlp | Attention]) -> None:
    """Refuse parts that share weights with others."""
    owners: dict[int, set[Block]] = defaultdict(set)
    for block in (block for tower in adapter.towers for block in tower.blocks):
        for parameter in block.module.parameters():
            owners[id(stored(parameter))].add(block)
    for mlp in mlps.values():
        if len(owners[id(stored(mlp.reader.weight))]) > 1:  # type: ignore[arg-type]  # a parameter
            raise WiringError(f"{mlp.name}: several blocks share its weights")
