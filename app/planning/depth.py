"""Which blocks of a tower can be left out, as far as the configuration tells."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

from app.planning.memory import modality_of
from app.planning.model_files.files import section
from app.planning.model_files.headers import StoredTensor
from app.recipes.modality import Modality
from app.recipes.structure import (
    ConfigurationError,
    Depth,
    KeepError,
    WiringError,
    blocks_removed,
)

Tensors: TypeAlias = Mapping[str, StoredTensor]
Blocks: TypeAlias = dict[int, dict[str, str]]  # number -> path in the block -> key

_FEATURES = ("vision_feature_layer", "vision_feature_layers", "feature_layer")
_SECTIONS = {Modality.VISION: "vision_config", Modality.AUDIO: "audio_config"}
_LISTED = re.compile(r"ind(ex|ices|exes)|_layers$|layer_ids$")
_NUMBER = re.compile(r"layer_id$")
_KINDS = ("layer_types", "layers_block_type")
_RECURRENT = re.compile(r"A_log$|conv1d|linear_attn|mamba|(^|\.)conv\.")
_ATTENTION = "attention"  # full, sliding, chunked, indexed: what is kept of it grows with tokens
_ATTENDS = re.compile(r"^(?!linear).*attention$")
_PAIRED = ("deepstack_layer_map", "spatial_target_layers")
_TWO_STREAMS = {"lxmert": "x_layers"}


def part_of(config: Mapping[str, Any], modality: Modality) -> Mapping[str, Any]:
    """The section of a configuration that says how a tower is built."""
    return section(config, _SECTIONS.get(modality, "text_config"))


def lists_numbers(name: str, value: Any, count: int) -> bool:
    """Whether an entry beside the number of blocks lists some of them by their numbers."""
    if not isinstance(value, list | tuple) or not value or not _LISTED.search(name):
        return False
    numbers = all(type(each) is int and 0 <= each < count for each in value)
    return name != "out_indices" and numbers and all(one < two for one, two in pairwise(value))


def is_number(name: str, value: Any, count: int) -> bool:
    """Whether an entry beside the number of blocks is the number of one of them."""
    return type(value) is int and 0 <= value < count and _NUMBER.search(name) is not None


def named_blocks(part: Mapping[str, Any], count: int) -> set[int]:
    """Blocks that a section names by their numbers: something hangs on them."""
    lists = [given for name, given in part.items() if lists_numbers(name, given, count)]
    numbers = [given for name, given in part.items() if is_number(name, given, count)]
    return {*numbers, *(each for given in lists for each in given)}


def kinds_of(part: Mapping[str, Any], blocks: Sequence[Iterable[str]]) -> list[str]:
    """What kind of layer each block is, as far as caches differ: all attention but linear is one.

    Args:
        part: section of the configuration; where it lists no kinds, names of parameters show them.
        blocks: paths of the parameters of each.
    """
    for name in _KINDS:
        listed = part.get(name)
        if isinstance(listed, list | tuple) and len(listed) == len(blocks):
            return [_ATTENDS.sub(_ATTENTION, str(each)) for each in listed]
    recurrent = (any(_RECURRENT.search(path) for path in paths) for paths in blocks)
    return ["linear_attention" if each else _ATTENTION for each in recurrent]


def is_last(number: int, kinds: Sequence[str], gone: Collection[int]) -> bool:
    """Whether no other block of its kind is left beside those that are gone."""
    left = (at for at, kind in enumerate(kinds) if kind == kinds[number] and at not in gone)
    return set(left) <= {number}


def most_to_go(able: Iterable[int], kinds: Sequence[str]) -> int:
    """How many of the blocks that are able to go can, so that one of each kind stays."""
    every = Counter(kinds)
    return sum(min(n, every[kind] - 1) for kind, n in Counter(kinds[b] for b in able).items())


def check_countable(config: Mapping[str, Any], tower: str) -> None:
    """Refuse towers whose blocks are tied to others in a way that no renumbering follows.

    Raises:
        ConfigurationError: the configuration names blocks of two towers together.
        WiringError: its blocks hand on two streams of hidden states.
    """
    if paired := [name for name in _PAIRED if config.get(name)]:
        raise ConfigurationError(
            f"{tower}: {paired[0]} of config.json ties layers of the vision tower to layers of the "
            "language model by their numbers; blocks of neither can be left out"
        )
    if tower.endswith(f".{_TWO_STREAMS.get(str(config.get('model_type')))}"):
        raise WiringError(
            f"{tower}: its blocks hand on two streams of hidden states and cannot be left out; "
            "give the share for the other modalities"
        )


def check_keep(
    kept: Sequence[int], named: Collection[int], kinds: Sequence[str], tower: str
) -> None:
    """Refuse numbers of blocks that cannot be all that is left of a tower.

    Args:
        kept: blocks that are to stay, ascending.
        named: blocks that something hangs on.
        kinds: of every block of the tower.
        tower: its name.

    Raises:
        KeepError: the message says what is wrong.
    """
    count, gone = len(kinds), set(range(len(kinds))).difference(kept)
    if kept[-1] >= count:
        raise KeepError(
            f"{tower}: keep names block {kept[-1]}; its {count} blocks are 0 to {count - 1}"
        )
    if not gone:
        raise KeepError(f"{tower}: keep names all of its {count} blocks, so that none goes")
    if hung := sorted(gone.intersection(named)):
        raise KeepError(
            f"{tower}: config.json names {_listed(hung)} by number, and something hangs on what it "
            "names; keep them too"
        )
    if lost := sorted(set(kinds) - {kinds[number] for number in kept}):
        some = [number for number, kind in enumerate(kinds) if kind == lost[0]]
        raise KeepError(
            f"{tower}: keep leaves no block of {lost[0]}, which the model's caches are made for; "
            f"name one of {_listed(some)} too"
        )


def _listed(numbers: Sequence[int]) -> str:
    more = f" and {len(numbers) - 8} more" if len(numbers) > 8 else ""  # noqa: PLR2004
    return ", ".join(map(str, numbers[:8])) + more


def dead_blocks(config: Mapping[str, Any], towers: Mapping[str, Blocks]) -> list[str]:
    """Blocks of vision towers whose output nothing reads, as config.json tells."""
    return [
        f"{name}.{number}: nothing reads its output; it goes first"
        for name, blocks in towers.items()
        for number in sorted(blocks)[len(blocks) - _unread(config, name, len(blocks)) :]
    ]


def _unread(config: Mapping[str, Any], tower: str, count: int) -> int:
    """How many of the last blocks are read by nothing: features come from hidden states before."""
    if modality_of(f"{tower}.0.") is not Modality.VISION:
        return 0
    layers = next((config[name] for name in _FEATURES if name in config), None)
    states = layers if isinstance(layers, list) else [layers]
    read = [each if each >= 0 else count + 1 + each for each in states if isinstance(each, int)]
    last = max(read, default=count)
    return max(0, count - last)


def shallower(
    tensors: Tensors, name: str, blocks: Blocks, step: Depth, config: Mapping[str, Any]
) -> dict[str, StoredTensor]:
    """The tensors without the blocks that the step takes; of a share, the worker decides which.

    The smallest are counted, so that no more is left than is told. A kind of block that only the
    first half has, such as the dense ones before mixtures of experts, stays.
    """
    check_countable(config, name)
    modality = modality_of(f"{name}.0.")
    every = [blocks[number] for number in sorted(blocks)]
    part = part_of(config, modality)
    kinds, named = kinds_of(part, every), named_blocks(part, len(every))
    kept = step.kept_of(modality)
    if kept is not None:
        check_keep(kept, named, kinds, name)
        left_out = set(range(len(every))).difference(kept)
    else:
        dead = range(len(every) - _unread(config, name, len(every)), len(every))
        stay = named | (set() if step.ends else {0, len(every) - 1})
        able = [at for at in range(len(every)) if at in dead or at not in stay]
        gone = blocks_removed(len(every), step.share_of(modality), most_to_go(able, kinds), name)
        size = [sum(tensors[key].numel for key in paths.values()) for paths in every]
        left_out = _smallest(able, size, kinds, gone)
    keys = {key for at in left_out for key in every[at].values()}
    return {key: tensor for key, tensor in tensors.items() if key not in keys}


def _smallest(able: list[int], size: list[int], kinds: list[str], gone: int) -> set[int]:
    common = {size[at] for at in able[len(able) // 2 :]}
    found: set[int] = set()
    for at in sorted(able, key=lambda each: (size[each] not in common, size[each])):
        if len(found) < gone and not is_last(at, kinds, found):
            found.add(at)
    return found
