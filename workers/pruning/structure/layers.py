"""The configuration and the names of a model without some of the blocks of a tower."""

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.planning.depth import check_countable, is_number, kinds_of, lists_numbers
from app.recipes.modality import Modality
from app.recipes.structure import ConfigurationError, WiringError
from workers.pruning.models.layout.structure import Tower
from workers.pruning.structure.setting import Path, Trials, leaves

_OF_OTHERS = re.compile(r"size|shape|mean|std|grid|resolution|limit|stage_names|out_")
_FEATURES = ("vision_feature_layer", "vision_feature_layers", "feature_layer")


@dataclass(frozen=True, slots=True)
class Layers:
    """Where the configuration counts the blocks of a tower.

    Attributes:
        tower: the tower.
        count: path of the number of blocks.
        lists: paths of lists with an entry for each block.
        indices: paths of lists that name blocks by their numbers.
        numbers: paths of entries that name one block by its number.
        features: paths of numbers, or lists of them, that name hidden states of the tower: 0 is
            what enters it, k what block k - 1 returns; negative ones count from the end.
    """

    tower: Tower
    count: Path
    lists: tuple[Path, ...]
    indices: tuple[Path, ...]
    numbers: tuple[Path, ...]
    features: tuple[Path, ...]

    def named(self, whole: Mapping[str, Any]) -> set[int]:
        """Blocks that the configuration names by their numbers: something hangs on them."""
        listed = {int(each) for path in self.indices for each in _at(whole, path)}
        return listed | {int(_at(whole, path)) for path in self.numbers}

    def kinds(self, whole: Mapping[str, Any]) -> list[str]:
        """What kind of layer each block is."""
        modules = (block.module for block in self.tower.blocks)
        paths = [[name for name, _ in module.named_parameters()] for module in modules]
        return kinds_of(_at(whole, self.count[:-1]), paths)

    def without(
        self, config: Mapping[str, Any], whole: Mapping[str, Any], kept: Sequence[int]
    ) -> dict[str, Any]:
        """The configuration of the model with the kept blocks alone.

        Args:
            config: of config.json.
            whole: the same with every default.
            kept: numbers of blocks, ascending.
        """
        places = {number: place for place, number in enumerate(kept)}
        changed = copy.deepcopy(dict(config))
        _put(changed, self.count, len(kept))
        for path in self.lists:
            values = _at(whole, path)
            _put(changed, path, [values[number] for number in kept])
        for path in self.indices:
            found = [places[int(each)] for each in _at(whole, path) if int(each) in places]
            _put(changed, path, found)
        for path in self.numbers:
            _put(changed, path, places.get(number := int(_at(whole, path)), number))
        for path in self.features:
            _put(changed, path, self._states(_at(whole, path), kept))
        self._cut_stages(changed, whole, kept)
        return changed

    def _cut_stages(
        self, changed: dict[str, Any], whole: Mapping[str, Any], kept: Sequence[int]
    ) -> None:
        """Rename the hidden states that a backbone gives out: `stem`, `stage1`, ..."""
        section = self.count[:-1]
        stages, given = (_at(whole, (*section, name)) for name in ("stage_names", "out_indices"))
        if stages and given and len(stages) == len(self.tower.blocks) + 1:
            states = self._states(given, kept)
            _put(changed, (*section, "stage_names"), list(stages[: len(kept) + 1]))
            _put(changed, (*section, "out_indices"), states)
            _put(changed, (*section, "out_features"), [stages[each] for each in states])

    def _states(self, value: Any, kept: Sequence[int]) -> Any:
        """Hidden states by their new numbers: what the last block before them returns now."""
        if isinstance(value, list | tuple):
            return [self._states(each, kept) for each in value]
        before = len(self.tower.blocks) + 1
        state = value if value >= 0 else before + value
        now = sum(number < state for number in kept)
        return now if value >= 0 else now - (len(kept) + 1)


def find_layers(trials: Trials, tower: Tower, gone: int) -> Layers:
    """Where the configuration counts the blocks of a tower.

    Args:
        trials: models of changed configurations.
        tower: whose blocks are counted.
        gone: how many of them are to go.

    Raises:
        ConfigurationError: no number counts them, and nothing else.
        WiringError: they are no plain list.
    """
    check_countable(trials.whole, tower.name)
    total = len(tower.blocks)
    if any(block.name != f"{tower.name}.{n}" for n, block in enumerate(tower.blocks)):
        raise WiringError(f"{tower.name}: its blocks are no plain list, which cannot be renumbered")
    last = tuple(f"{tower.name}.{number}." for number in range(total - gone, total))
    expected = {name for name in trials.own if not name.startswith(last)}
    kept = range(total - gone)
    for path, value in leaves(trials.config, trials.whole):
        if type(value) is int and value == total and not path[-1].endswith("_size"):
            layers = beside(path, tower, trials.whole)
            config = layers.without(trials.config, trials.whole, kept)
            if (found := trials.tried(config)) is not None and found.keys() == expected:
                return layers
    raise ConfigurationError(
        f"{tower.name}: no number of config.json says that it has {total} blocks, and nothing else"
    )


def beside(count: Path, tower: Tower, whole: Mapping[str, Any]) -> Layers:
    """What has to change together with the number of blocks: in the same section, and features."""
    total = len(tower.blocks)
    section = _at(whole, count[:-1])
    lists, indices, numbers = [], [], []
    for name, value in section.items() if isinstance(section, Mapping) else ():
        path = (*count[:-1], name)
        if lists_numbers(name, value, total):
            indices.append(path)
        elif is_number(name, value, total):
            numbers += [path, *([(name,)] if path != (name,) and whole.get(name) == value else [])]
        elif isinstance(value, list | tuple) and len(value) == total:
            lists += [] if _OF_OTHERS.search(name) else [path]
    seen = tower.modality is Modality.VISION
    features = [(name,) for name in _FEATURES if seen and whole.get(name) is not None]
    return Layers(tower, count, tuple(lists), tuple(indices), tuple(numbers), tuple(features))


def _at(config: Any, path: Path) -> Any:
    for name in path:
        config = config.get(name) if isinstance(config, Mapping) else None
    return config


def _put(config: dict[str, Any], path: Path, value: Any) -> None:
    for name in path[:-1]:
        config = config.setdefault(name, {})
    config[path[-1]] = value


def renumbered(
    keys: Sequence[str], stems: Sequence[str], kept: Sequence[int]
) -> Iterator[tuple[str, str | None]]:
    """Keys that begin with a stem and a number, and what they are called then; None: they go."""
    places = {number: place for place, number in enumerate(kept)}
    for key in keys:
        stem = next((each for each in stems if key.startswith(each)), None)
        if stem is None:
            continue
        number, _, rest = key.removeprefix(stem).partition(".")
        if number.isdigit():
            place = places.get(int(number))
            yield key, None if place is None else f"{stem}{place}.{rest}"
