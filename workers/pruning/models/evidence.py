"""What the parts of a model really see, where that is cheap to find out.

Families without an adapter have their parts told by names. Changing the pixels, sounds or words of
one batch and looking which blocks are then given something else shows what each part depends on.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from app.recipes.modality import Modality
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.layout.replay import Batch

# Parameters x tokens of a batch: three forwards of it take a quarter of a minute on a CPU, and one
# record of a model of seven billion is far beyond.
MOST = 10**11
_SOUNDS = ("input_features", "audio", "speech")
_WORDS = ("input_ids", "decoder_input_ids")
_BOTH = {Modality.BRIDGE, Modality.TEXT, Modality.FUSION, Modality.LANGUAGE}
_ALONE = {
    "images": {Modality.VISION, Modality.BRIDGE},
    "sounds": {Modality.AUDIO, Modality.BRIDGE},
    "words": {Modality.TEXT, Modality.LANGUAGE, Modality.BRIDGE},
}

# Name of a tower -> shape and sums of every tensor that its blocks are called with.
Seen = dict[str, list[tuple[Any, ...]]]


def disagreements(adapter: Adapter, batch: Batch) -> Iterator[str]:
    """Sentences on parts that are called something else than what they depend on.

    Args:
        adapter: of the model; asked only about towers that were guessed.
        batch: of its inputs, run three times.
    """
    guessed = [tower for tower in adapter.towers if tower.guessed]
    parameters = sum(parameter.numel() for parameter in adapter.model.parameters())
    if not guessed or parameters * _tokens(batch) > MOST:
        return
    before = _seen(adapter, batch)
    depends: dict[str, set[str]] = {tower.name: set() for tower in guessed}
    for kind, changed in _changes(adapter, batch).items():
        after = _seen(adapter, {**batch, **changed})
        for name, kinds in depends.items():
            if before.get(name) != after.get(name):
                kinds.add(kind)
    for tower in guessed:
        found = sorted(depends[tower.name])
        if found and tower.modality not in (_ALONE[found[0]] if len(found) == 1 else _BOTH):
            alone = " alone" if len(found) == 1 else ""
            yield (
                f"{tower.name} is taken for {tower.modality} by its name, and what it is given "
                f"depends on {' and '.join(found)}{alone}; sparsities per modality count it as "
                f"{tower.modality}."
            )


def _tokens(batch: Batch) -> int:
    """Of texts; of images at least as many numbers as a patch of 16 pixels has."""
    return max(
        value.numel() // (768 if value.is_floating_point() else 1) for value in batch.values()
    )


def _changes(adapter: Adapter, batch: Batch) -> Mapping[str, Batch]:
    floats = {key: value for key, value in batch.items() if value.is_floating_point()}
    sounds = {key: value + 0.5 for key, value in floats.items() if key.startswith(_SOUNDS)}
    images = {key: value + 0.5 for key, value in floats.items() if key not in sounds}
    words = {key: _turned(adapter, batch[key]) for key in _WORDS if key in batch}
    found = {"images": images, "sounds": sounds, "words": words}
    return {kind: changed for kind, changed in found.items() if changed}


def _turned(adapter: Adapter, ids: Tensor) -> Tensor:
    """The ordinary words of each text in the opposite order; all other tokens stay in place."""
    tokenizer = getattr(adapter.processor, "tokenizer", adapter.processor)
    special = {*adapter.placeholders, *getattr(tokenizer, "all_special_ids", ())}
    fixed = torch.isin(ids, torch.tensor(sorted(special), device=ids.device, dtype=ids.dtype))
    found = ids.clone()
    for row, kept in zip(found, fixed, strict=True):
        row[~kept] = row[~kept].flip(0)
    return found


def _seen(adapter: Adapter, batch: Batch) -> Seen:
    names = {block.module: tower.name for tower in adapter.towers for block in tower.blocks}
    found: Seen = {}

    def see(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        for value in (*args, *kwargs.values()):
            if isinstance(value, Tensor) and value.is_floating_point():
                whole = value.double()
                sums = (
                    float(whole.sum()),
                    float(whole.abs().sum()),
                    float(whole.flatten()[:1].sum()),
                )
                found.setdefault(names[module], []).append((*value.shape, *sums))

    handles = [module.register_forward_pre_hook(see, with_kwargs=True) for module in names]
    try:
        adapter.forward(batch)
    finally:
        for handle in handles:
            handle.remove()
        adapter.memory.release()
    return found
