"""Fewer blocks: those that change least of what passes through are left out.

Block influence is 1 - the mean cosine of what enters a block and what leaves it, over real tokens
of the calibration set (ShortGPT, arXiv 2403.03853); the other scores are how far the model's
outputs are from what they were without a block, and the norms of the loss's gradients. Blocks whose
output nothing reads go first. Where blocks are named to stay, all others go, and nothing is
measured.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from app.errors import NonFiniteError
from app.planning.depth import check_keep
from app.recipes.structure import Depth, WiringError
from app.recipes.structure_report import BlockStructure
from workers.pruning.calibration.outputs import learn_by_heart, lessons_of
from workers.pruning.calibration.walk import ActivationCheckpoints, Step, steps
from workers.pruning.engine.report_builder import Progress, ProgressListener
from workers.pruning.memory import out_of_memory
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.files import map_file_keys, read_json
from workers.pruning.models.layout.forwards import (
    NotDirectError,
    blocks_replaced,
    call_of,
    hidden_of,
    with_hidden,
)
from workers.pruning.models.layout.replay import Batch
from workers.pruning.models.layout.structure import Block, Tower
from workers.pruning.resume import Checkpoints, Entry
from workers.pruning.structure.bypass import bypassed
from workers.pruning.structure.choice import Choice, count_gone
from workers.pruning.structure.cut import Reduction
from workers.pruning.structure.gradients import gradient_norms
from workers.pruning.structure.layers import Layers, find_layers, renumbered
from workers.pruning.structure.removal import Removal
from workers.pruning.structure.setting import Trials


def shorten(
    adapter: Adapter,
    settings: Depth,
    batches: Sequence[Batch],
    report: ProgressListener,
    checkpoints: Checkpoints,
) -> tuple[Reduction, list[BlockStructure], list[str]]:
    """Choose the blocks that go; the model stays as it is.

    Args:
        adapter: the model.
        settings: how.
        batches: calibration inputs, at least one.
        report: told after every block; what it raises ends the run.
        checkpoints: what an earlier run with the same arguments has finished.

    Returns:
        What the checkpoint becomes, what was decided block by block, and warnings.

    Raises:
        StructureError: one of its kinds.
        NonFiniteError: an activation is NaN or infinite.
    """
    towers = [tower for tower in adapter.towers if settings.takes_from(tower.modality)]
    towers = [tower for tower in towers if len(tower.blocks) > 1]
    if not towers:
        raise WiringError("no tower of the model has what was asked to be left out")
    trials = Trials(adapter.model, read_json(adapter.loaded.directory, "config.json"))
    layers = {tower: find_layers(trials, tower, count_gone(tower, settings)) for tower in towers}
    if settings.keep is None:
        given = (adapter, settings, layers, trials.whole, batches)
        chosen = _by_score(*given, report=report, checkpoints=checkpoints)
    else:
        chosen = _Chosen(_not_named(settings, layers, trials), {}, set())
    gone, scores, dead = chosen.gone, chosen.scores, chosen.dead
    config, names = trials.config, dict[str, str | None]()
    score = settings.score if settings.keep is None else "keep"
    decided: list[BlockStructure] = []
    for tower in towers:
        kept = [number for number, block in enumerate(tower.blocks) if block not in gone]
        _check_alike(trials, tower, layers[tower], kept)
        config = layers[tower].without(config, trials.whole, kept)
        names |= _file_names(adapter, tower, kept)
        decided += [
            BlockStructure(
                name=block.name,
                kept=int(block not in gone),
                score="unread" if block in dead else score,
                value=None if block in dead else scores.get(block),
            )
            for block in tower.blocks
        ]
    warnings = [f"nothing reads the output of {block.name}; it goes first" for block in dead]
    stand_in = partial(bypassed, towers, gone)
    return Reduction(config, names=names, stand_in=stand_in), decided, sorted(warnings)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The blocks that go, the scores of blocks that have one, and the blocks that nothing reads."""

    gone: set[Block]
    scores: Mapping[Block, float]
    dead: set[Block]


