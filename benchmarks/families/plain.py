"""The same quantities by plain forward hooks on the whole model."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from app.recipes.modality import Modality
from benchmarks.families.inputs import Batch
from workers.pruning.models.layout.experts import ExpertProjection, Routed
from workers.pruning.models.layout.structure import Block, Matrix, Tower


@dataclass(frozen=True, slots=True)
class Forward:
    """The whole model run once, with nothing of it replaced.

    Attributes:
        run: given a batch.
        hidden: last tokens of streams longer than the text, which the model pads by itself.
    """

    run: Callable[[Batch], Any]
    hidden: int = 0

    def __call__(self, batch: Batch) -> Any:
        """Run it."""
        with torch.no_grad():
            return self.run(batch)


_CLOSE = 1e-4  # relative; sums of the same numbers in another order


def forward(model: PreTrainedModel, batch: Batch) -> Any:
    """The whole model, without a cache."""
    wanted = inspect.signature(model.forward).parameters
    options = {"use_cache": False} if "use_cache" in wanted else {}
    with torch.no_grad():
        return model(**batch, **options)


@contextmanager
def _seeing(
    modules: Iterable[nn.Module], see: Callable[[nn.Module, Tensor], None]
) -> Iterator[None]:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen = args[0] if args else next(iter(kwargs.values()))
        routed = args[-1] if args else None
        see(module, seen, routed.rows if isinstance(routed, Routed) else None)

    handles = [m.register_forward_pre_hook(hook, with_kwargs=True) for m in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def square_sums(
    run: Forward, batches: Sequence[Batch], matrices: Iterable[Matrix]
) -> dict[Matrix, Tensor]:
    """Sum of squares of every input feature over real tokens, float64; only of what saw any."""
    owners: dict[nn.Module, list[Matrix]] = {}
    for matrix in matrices:
        for caller in matrix.callers:
            owners.setdefault(caller, []).append(matrix)
    found: dict[Matrix, Tensor] = {}
    for batch in batches:

        def see(module: nn.Module, seen: Tensor, rows: Tensor | None, batch: Batch = batch) -> None:
            tokens = _real(seen, rows, batch, run.hidden).double()
            for matrix in owners[module]:
                total = (tokens * tokens).sum(0)
                found[matrix] = found[matrix] + total if matrix in found else total

        with _seeing(owners, see):
            run(batch)
    return found


def _real(seen: Tensor, rows: Tensor | None, batch: Batch, hidden: int) -> Tensor:
    mask = batch.get("attention_mask")
    if hidden and mask is not None and seen.ndim > 2 and seen.shape[1] > mask.shape[1]:
        seen = seen[:, :-hidden]
    if mask is not None and not bool(mask.all()):
        if rows is not None:
            return seen[mask.flatten().bool()[rows]]
        if mask.shape == seen.shape[:-1]:
            return seen[mask.bool()]
        if seen.ndim == 2 and len(seen) == mask.numel():
            return seen[mask.flatten().bool()]
    return seen.reshape(-1, seen.shape[-1])


def difference(ours: Mapping[Matrix, Tensor], plain: Mapping[Matrix, Tensor]) -> str | None:
    """The first matrix whose sums differ, in words; None where none does."""
    for matrix in dict.fromkeys((*plain, *ours)):
        if matrix not in ours:
            return f"{matrix.name} saw inputs, and the walk saw none"
        if matrix not in plain:
            return f"{matrix.name} saw no inputs, and the walk saw some"
        scale = float(plain[matrix].abs().max()) or 1.0
        error = float((ours[matrix] - plain[matrix]).abs().max()) / scale
        if not error <= _CLOSE:
            return f"sums of {matrix.name} differ by {error:.1e}"
    return None


def wanda_difference(
    run: Forward,
    batches: Sequence[Batch],
    blocks: Sequence[Block],
    dense: Mapping[Matrix, Tensor],
) -> str | None:
    """Hold a model pruned by Wanda, block after block, to what plain hooks choose.

    The dense weights are put back first; then block by block, in the order of the towers, the
    inputs are seen by hooks on the whole model, weights chosen, and the pruned ones put in.
    """
    pruned = {matrix: matrix.weight.clone() for matrix in dense}
    for matrix, weight in dense.items():
        matrix.weight.copy_(weight)
    for block in blocks:
        here = [m for m in block.matrices if m in dense and len(m.callers) == 1]
        sums = square_sums(run, batches, here)
        for matrix in here:
            if matrix in sums:
                gone, sizes = pruned[matrix] == 0, dense[matrix].abs().double()
                told = _wrong_choice(sizes * sums[matrix].sqrt(), gone)
                # An expert that few tokens reached is ranked by magnitude.
                if told is not None and _is_expert(matrix):
                    told = _wrong_choice(sizes, gone)
                if told is not None:
                    return f"{matrix.name}: {told}"
        for matrix in block.matrices:
            if matrix in dense:
                matrix.weight.copy_(pruned[matrix])
    for matrix, weight in pruned.items():
        matrix.weight.copy_(weight)
    return None


def _is_expert(matrix: Matrix) -> bool:
    return any(isinstance(caller, ExpertProjection) for caller in matrix.callers)


def _wrong_choice(scores: Tensor, gone: Tensor) -> str | None:
    """Whether in some row a weight stays that scores clearly less than one that goes."""
    highest_gone = scores.masked_fill(~gone, -1).amax(1)
    lowest_kept = scores.masked_fill(gone, float("inf")).amin(1)
    wrong = highest_gone > lowest_kept * (1 + _CLOSE)
    return f"{int(wrong.sum())} of {len(wrong)} rows chose others" if bool(wrong.any()) else None


def wrong_modality(run: Forward, batch: Batch, towers: Sequence[Tower]) -> str | None:
    """A tower that says another modality than its inputs show, when pixels or words change."""
    seen = _tower_inputs(run, batch, towers)
    images = {k: v for k, v in batch.items() if v.is_floating_point()}
    words = {k: v for k, v in batch.items() if k in ("input_ids", "decoder_input_ids")}
    by_image = _changed(run, batch, towers, seen, {k: v + 0.5 for k, v in images.items()})
    by_words = _changed(run, batch, towers, seen, {k: _swapped(v) for k, v in words.items()})
    for tower in towers:
        if tower.name not in seen:
            continue
        depends = (tower.name in by_image, tower.name in by_words)
        heard = "input_features" in batch and depends == (True, False)
        if tower.modality not in ({Modality.AUDIO} if heard else _MEANT[depends]):
            of = {(True, False): "images alone", (False, True): "words alone"}
            return f"{tower.name} says {tower.modality} and sees {of.get(depends, 'both')}"
    return None


_SEES_BOTH = {Modality.BRIDGE, Modality.TEXT, Modality.FUSION, Modality.LANGUAGE}
_MEANT = {
    (True, False): {Modality.VISION, Modality.BRIDGE},
    (False, True): {Modality.TEXT, Modality.LANGUAGE, Modality.BRIDGE},
    (True, True): _SEES_BOTH,
    (False, False): set(Modality),
}


def _swapped(ids: Tensor) -> Tensor:
    """Other ordinary words in the place of ordinary words."""
    return torch.where(ids >= 64, 64 + (ids - 64 + 17) % 128, ids)


def _tower_inputs(run: Forward, batch: Batch, towers: Sequence[Tower]) -> dict[str, list[Tensor]]:
    """Everything that the blocks of each tower are called with."""
    names = {block.module: tower.name for tower in towers for block in tower.blocks}
    found: dict[str, list[Tensor]] = {}

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = [v for v in (*args, *kwargs.values()) if isinstance(v, Tensor)]
        floats = [v.detach().clone() for v in given if v.is_floating_point()]
        found.setdefault(names[module], []).extend(floats)

    handles = [m.register_forward_pre_hook(hook, with_kwargs=True) for m in names]
    try:
        run(batch)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _changed(
    run: Forward,
    batch: Batch,
    towers: Sequence[Tower],
    seen: Mapping[str, list[Tensor]],
    other: Batch,
) -> set[str]:
    if not other:
        return set()
    now = _tower_inputs(run, {**batch, **other}, towers)
    return {
        name
        for name, before in seen.items()
        if any(
            a.shape != b.shape or not torch.equal(a, b)
            for a, b in zip(before, now.get(name, []), strict=False)
        )
    }
