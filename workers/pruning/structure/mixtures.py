"""The mixtures of experts of a model, and what of its parameters and files belongs to which expert.

Found by trying, as the number that says how many there are: what changes its shape with that number
holds something of every expert, one after the other along the side that changes.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from app.planning.experts import expert_groups, experts_kept
from app.recipes.structure import ConfigurationError, Experts, UnevenError, WiringError
from workers.pruning.memory import stored
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.conversions import Assembled, Unit
from workers.pruning.models.files import FileKeys, read_json
from workers.pruning.models.layout.experts import (
    ExpertOutputs,
    experts_of,
    outputs_of_experts,
)
from workers.pruning.models.layout.structure import Block, Tower
from workers.pruning.structure.cut import Cut
from workers.pruning.structure.setting import Setting, Shapes, Trials, leaves


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """Experts among which a router chooses.

    Attributes:
        name: path of the module that holds the experts.
        block: it lies in.
        tower: of the block.
        outputs: is shown what each expert gives.
        packed: names of the parameters that hold the experts.
        count: how many experts there are.
    """

    name: str
    block: Block
    tower: Tower
    outputs: ExpertOutputs
    packed: tuple[str, ...]
    count: int

    @property
    def home(self) -> str:
        """What the names of all that belongs to the mixture begin with, its router included."""
        return f"{self.name.rpartition('.')[0]}."


@dataclass(frozen=True, slots=True)
class Side:
    """Where a parameter holds something of every expert.

    Attributes:
        dimension: along which it does.
        each: entries of one expert.
        tail: entries after the experts, which belong to none of them and stay.
    """

    dimension: int
    each: int
    tail: int

    def kept(self, experts: Tensor, count: int) -> Tensor:
        """Entries of the experts that stay, of `count`, and of the tail."""
        first = count * self.each
        left = (experts[:, None] * self.each + torch.arange(self.each)).flatten()
        return torch.cat([left, torch.arange(first, first + self.tail)])


@dataclass(frozen=True, slots=True)
class Family:
    """Mixtures that have one number of experts together.

    Attributes:
        mixtures: in execution order.
        sides: of the parameters and buffers that hold something of every expert, by name.
        kept: how many experts stay in each.
        groups: of neighbours that as many have to stay in each of.
        setting: what says so.
    """

    mixtures: tuple[Mixture, ...]
    sides: Mapping[str, Side]
    kept: int
    groups: int
    setting: Setting

    def of(self, mixture: Mixture) -> dict[str, Side]:
        """What belongs to a mixture."""
        return {name: s for name, s in self.sides.items() if name.startswith(mixture.home)}


def find_families(adapter: Adapter, settings: Experts) -> list[Family]:
    """The mixtures that are asked for, with the number of the configuration that each hangs on.

    Raises:
        StructureError: one of its kinds.
    """
    towers = [tower for tower in adapter.towers if settings.share_of(tower.modality) > 0]
    left = [mixture for tower in towers for mixture in mixtures_of(tower)]
    if not left:
        raise WiringError(
            "no tower of the model that was asked for has experts that a router chooses among, or "
            "they are stored in a way that is not understood"
        )
    trials = Trials(adapter.model, read_json(adapter.loaded.directory, "config.json"))
    found: list[Family] = []
    while left:
        family = _family(trials, left, settings)
        found.append(family)
        left = [mixture for mixture in left if mixture not in family.mixtures]
    return found


def mixtures_of(tower: Tower) -> list[Mixture]:
    """Those of a tower, in execution order.

    Raises:
        WiringError: a block has experts that more than one router chooses among.
    """
    found: list[Mixture] = []
    for block in tower.blocks:
        for path, module in block.module.named_modules():
            outputs, packed = outputs_of_experts(module), experts_of(module)
            name = f"{block.name}.{path}"
            if outputs is not None:
                names = tuple(f"{name}.{path}" for each in packed for path in each.names())
                found.append(Mixture(name, block, tower, outputs, names, packed[-1].count))
            elif len(packed) == 1:
                raise WiringError(
                    f"{name}: each projection of its experts stands alone, as where attention is "
                    "routed too; which of them belong together is not understood"
                )
    homes = [mixture.home for mixture in found]
    if len(set(homes)) < len(homes):
        raise WiringError(f"{tower.name}: several mixtures of experts lie in one module")
    return found


def _family(trials: Trials, left: Sequence[Mixture], settings: Experts) -> Family:
    first = left[0]
    share = settings.share_of(first.tower.modality)
    where = first.tower.name
    counts = sorted({each.count for each in left if each.tower is first.tower})
    if len(counts) > 1:
        raise UnevenError(
            f"{where}: its layers have {', '.join(map(str, counts[:4]))} experts, and one number "
            "is to say how many there are"
        )
    tried: list[str] = []
    for path in _candidates(trials, first.count):
        section = _at(trials.whole, path[:-1])
        groups = expert_groups(section, first.count)
        probed = trials.changes(Setting(path, max(groups, first.count - groups)))
        if not probed or first.packed[0] not in probed:
            continue
        kept = experts_kept(first.count, share, section, where)
        setting = Setting(path, kept)
        changes = trials.changes(setting) or {}
        mixtures = tuple(m for m in left if any(n.startswith(m.home) for n in changes))
        shares = {settings.share_of(mixture.tower.modality) for mixture in mixtures}
        if len(shares) > 1:
            raise ConfigurationError(
                f"{setting} says how many experts several modalities have; give them one share"
            )
        sides = _sides(trials, changes, mixtures, kept)
        if isinstance(sides, str):
            tried.append(f"{setting} changes {sides} too")
            continue
        return Family(mixtures, sides, kept, groups, setting)
    said = f"; {tried[0]}" if tried else ""
    raise ConfigurationError(
        f"{where}: no number of config.json says that it has {first.count} experts, and nothing "
        f"else{said}"
    )


def _candidates(trials: Trials, count: int) -> Iterator[tuple[str, ...]]:
    """Paths of numbers that may count the experts."""
    seen = set()
    for path, value in leaves(trials.config, trials.whole):
        if type(value) is int and value == count and "expert" in path[-1] and path not in seen:
            seen.add(path)
            yield path


def _at(config: Mapping[str, Any], path: Sequence[str]) -> Mapping[str, Any]:
    for name in path:
        found = config.get(name)
        config = found if isinstance(found, Mapping) else {}
    return config


def _sides(
    trials: Trials, changes: Shapes, mixtures: Collection[Mixture], kept: int
) -> dict[str, Side] | str:
    """Where what changes holds its experts; the name of something that does not."""
    found: dict[str, Side] = {}
    for name, shape in changes.items():
        owners = [mixture for mixture in mixtures if name.startswith(mixture.home)]
        own = trials.own[name]
        apart = [at for at, (old, new) in enumerate(zip(own, shape, strict=True)) if old != new]
        if len(owners) != 1 or len(own) != len(shape) or len(apart) != 1:
            return name
        at, count = apart[0], owners[0].count
        old, new = own[at], shape[at]
        if old % count == 0 and new == old // count * kept:
            found[name] = Side(at, old // count, 0)
        elif old - new == count - kept and old > count:
            found[name] = Side(at, 1, old - count)
        else:
            return name
    for mixture in mixtures:
        if missing := [name for name in mixture.packed if name not in found]:
            return f"all but {missing[0]}, which it should change"
    return found


class Pieces:
    """The tensors of the files that hold the experts of a mixture."""

    def __init__(self, model: nn.Module, keys: FileKeys, mixture: Mixture, family: Family) -> None:
        """Look them up.

        Raises:
            WiringError: they are put together in the model in a way that cannot be followed.
        """
        self._count = mixture.count
        self._sides: dict[str, Side] = {}  # by key
        self._apart: list[list[list[str]]] = []  # keys by expert, the tail last
        values = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers())
        for name, side in family.of(mixture).items():
            value = stored(values[name])
            place = keys.places.get(name)
            if isinstance(value, Assembled):
                self._take_assembled(name, value, side)
            elif place is not None and place.row == 0 and name not in keys.converted:
                self._sides[place.key] = side
            else:
                raise _strange(name)

    def _take_assembled(self, name: str, value: Assembled, side: Side) -> None:
        """Tensors of single experts, or of all of them in their order."""
        if side.dimension != 0 or side.each != 1:
            raise _strange(name)
        owners = value.owner.view(self._count + side.tail, -1)
        units = [[value.units[u] for u in torch.unique(rows).tolist()] for rows in owners]
        if _alone(units):
            self._apart.append([[unit.key for unit in parts] for parts in units])
            return
        for number, parts in enumerate(units):
            for unit in parts:
                if unit.expert != (number, len(units)):
                    raise _strange(name)
                self._sides[unit.key] = Side(0, 1, side.tail)

    def left(self, kept: Tensor) -> tuple[dict[str, Cut], dict[str, str | None]]:
        """What stays of tensors, and what tensors are called then, by key; None: they go."""
        cuts = {
            key: Cut(side.dimension, side.kept(kept, self._count))
            for key, side in self._sides.items()
        }
        names: dict[str, str | None] = {}
        for each in self._apart:
            names |= {key: None for keys in each for key in keys}
            order = [*kept.tolist(), *range(self._count, len(each))]
            for place, number in enumerate(order):
                names |= dict(zip(each[number], each[place], strict=True))
        return cuts, names


def _alone(units: Sequence[Sequence[Unit]]) -> bool:
    """Whether every expert has tensors of its own, as many as every other."""
    every = [unit for parts in units for unit in parts]
    apart = len({unit.key for unit in every}) == len(every)
    return apart and all(u.expert is None for u in every) and len({len(p) for p in units}) == 1


def _strange(name: str) -> WiringError:
    return WiringError(
        f"{name} is put together from other tensors of the files, which cannot be cut by experts"
    )