def _by_score(
    adapter: Adapter,
    settings: Depth,
    layers: Mapping[Tower, Layers],
    whole: Mapping[str, Any],
    batches: Sequence[Batch],
    *,
    report: ProgressListener,
    checkpoints: Checkpoints,
) -> _Chosen:
    dead = {block for tower in layers for block in unread_blocks(adapter, tower, batches[0])}
    tries = _tries(settings, layers, batches)
    walked = partial(_part_of_more, report, tries)
    scores = _influences(adapter, list(layers), batches, walked, checkpoints)
    choices = [
        Choice.of(
            tower,
            settings,
            named=each.named(whole),
            kinds=each.kinds(whole),
            seen=scores,
            dead=dead,
        )
        for tower, each in layers.items()
    ]
    tried = partial(_tried, report, tries)
    if settings.score == "gradient-norm":
        blocks = [block for tower in layers for block in tower.blocks]
        scores = gradient_norms(adapter, blocks, batches, tried, checkpoints)
    if settings.score != "output":
        gone = {block for choice in choices for block in choice.least(scores, dead)}
        return _Chosen(gone, scores, dead)
    known = learn_by_heart(adapter, lessons_of(adapter, batches))
    removal = Removal(adapter, known, checkpoints, tried)
    for choice in choices:
        removal.go_on(choice)
    return _Chosen(set(removal.gone), removal.gone, dead)


def _not_named(settings: Depth, layers: Mapping[Tower, Layers], trials: Trials) -> set[Block]:
    """The blocks that are not named to stay.

    Raises:
        KeepError: those that are cannot be all that is left.
    """
    gone: set[Block] = set()
    for tower, each in layers.items():
        kept = settings.kept_of(tower.modality) or ()
        check_keep(kept, each.named(trials.whole), each.kinds(trials.whole), tower.name)
        gone |= {block for number, block in enumerate(tower.blocks) if number not in kept}
    return gone


def _tries(settings: Depth, towers: Iterable[Tower], batches: Sequence[Batch]) -> int:
    """What is measured beside the influences: batches, or the model without a block."""
    match settings.score:
        case "influence":
            return 0
        case "gradient-norm":
            return len(batches)
        case "output":
            return sum(count_gone(tower, settings) * len(tower.blocks) for tower in towers)


def _part_of_more(report: ProgressListener, tries: int, progress: Progress) -> None:
    """Tell of a walk before so many tries, which take its length again each."""
    report(replace(progress, total=progress.total * (1 + tries)))


def _tried(report: ProgressListener, tries: int, block: Block, number: int) -> None:
    """Tell of a try, `number` from 1."""
    report(Progress("reducing", block.name, 1 + number, 1 + tries))


def unread_blocks(adapter: Adapter, tower: Tower, batch: Batch) -> list[Block]:
    """The last blocks of a tower that nothing reads: the model's outputs do without them."""
    found: list[Block] = []
    for index in range(len(tower.blocks) - 1, 0, -1):
        if _is_read(adapter, tower, index, batch):
            break
        found.append(tower.blocks[index])
    return found


def _is_read(adapter: Adapter, tower: Tower, index: int, batch: Batch) -> bool:
    """Whether an output of the model becomes NaN when that of the block is."""
    called: list[int] = []

    def forward(at: int, original: Any, args: Any, kwargs: Any) -> Any:
        output = original(*args, **kwargs)
        if at != index:
            return output
        called.append(at)
        return with_hidden(output, torch.full_like(hidden_of(output), torch.nan))

    try:
        with blocks_replaced(tower, forward):
            output = adapter.forward(batch)
    except Exception as error:  # whatever a model makes of NaN: it has read it
        if out_of_memory(error):
            raise
        return True
    values = output.values() if hasattr(output, "values") else output
    seen = [each for each in values if isinstance(each, Tensor) and each.is_floating_point()]
    return not called or not seen or not all(bool(torch.isfinite(each).all()) for each in seen)


