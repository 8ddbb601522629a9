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
from app.recipes.structure import ConfigurationError, Depth, WiringError, blocks_removed

Tensors: TypeAlias = Mapping[str, StoredTensor]
Blocks: TypeAlias = dict[int, dict[str, str]]  # number -> path in the block -> key

_FEATURES = ("vision_feature_layer", "vision_feature_layers", "feature_layer")
_SECTIONS = {Modality.VISION: "vision_config", Modality.AUDIO: "audio_config"}
_LISTED = re.compile(r"ind(ex|ices|exes)|_layers$|layer_ids$")
_NUMBER = re.compile(r"layer_id$")
_KINDS = ("layer_types", "layers_block_type")
_RECURRENT = re.compile(r"A_log$|conv1d|linear_attn|mamba|(^|\.)conv\.")
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
    """What kind of layer each block is: caches and masks of models are made for each kind.

    Args:
        part: section of the configuration; where it lists no kinds, names of parameters show them.
        blocks: paths of the parameters of each.
    """
    for name in _KINDS:
        listed = part.get(name)
        if isinstance(listed, list | tuple) and len(listed) == len(blocks):
            return [str(each) for each in listed]
    return [
        "linear_attention" if any(_RECURRENT.search(path) for path in paths) else "attention"
        for paths in blocks
    ]


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
    """The tensors without as many blocks as the step takes; which ones, the worker decides.

    The smallest are counted, so that no more is left than is told. A kind of block that only the
    first half has, such as the dense ones before mixtures of experts, stays.
    """
    check_countable(config, name)
    modality = modality_of(f"{name}.0.")
    every = [blocks[number] for number in sorted(blocks)]
    part, count = part_of(config, modality), len(every)
    kinds, dead = kinds_of(part, every), range(count - _unread(config, name, count), count)
    stay = named_blocks(part, count) | (set() if step.ends else {0, count - 1})
    able = [at for at in range(count) if at in dead or at not in stay]
    gone = blocks_removed(count, step.share_of(modality), most_to_go(able, kinds), name)
    size = [sum(tensors[key].numel for key in paths.values()) for paths in every]
    common = {size[at] for at in able[len(able) // 2 :]}
    left_out: set[int] = set()
    for at in sorted(able, key=lambda each: (size[each] not in common, size[each])):
        if len(left_out) < gone and not is_last(at, kinds, left_out):
            left_out.add(at)
    keys = {key for at in left_out for key in every[at].values()}
    return {key: tensor for key, tensor in tensors.items() if key not in keys}
