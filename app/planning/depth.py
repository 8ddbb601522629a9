"""How many blocks of a tower can be left out, and which of them nothing reads."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from app.planning.memory import modality_of
from app.planning.model_files.headers import StoredTensor
from app.recipes.modality import Modality
from app.recipes.structure import Depth, blocks_removed

Tensors: TypeAlias = Mapping[str, StoredTensor]
Blocks: TypeAlias = dict[int, dict[str, str]]  # number -> path in the block -> key

_FEATURES = ("vision_feature_layer", "vision_feature_layers", "feature_layer")


def dead_blocks(config: Mapping[str, Any], towers: Mapping[str, Blocks]) -> list[str]:
    """Blocks of vision towers whose output nothing reads, as config.json tells."""
    found: list[str] = []
    for name, blocks in towers.items():
        dead = _unread(config, len(blocks)) if modality_of(f"{name}.0.") is Modality.VISION else 0
        numbers = sorted(blocks)[len(blocks) - dead :]
        found += [f"{name}.{number}: nothing reads its output; it goes first" for number in numbers]
    return found


def _unread(config: Mapping[str, Any], count: int) -> int:
    """How many of the last blocks are read by nothing: features come from hidden states before."""
    layers = next((config[name] for name in _FEATURES if name in config), None)
    states = layers if isinstance(layers, list) else [layers]
    read = [each if each >= 0 else count + 1 + each for each in states if isinstance(each, int)]
    last = max(read, default=count)
    return max(0, count - last)


def shallower(tensors: Tensors, name: str, blocks: Blocks, step: Depth) -> dict[str, StoredTensor]:
    """The tensors without as many blocks as the step takes; which ones, the worker decides.

    The smallest are counted, so that no more is left than is told. A kind of block that only the
    first half has, such as the dense ones before mixtures of experts, stays.
    """
    numbers = sorted(blocks)
    able = len(numbers) if step.ends else max(0, len(numbers) - 2)
    share = step.share_of(modality_of(f"{name}.0."))
    gone = blocks_removed(len(numbers), share, able, name)
    inner = numbers if step.ends else numbers[1:-1]
    size = {number: sum(tensors[key].numel for key in blocks[number].values()) for number in inner}
    common = {size[number] for number in inner[len(inner) // 2 :]}
    smallest = sorted(inner, key=lambda each: (size[each] not in common, size[each]))
    left_out = {key for number in smallest[:gone] for key in blocks[number].values()}
    return {key: tensor for key, tensor in tensors.items() if key not in left_out}
