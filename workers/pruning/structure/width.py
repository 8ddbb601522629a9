"""Fewer channels in the MLPs of a model, block after block on what the blocks before hand over.

Until the files are written, the model keeps its shapes: what reads the channels has zeros for those
that go. What is written is what is left of it, so both compute the same.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from app.errors import CalibrationDataError
from app.recipes.modality import Modality
from app.recipes.structure import (
    BlockStructure,
    ConfigurationError,
    UnevenError,
    Width,
    WiringError,
    channels_kept,
)
from workers.pruning.calibration.statistics import Calibration
from workers.pruning.calibration.walk import ActivationCheckpoints, Step, steps
from workers.pruning.engine.report_builder import Progress, ProgressListener
from workers.pruning.importance.criterion import naming
from workers.pruning.memory import fetched, out_of_memory, put_back, stored
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.files import read_json
from workers.pruning.models.layout.forwards import hidden_of
from workers.pruning.models.layout.replay import Batch
from workers.pruning.models.layout.structure import Block, Matrix, Tower, View
from workers.pruning.resume import Checkpoints, Entry
from workers.pruning.structure.channels import Choice, Problem, by_magnitude
from workers.pruning.structure.cut import Cut, Files, Reduction
from workers.pruning.structure.mlp import Mlp, check_wiring, find_mlp, narrowed
from workers.pruning.structure.moments import Moments
from workers.pruning.structure.setting import Setting, Shapes, Trials


@dataclass(frozen=True, slots=True)
class Group:
    """MLPs that have one number of channels together.

    Attributes:
        mlps: by the block they lie in.
        outside: those that lie in no block that is walked through, such as a head that pools.
        kept: how many channels stay.
        setting: what says so.
    """

    mlps: Mapping[Block, Mlp]
    outside: tuple[Mlp, ...]
    kept: int
    setting: Setting


def narrow(
    adapter: Adapter,
    settings: Width,
    batches: Sequence[Batch],
    report: ProgressListener,
    checkpoints: Checkpoints,
) -> tuple[Reduction, list[BlockStructure], list[str]]:
    """Choose channels and solve for what reads them, in place; nothing is written to files yet.

    Args:
        adapter: the model.
        settings: how.
        batches: calibration inputs.
        report: told after every block; what it raises ends the run.
        checkpoints: what an earlier run with the same arguments has finished.

    Returns:
        What the checkpoint becomes, what was decided block by block, and warnings.

    Raises:
        CalibrationDataError: there are no batches.
        StructureError: one of its kinds; the model is as it was.
        NonFiniteError: a weight or an activation is NaN or infinite.
    """
    if not batches:
        raise CalibrationDataError("width needs calibration data")
    groups = find_groups(adapter, settings)
    walk = _Walk(adapter, settings, groups, checkpoints)
    for block in walk.through(batches):
        report(Progress("reducing", block.name, walk.done, walk.total, walk.fresh()))
    walk.cut_outside(groups)
    config = read_json(adapter.loaded.directory, "config.json")
    for group in groups:
        config = group.setting.put(config)
    return Reduction(config, walk.cuts), walk.decided, walk.warnings


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
    for mlp in mlps:
        for path, _, attribute, _, _ in mlp.cuts(torch.arange(1)):
            yield path, attribute
        if getattr(mlp.reader, "bias", None) is not None:
            yield mlp.name, "bias"


def _check_alone(adapter: Adapter, mlps: Mapping[Block, Mlp]) -> None:
    """Refuse MLPs that share weights with others."""
    owners: dict[int, set[Block]] = defaultdict(set)
    for block in (block for tower in adapter.towers for block in tower.blocks):
        for parameter in block.module.parameters():
            owners[id(stored(parameter))].add(block)
    for mlp in mlps.values():
        if len(owners[id(stored(mlp.reader.weight))]) > 1:  # type: ignore[arg-type]  # a parameter
            raise WiringError(f"{mlp.name}: several blocks share its weights")


def _matrix_of(mlp: Mlp) -> Matrix:
    """What reads the channels of an MLP outside of the blocks."""
    shown: Any = mlp.reader.weight
    parameter: Any = stored(shown)
    return Matrix(
        name=mlp.name,
        file_key="",
        modality=Modality.BRIDGE,
        parameter=parameter,
        callers=(mlp.reader,),
        place=View(transposed=isinstance(mlp.reader, Conv1D)),
        shown=None if shown is parameter else shown,
    )


class _Walk:
    """The choice of channels, block by block."""

    def __init__(
        self, adapter: Adapter, settings: Width, groups: Sequence[Group], checkpoints: Checkpoints
    ) -> None:
        self.cuts: dict[str, Cut | None] = {}
        self.decided: list[BlockStructure] = []
        self.warnings: list[str] = []
        self._told = 0
        self._adapter = adapter
        self._settings = settings
        self._checkpoints = checkpoints
        self._groups = {block: group for group in groups for block in group.mlps}
        self._blocks = [block for tower in adapter.towers for block in tower.blocks]
        self._matrices = {caller: m for m in adapter.matrices for caller in m.callers}
        self._checked: set[int] = set()
        due = [place for place, block in enumerate(self._blocks) if block in self._groups]
        self.total = due[-1] + 1
        self.done = 0

    def fresh(self) -> tuple[str, ...]:
        """Warnings since the last time."""
        found = tuple(self.warnings[self._told :])
        self._told = len(self.warnings)
        return found

    def through(self, batches: Sequence[Batch]) -> Iterator[Block]:
        """Every block that is narrowed now."""
        done = self._restored()
        last = self._blocks[self.total - 1]
        if last in done:
            return
        activations = ActivationCheckpoints(self._checkpoints, "width/activations")
        walk = steps(self._adapter, batches, last=last, activations=activations, done=done)
        for step in walk:
            self.done = self._blocks.index(step.block) + 1
            if step.block in done or step.block not in self._groups:
                continue
            self._narrow(step)
            yield step.block

    def cut_outside(self, groups: Sequence[Group]) -> None:
        """Narrow the MLPs that no walk passes through, by the size of their weights."""
        for group in groups:
            for mlp in group.outside:
                weight = self._matrix(mlp).fetch()
                choice = by_magnitude(weight, mlp.made_by().to(weight.device), group.kept)
                self._put(mlp, self._kept(mlp, self._matrix(mlp), choice))
                self.decided.append(
                    BlockStructure(name=mlp.name, kept=group.kept, score=choice.score)
                )
                self.warnings.append(
                    f"{mlp.name} lies outside of the blocks; its channels are chosen by magnitude, "
                    "and nothing is solved for"
                )

    def _restored(self) -> set[Block]:
        """What an earlier run has finished, done again: an unbroken row of blocks."""
        found: set[Block] = set()
        for block in self._blocks[: self.total]:
            if block in self._groups:
                entry = self._checkpoints.get(f"width/{block.name}")
                if entry is None:
                    break
                self._put(self._mlp(block), dict(entry.tensors))
                self.decided.append(BlockStructure.model_validate(entry.values["decided"]))
                self.warnings += entry.values["warnings"]
                self._adapter.memory.release()
            found.add(block)
        return found

    def _mlp(self, block: Block) -> Mlp:
        return self._groups[block].mlps[block]

    def _narrow(self, step: Step) -> None:
        group, mlp, mark = self._groups[step.block], self._mlp(step.block), len(self.warnings)
        matrix = self._matrix(mlp)
        calibration = Calibration(Moments)
        step.collect(calibration, [matrix])
        weight = matrix.fetch()
        made_by = mlp.made_by().to(weight.device)
        with naming(matrix):
            moments = calibration.of(matrix)
            if moments is None:
                self.warnings.append(
                    f"{mlp.name} saw no calibration data; its channels are chosen by magnitude"
                )
                choice = by_magnitude(weight, made_by, group.kept)
            else:
                bias = getattr(mlp.reader, "bias", None) is not None
                problem = Problem(weight, made_by, moments, settings=self._settings, bias=bias)
                choice = problem.choose(group.kept)
        tensors = self._kept(mlp, matrix, choice)
        self._put(mlp, tensors)
        if moments is not None and id(group) not in self._checked:
            self._checked.add(id(group))
            self._check(step, mlp, choice.kept)
        decided = BlockStructure(
            name=mlp.name, kept=group.kept, score=choice.score, error=choice.error
        )
        self.decided.append(decided)
        values = {"decided": decided.model_dump(mode="json"), "warnings": self.warnings[mark:]}
        self._checkpoints.put(f"width/{step.block.name}", Entry(values, tensors))

    def _matrix(self, mlp: Mlp) -> Matrix:
        if mlp.reader not in self._matrices:
            self._matrices[mlp.reader] = _matrix_of(mlp)
        return self._matrices[mlp.reader]

    def _kept(self, mlp: Mlp, matrix: Matrix, choice: Choice) -> dict[str, Tensor]:
        """The choice as it is stored: indices, weights, bias."""
        found = {"kept": choice.kept.cpu(), "weight": choice.weight.to("cpu", matrix.weight.dtype)}
        if choice.shift is not None:
            bias = stored(mlp.reader.bias).detach()  # type: ignore[arg-type]  # a parameter
            found["bias"] = (bias.float().cpu() + choice.shift.cpu()).to(bias.dtype)
        return found

    def _put(self, mlp: Mlp, tensors: Mapping[str, Tensor]) -> None:
        """Write what is left to what reads the channels, zeros for the others; note the cuts."""
        matrix, kept = self._matrix(mlp), tensors["kept"]
        weight = matrix.fetch()
        weight.zero_()
        weight[:, kept.to(weight.device)] = tensors["weight"].to(weight.device, weight.dtype)
        matrix.put_back(weight)
        if "bias" in tensors:
            shown: nn.Parameter = mlp.reader.bias  # type: ignore[assignment]  # a parameter
            values = fetched(shown)
            values.copy_(tensors["bias"])
            put_back(shown, stored(shown).detach(), values)
            self.cuts[f"{mlp.name}.bias"] = None
        for path, _, attribute, dimension, indices in mlp.cuts(kept):
            self.cuts[f"{path}.{attribute}"] = Cut(dimension, indices)

    def _check(self, step: Step, mlp: Mlp, kept: Tensor) -> None:
        """Hold what the wiring was taken for against what the block computes."""
        each, _ = step.passes[0]

        def output() -> list[Tensor]:
            args, kwargs = each.inputs(step.index)
            return [hidden_of(step.block.module(*args, **kwargs))]

        masked = output()
        try:
            with narrowed(mlp, kept):
                cut = output()
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            raise WiringError(f"{mlp.name}: its block does not run with fewer channels") from error
        check_wiring(mlp, kept, masked, cut)