def _influences(
    adapter: Adapter,
    towers: Sequence[Tower],
    batches: Sequence[Batch],
    report: ProgressListener,
    checkpoints: Checkpoints,
) -> dict[Block, float]:
    """1 - mean cosine of input and output, of every block that gives back what it is given."""
    wanted = {block for tower in towers for block in tower.blocks}
    every = [block for tower in adapter.towers for block in tower.blocks]
    total = max(place for place, block in enumerate(every) if block in wanted) + 1
    found: dict[Block, float] = {}
    done: set[Block] = set()
    for block in every[:total]:
        entry = checkpoints.get(f"depth/{block.name}")
        if entry is None:
            break
        done.add(block)
        if entry.values["influence"] is not None:
            found[block] = entry.values["influence"]
    if every[total - 1] in done:
        return found
    activations = ActivationCheckpoints(checkpoints, "depth/activations")
    for step in steps(adapter, batches, last=every[total - 1], activations=activations, done=done):
        if step.block in done:
            continue
        influence = _influence(step)
        if influence is not None:
            found[step.block] = influence
        checkpoints.put(f"depth/{step.block.name}", Entry({"influence": influence}))
        report(Progress("reducing", step.block.name, every.index(step.block) + 1, total))
    return found


def _influence(step: Step) -> float | None:
    """Of the block of a step, which is advanced; None where it changes shapes, or is not run."""
    cosines, tokens, same = 0.0, 0, True
    for each, _ in step.passes:
        args, kwargs = each.inputs(step.index)
        output = step.block.module(*args, **kwargs)
        try:
            before, after = call_of(step.index, args, kwargs).hidden, hidden_of(output)
        except (NotDirectError, TypeError):
            before = after = torch.empty(0)
        same = same and before.shape == after.shape and before.ndim > 1
        if same:
            mask = each.mask_of(before)
            cosine = functional.cosine_similarity(before.float(), after.float(), dim=-1)
            chosen = cosine.flatten() if mask is None else cosine[mask]
            cosines += float(chosen.sum(dtype=torch.float64))
            tokens += chosen.numel()
        each.advance(step.index, output)
    step.advanced = True
    if not same or not tokens:
        return None
    found = 1 - cosines / tokens
    if found != found:  # noqa: PLR0124 - NaN
        raise NonFiniteError(f"the outputs of {step.block.name} hold NaN or infinite values")
    return found


def _check_alike(trials: Trials, tower: Tower, layers: Layers, kept: Sequence[int]) -> None:
    """Refuse to renumber blocks that have other parameters than the blocks they stand in for.

    Raises:
        WiringError: the message names one.
    """
    names = dict(renumbered(list(trials.own), [f"{tower.name}."], kept))
    left = {
        new: shape
        for name, shape in trials.own.items()
        if (new := names.get(name, name)) is not None
    }
    found = trials.shapes(layers.without(trials.config, trials.whole, kept))
    if left != found:
        other = next(iter({*left.items()} ^ {*found.items()}))[0]
        raise WiringError(
            f"{tower.name}: its blocks are not alike, as {other} shows, and cannot be renumbered"
        )


def _file_names(adapter: Adapter, tower: Tower, kept: Sequence[int]) -> dict[str, str | None]:
    """New names of tensors in the files."""
    places = map_file_keys(adapter.model, adapter.loaded.checkpoint).places
    stems = set()
    for name, place in places.items():
        for number, block in enumerate(tower.blocks):
            if name.startswith(f"{block.name}."):
                stems.add(_stem(place.key, number, tower))
    keys = list(adapter.loaded.checkpoint.tensors)
    return dict(renumbered(keys, sorted(stems, key=len, reverse=True), kept))


def _stem(key: str, number: int, tower: Tower) -> str:
    """What of a key stands before the number of its block.

    Raises:
        WiringError: there is no such number.
    """
    parts = key.split(".")
    places = [place for place, part in enumerate(parts) if part == str(number)]
    if not places:
        raise WiringError(f"{tower.name}: {key} of the files does not name its block")
    return ".".join(parts[: places[0]]) + "."
