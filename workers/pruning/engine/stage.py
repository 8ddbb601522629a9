"""One round of measuring and pruning: what it works on, and how it takes block after block."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from types import MappingProxyType
from typing import Any, TypeAlias

from torch import Tensor, nn

from app.recipes.data import Tokens
from app.recipes.recipe import Recipe
from app.recipes.recovery import Recovery
from workers.pruning.calibration.beside import DenseInputs, PairedCalibration, PairedMoments
from workers.pruning.calibration.one_pass import Turns
from workers.pruning.calibration.statistics import Calibration, Statistic
from workers.pruning.calibration.tokens import ChosenByOutputs, choose
from workers.pruning.calibration.walk import ActivationCheckpoints, Step, see_all, steps
from workers.pruning.engine.block_checkpoints import BlockCheckpoints, apply, change
from workers.pruning.engine.dense_pass import MAGNITUDE
from workers.pruning.engine.report_builder import ReportBuilder
from workers.pruning.engine.targets import Targets
from workers.pruning.importance.criterion import Criterion, Outcome, naming
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.layout.replay import Batch
from workers.pruning.models.layout.structure import Block, Matrix
from workers.pruning.recovery.block import recover_block
from workers.pruning.resume import Checkpoints, NoCheckpoints
from workers.pruning.selection.selection import Selection

PruneOne: TypeAlias = Callable[[Matrix, Tensor, Any], Outcome]
"""Prune the weights of a matrix in place, given the statistic of its inputs."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One of the rounds of a run; most runs have one.

    Attributes:
        adapter: the model.
        recipe: what to do in this round.
        batches: calibration inputs.
        targets: the matrices.
        criterion: what ranks weights.
        builder: keeps the report.
        name: tells the rounds of a run apart.
        checkpoints: keep what is finished.
        tokens: those that statistics of inputs see.
    """

    adapter: Adapter
    recipe: Recipe
    batches: Sequence[Batch]
    targets: Targets
    criterion: Criterion
    builder: ReportBuilder
    name: str = "0"
    checkpoints: Checkpoints = field(default_factory=NoCheckpoints)
    tokens: Tokens = "all"

    def block_checkpoints(self, part: str) -> BlockCheckpoints:
        """The finished blocks of a part of the round."""
        return BlockCheckpoints(self.checkpoints, f"{self.name}/{part}", self.targets, self.builder)

    def walk(self, part: str, done: Collection[Block]) -> Iterator[Step]:
        """Through the blocks up to the last that counts; see `steps`."""
        choosing = partial(choose, self.tokens, self.adapter.model.config)
        return self._steps(part, done, see_all if self.tokens == "all" else choosing)

    def walk_beside(self, done: Collection[Block]) -> Iterator[Step]:
        """The same through the dense model, beside the walk that chooses tokens."""
        return self._steps("beside", done, see_all)

    def _steps(
        self, part: str, done: Collection[Block], choosing: Callable[[Step], None]
    ) -> Iterator[Step]:
        return steps(
            self.adapter,
            self.batches,
            last=self.targets.last,
            activations=ActivationCheckpoints(self.checkpoints, f"{self.name}/{part}-activations"),
            done=done,
            choose=choosing,
        )

    def calibration(self, statistic: type[Statistic]) -> Calibration[Any]:
        """Accumulates the statistic over the tokens that count."""
        return (ChosenByOutputs if self.tokens == "amia" else Calibration)(statistic)


def block_by_block(
    stage: Stage,
    selections: Mapping[Matrix, Selection],
    statistic: type[Statistic],
    prune_one: PruneOne,
) -> None:
    """Prune each block, given the statistic of its inputs after the pruned blocks before it.

    Where weights are solved for towards the dense model, a walk through that one goes beside, one
    block ahead.
    """
    checkpoints = stage.block_checkpoints("pruned")
    done = checkpoints.finished()
    take = partial(apply_again, stage)
    if stage.targets.last in done:
        for block, entry in done.items():
            checkpoints.hand_over(block, entry, take)
        return
    recipe, dense = stage.recipe, None
    settings = recipe.recovery_of("block")
    calibration = stage.calibration(statistic)
    if recipe.objective != "pruned-inputs":
        dense = DenseInputs(stage.adapter.memory)
        calibration = PairedCalibration(dense, hold_out=recipe.objective == "mixed")
        statistic = PairedMoments
    pruner = _Pruner(stage, selections, calibration, prune_one)
    beside = stage.walk_beside(done) if recipe.sees_dense_model else repeat(None)
    outputs: list[Tensor | None] = []
    for step, dense_step in zip(stage.walk("pruned", done), beside, strict=False):
        if dense_step is not None and not dense_step.advanced:
            dense_step.counted = step.counted
            if dense is None:
                outputs = dense_step.advance()
            else:
                dense.forget_all()
                watched = [m for m in pruner.met(step) if not m.routed]
                outputs = dense_step.advance(dense, watched)
        if step.block in done:
            checkpoints.hand_over(step.block, done[step.block], take)
            continue
        with checkpoints.finishing(step.block) as changes:
            if recipe.walk == "one-pass":
                pruner.in_turns(step, statistic)
            else:
                pruner.at_once(step, statistic)
            if settings is not None:
                pruner.recover(step, outputs, settings)
            changes.update(pruner.changes())
        stage.builder.progress("pruning", step.block)


class _Pruner:
    """Prunes the matrices of one block after the other."""

    def __init__(
        self,
        stage: Stage,
        selections: Mapping[Matrix, Selection],
        calibration: Calibration[Any],
        prune_one: PruneOne,
    ) -> None:
        self._stage = stage
        self._selections = selections
        self._calibration = calibration
        self._prune_one = prune_one
        self._outcomes: dict[Matrix, Outcome] = {}

    def met(self, step: Step) -> list[Matrix]:
        """The matrices that the block asks for, or that are due after it."""
        targets, inside = self._stage.targets, set(step.block.module.modules())
        due = set(targets.due.get(step.block, ()))
        return [m for m in targets.blocks if m in due or not inside.isdisjoint(m.callers)]

    def at_once(self, step: Step, statistic: type[Statistic]) -> None:
        """Prune the whole block on the inputs that it has while it is dense."""
        first, *experts = watched_together(self._stage.targets, step.block, statistic)
        waiting = self._waiting(step, experts)
        step.collect(self._calibration, first)
        self._put(step, [*first, *waiting], waiting)

    def in_turns(self, step: Step, statistic: type[Statistic]) -> None:
        """Prune input after input, each as the matrices before it leave it; experts last."""
        parts = watched_together(self._stage.targets, step.block, statistic)
        routed = [some for part in parts if (some := [m for m in part if m.routed])]
        own = step.in_order([m for m in self.met(step) if not m.routed])
        turns = Turns(step, [group for _, group in own], fits=not routed and self._fit(step))
        try:
            for number, (matrices, _) in enumerate(own):
                turns.collect(self._calibration, number, matrices)
                self._put(step, matrices)
            if self._stage.recipe.recovery_of("block") is None:
                turns.end()
        finally:
            turns.close()
        if routed:
            waiting = self._waiting(step, routed)
            self._put(step, waiting, waiting)

    def recover(self, step: Step, outputs: Sequence[Tensor | None], settings: Recovery) -> None:
        """Train what the block has left towards what the dense block gave."""
        known = [output for output in outputs if output is not None]
        found = None
        if len(known) == len(step.passes):
            found = recover_block(step, known, list(self._outcomes), settings)
        if found is None:
            if self._outcomes:
                self._stage.builder.untrained(step.block)
            return
        for matrix in self._outcomes:
            self._stage.builder.recovered(matrix, found)

    def changes(self) -> dict[str, Tensor]:
        """What became of the matrices that were due, by name; they are forgotten."""
        outcomes, self._outcomes = self._outcomes, {}
        return {m.name: change(self._stage.recipe, m, each) for m, each in outcomes.items()}

    def _fit(self, step: Step) -> bool:
        """Whether the inputs and outputs of the block's matrices fit for all batches at a time."""
        features = sum(sum(matrix.weight.shape) for matrix in self.met(step))
        sizes = [each.bytes_of(features) for each, _ in step.passes]
        device = next(iter(self._stage.batches[0].values())).device
        known = [size for size in sizes if size is not None]
        room = self._stage.adapter.memory.has_room(sum(known), device)
        return room and len(known) == len(sizes)

    def _waiting(
        self, step: Step, parts: Sequence[Sequence[Matrix]]
    ) -> dict[Matrix, tuple[Tensor, Outcome]]:
        """Copies that are pruned part after part, all on the block as it is now."""
        waiting = {}
        for part in parts:
            step.collect(self._calibration, part)
            for matrix in part:
                weight = matrix.fetch().clone()
                waiting[matrix] = weight, self._drop(matrix, weight)
            self._calibration.forget(part)
        return waiting

    def _put(
        self,
        step: Step,
        matrices: Iterable[Matrix],
        waiting: Mapping[Matrix, tuple[Tensor, Outcome]] = MappingProxyType({}),
    ) -> None:
        """Prune those that are due after the block, or put in place what waits pruned."""
        meant = set(matrices)
        due = [m for m in self._stage.targets.due.get(step.block, ()) if m in meant]
        for number, matrix in enumerate(due, 1):
            weight = matrix.fetch()
            if matrix in waiting:
                pruned, outcome = waiting[matrix]
                weight.copy_(pruned)
            else:
                outcome = self._drop(matrix, weight)
            matrix.put_back(weight)
            self._stage.builder.enter(matrix, self._selections[matrix].count, outcome)
            self._outcomes[matrix] = outcome
            self._calibration.forget(due[:number], needed=due[number:])

    def _drop(self, matrix: Matrix, weight: Tensor) -> Outcome:
        found = self._calibration.of(matrix)
        with naming(matrix):
            seen = None if found is None else found.tokens
            if self._stage.builder.saw_enough(matrix, seen) and found is not None:
                return self._prune_one(matrix, weight, found)
            return MAGNITUDE.drop(weight, None, self._selections[matrix])


def apply_again(stage: Stage, due: Sequence[Matrix], changes: Mapping[str, Tensor]) -> None:
    """Do to the matrices what an earlier run did."""
    for matrix in due:
        apply(stage.recipe, matrix, changes[matrix.name])
        stage.adapter.memory.release()


TOGETHER = 1 << 30
"""Bytes that the statistics of a block's experts may take at a time. Second moments of hundreds of
experts are many times the size of their weights."""


def watched_together(
    targets: Targets, block: Block, statistic: type[Statistic]
) -> list[list[Matrix]]:
    """Matrices whose statistics are summed at a time: all of them, or the block's experts in parts.

    The first part has everything else, and as many experts as there is room for.
    """
    groups = [[matrix for matrix in targets.blocks if not matrix.routed]]
    experts: dict[nn.Module, list[Matrix]] = defaultdict(list)
    for matrix in targets.due.get(block, ()):
        if matrix.routed:
            experts[matrix.callers[0]].append(matrix)
    room = TOGETHER
    for matrices in experts.values():
        size = statistic.size(matrices[0].weight.shape[1])
        if size > room and room < TOGETHER:
            groups.append([])
            room = TOGETHER
        groups[-1] += matrices
        room -= size
    return groups
