"""Fewer channels in MLPs, fewer heads, block after block on what the blocks before hand over.

Until the files are written, the model keeps its shapes: what reads the channels has zeros for those
that go. What is written is what is left of it, so both compute the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from app.recipes.modality import Modality
from app.recipes.structure import Width, WiringError, takes
from app.recipes.structure_report import BlockStructure
from workers.pruning.calibration.statistics import Calibration
from workers.pruning.calibration.walk import ActivationCheckpoints, Step, steps
from workers.pruning.engine.report_builder import Progress, ProgressListener
from workers.pruning.importance.criterion import naming
from workers.pruning.memory import fetched, out_of_memory, put_back, stored, trim
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.files import read_json
from workers.pruning.models.layout.forwards import hidden_of
from workers.pruning.models.layout.replay import Batch
from workers.pruning.models.layout.structure import Block, Matrix, View
from workers.pruning.resume import Checkpoints, Entry
from workers.pruning.structure.attention import Attention
from workers.pruning.structure.channels import Choice, Problem, by_magnitude
from workers.pruning.structure.cut import Cut, Reduction
from workers.pruning.structure.groups import Group, find_groups, find_heads
from workers.pruning.structure.mlp import Mlp, check_wiring, narrowed
from workers.pruning.structure.moments import Moments


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
        batches: calibration inputs, at least one.
        report: told after every block; what it raises ends the run.
        checkpoints: what an earlier run with the same arguments has finished.

    Returns:
        What the checkpoint becomes, what was decided block by block, and warnings.

    Raises:
        StructureError: one of its kinds; the model is as it was.
        NonFiniteError: a weight or an activation is NaN or infinite.
    """
    heads = find_heads(adapter, settings) if takes(settings.heads_removed) else []
    mlps = find_groups(adapter, settings) if takes(settings.mlp_removed) else []
    parts = [("width/heads", heads), ("width", mlps)]
    walks = [_Walk(adapter, settings, each, checkpoints, name) for name, each in parts if each]
    reduction = Reduction(read_json(adapter.loaded.directory, "config.json"))
    decided: list[BlockStructure] = []
    warnings: list[str] = []
    total, done = sum(walk.total for walk in walks), 0
    for walk in walks:
        for block in walk.through(batches):
            report(Progress("reducing", block.name, done + walk.done, total, walk.fresh()))
        walk.cut_outside()
        done += walk.total
        reduction.cuts |= walk.cuts
        decided += walk.decided
        warnings += walk.warnings
    for group in (*heads, *mlps):
        reduction.config = group.setting.put(reduction.config)
    return reduction, decided, warnings


def _matrix_of(mlp: Mlp | Attention) -> Matrix:
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
        self,
        adapter: Adapter,
        settings: Width,
        groups: Sequence[Group],
        checkpoints: Checkpoints,
        name: str,
    ) -> None:
        self.cuts: dict[str, Cut | None] = {}
        self.decided: list[BlockStructure] = []
        self.warnings: list[str] = []
        self._told = 0
        self._adapter = adapter
        self._settings = settings
        self._checkpoints = checkpoints
        self._name = name
        self._outside = [(mlp, group.kept) for group in groups for mlp in group.outside]
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
        activations = ActivationCheckpoints(self._checkpoints, f"{self._name}/activations")
        walk = steps(self._adapter, batches, last=last, activations=activations, done=done)
        for step in walk:
            self.done = self._blocks.index(step.block) + 1
            if step.block in done or step.block not in self._groups:
                continue
            self._narrow(step)
            trim()
            yield step.block

    def cut_outside(self) -> None:
        """Narrow the MLPs that no walk passes through, by the size of their weights."""
        for mlp, kept in self._outside:
            weight = self._matrix(mlp).fetch()
            choice = by_magnitude(weight, mlp.made_by().to(weight.device), kept)
            self._put(mlp, self._kept(mlp, self._matrix(mlp), choice))
            self.decided.append(BlockStructure(name=mlp.name, kept=kept, score=choice.score))
            self.warnings.append(
                f"{mlp.name} lies outside of the blocks; its channels are chosen by magnitude, "
                "and nothing is solved for"
            )

    def _restored(self) -> set[Block]:
        """What an earlier run has finished, done again: an unbroken row of blocks."""
        found: set[Block] = set()
        for block in self._blocks[: self.total]:
            if block in self._groups:
                entry = self._checkpoints.get(f"{self._name}/{block.name}")
                if entry is None:
                    break
                self._put(self._mlp(block), dict(entry.tensors))
                self.decided.append(BlockStructure.model_validate(entry.values["decided"]))
                self.warnings += entry.values["warnings"]
                self._adapter.memory.release()
            found.add(block)
        return found

    def _mlp(self, block: Block) -> Mlp | Attention:
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
                choice = by_magnitude(weight, made_by, group.kept, mlp.unit)
            else:
                bias = getattr(mlp.reader, "bias", None) is not None
                problem = Problem(
                    weight, made_by, moments, settings=self._settings, bias=bias, unit=mlp.unit
                )
                choice = problem.choose(group.kept)
        tensors = self._kept(mlp, matrix, choice)
        self._put(mlp, tensors)
        if isinstance(mlp, Mlp) and moments is not None and id(group) not in self._checked:
            self._checked.add(id(group))
            self._check(step, mlp, choice.kept)
        decided = BlockStructure(
            name=mlp.name, kept=group.kept, score=choice.score, error=choice.error
        )
        self.decided.append(decided)
        values = {"decided": decided.model_dump(mode="json"), "warnings": self.warnings[mark:]}
        self._checkpoints.put(f"{self._name}/{step.block.name}", Entry(values, tensors))

    def _matrix(self, mlp: Mlp | Attention) -> Matrix:
        if mlp.reader not in self._matrices:
            self._matrices[mlp.reader] = _matrix_of(mlp)
        return self._matrices[mlp.reader]

    def _kept(self, mlp: Mlp | Attention, matrix: Matrix, choice: Choice) -> dict[str, Tensor]:
        """The choice as it is stored: indices, weights, bias."""
        found = {"kept": choice.kept.cpu(), "weight": choice.weight.to("cpu", matrix.weight.dtype)}
        if choice.shift is not None:
            bias = stored(mlp.reader.bias).detach()  # type: ignore[arg-type]  # a parameter
            found["bias"] = (bias.float().cpu() + choice.shift.cpu()).to(bias.dtype)
        return found

    def _put(self, mlp: Mlp | Attention, tensors: Mapping[str, Tensor]) -> None:
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
