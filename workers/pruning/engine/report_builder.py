"""Builds the report of a run, and reports its progress on the way."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

from app.recipes.coverage import Coverage
from app.recipes.modality import Modality
from app.recipes.pruning_report import (
    AllocationReport,
    MatrixReport,
    PruningReport,
    Tally,
    Target,
    tally,
)
from app.recipes.recipe import Recipe
from workers.pruning.allocation.budgets import Scope, scopes
from workers.pruning.engine.targets import Targets
from workers.pruning.importance.criterion import Outcome
from workers.pruning.models.layout.structure import Block, Matrix
from workers.pruning.recovery.training import Recovered
from workers.pruning.selection.selection import zeros

PruningPhase: TypeAlias = Literal["reducing", "allocating", "calibrating", "pruning"]


@dataclass(frozen=True, slots=True)
class Progress:
    """One block is done.

    Attributes:
        phase: `reducing` while structure is taken out, `allocating` while scores are measured,
            `calibrating` while the dense model is run for its statistics, then `pruning`.
        block: name of the block.
        done: number of blocks up to this one.
        total: number of blocks up to the last that is pruned.
        warnings: what came up in this block.
        modality: the part of the model it serves; None where it holds nothing to prune.
    """

    phase: PruningPhase
    block: str
    done: int
    total: int
    warnings: tuple[str, ...] = ()
    modality: Modality | None = None


ProgressListener: TypeAlias = Callable[[Progress], None]
"""Told after every block. What it raises ends the run: that is how a run is cancelled."""


_K = TypeVar("_K", bound=Hashable)
_COLLAPSE = 0.6


class ReportBuilder:
    """Collects what happens to each matrix."""

    def __init__(
        self,
        recipe: Recipe,
        targets: Targets,
        report: ProgressListener,
        warnings: Iterable[str],
        coverage: Coverage | None = None,
    ) -> None:
        """Begin; `warnings` are those known before the run."""
        self._coverage = coverage
        self._recipe = recipe
        self._targets = targets
        self._modalities = {block: matrix.modality for matrix, block in targets.blocks.items()}
        self._report = report
        self._matrices: dict[Matrix, MatrixReport] = {}
        self._warnings = list(warnings)
        self._allocation: AllocationReport | None = None
        self._told = 0
        self._starved: dict[tuple[str, int], dict[int, int]] = {}
        high = sorted(
            {m.modality for m in targets.blocks if recipe.sparsity_of(m.modality) > _COLLAPSE}
        )
        if high:
            self._note(
                f"above {_COLLAPSE:.0%} sparsity ({', '.join(high)}) quality often collapses "
                "without retraining"
            )

    def saw_enough(self, matrix: Matrix, tokens: int | None) -> bool:
        """Whether a matrix saw enough data to be ranked by it; if not, that is noted.

        Args:
            matrix: any.
            tokens: how many it saw; None for none.
        """
        if matrix.place.expert is None:
            if tokens is None:
                self._note(
                    f"{matrix.name} saw no calibration data; its weights are ranked by magnitude"
                )
            return tokens is not None
        if (tokens or 0) >= self._recipe.expert_tokens:
            return True
        index, count = matrix.place.expert
        name = matrix.name.rpartition(f".{index}.")[0]
        self._starved.setdefault((name, count), {})[index] = tokens or 0
        return False

    def note_starved(self) -> None:
        """Note the experts that saw too few tokens, in one sentence for all of a block."""
        for (name, count), found in self._starved.items():
            each = ", ".join(f"{index} ({tokens})" for index, tokens in sorted(found.items()))
            self._note(
                f"{name}: {len(found)} of {count} experts saw fewer than "
                f"{self._recipe.expert_tokens} calibration tokens; their weights are ranked by "
                f"magnitude: {each}"
            )
        self._starved.clear()

    def unused(self, matrix: Matrix) -> None:
        """Note that the loss does not depend on a matrix."""
        self._note(f"the loss does not depend on {matrix.name}; its weights go before all others")

    def enter(self, matrix: Matrix, asked: int, outcome: Outcome | None) -> None:
        """Record a finished matrix; a later stage replaces an earlier one."""
        self._warnings += [f"{matrix.name}: {text}" for text in outcome.warnings] if outcome else []
        weight = matrix.fetch()
        count = zeros(weight)
        if count == weight.numel():
            self._note(f"all weights of {matrix.name} went: its output is constant")
        self._matrices[matrix] = MatrixReport(
            module=matrix.name,
            file_key=matrix.file_key,
            block=self._targets.blocks[matrix].name,
            modality=matrix.modality,
            shape=(weight.shape[0], weight.shape[1]),
            weights=weight.numel(),
            asked=asked,
            zeros=count,
            mean_score=outcome.mean_score if outcome else None,
            lost_score=outcome.lost_score if outcome else None,
            error=outcome.error if outcome else None,
            relative_error=outcome.relative_error if outcome else None,
            dense_share=outcome.dense_share if outcome else None,
            target_damping=outcome.target_damping if outcome else None,
        )

    def recovered(self, matrix: Matrix, found: Recovered) -> None:
        """Record what training the matrix's block came to."""
        told = {"recovery": (found.before, found.after)}
        self._matrices[matrix] = self._matrices[matrix].model_copy(update=told)

    def untrained(self, block: Block) -> None:
        """Warn of a block that was to be trained and was not."""
        self._warnings.append(
            f"{block.name}: not trained: it takes two calibration batches, one of them held out, "
            "a linear layer that is no expert's, and blocks that hand over hidden states alone"
        )

    def restore(self, matrix: Matrix, report: MatrixReport) -> None:
        """Record a matrix that an earlier run has finished."""
        self._matrices[matrix] = report

    def entry(self, matrix: Matrix) -> MatrixReport | None:
        """What is recorded of a matrix, once it is finished."""
        return self._matrices.get(matrix)

    def repeat(self, warnings: Iterable[str]) -> None:
        """Take over warnings of an earlier run."""
        self._warnings += warnings

    def share_out(self, allocation: AllocationReport, warnings: Iterable[str]) -> None:
        """Record how the budget was shared out."""
        self._allocation = allocation
        self._warnings += warnings

    def measured(self, batch: int, batches: int, matrix: Matrix) -> None:
        """Tell that the blocks up to that of `matrix` are scored on a batch."""
        block = self._targets.blocks[matrix]
        place, last = self._place(block), self._place(self._targets.last)
        self._tell("allocating", block, batch * last + min(place, last), batches * last)

    def progress(self, phase: PruningPhase, block: Block) -> None:
        """Tell that a block is done, with the warnings since the last time."""
        self._tell(phase, block, self._place(block), self._place(self._targets.last))

    def _place(self, block: Block) -> int:
        return self._targets.position[block] + 1

    def _tell(self, phase: PruningPhase, block: Block, done: int, total: int) -> None:
        fresh = tuple(self._warnings[self._told :])
        self._told = len(self._warnings)
        modality = self._modalities.get(block)
        self._report(Progress(phase, block.name, done, total, fresh, modality))

    def batch(self, done: int, total: int) -> None:
        """Tell that a batch is differentiated."""
        self._report(Progress("calibrating", f"gradients of batch {done}", done, total))

    @property
    def warnings(self) -> tuple[str, ...]:
        """All so far."""
        return tuple(self._warnings)

    def _note(self, warning: str) -> None:
        if warning not in self._warnings:  # every stage finds it out anew
            self._warnings.append(warning)

    def close(self) -> PruningReport:
        """The finished report, totals included."""
        self.note_starved()
        # In the model's order, whatever the turn in which each of them was pruned.
        known = self._matrices
        matrices = [known[matrix] for matrix in self._targets.blocks if matrix in known]
        targets = tuple(self._target(each) for each in scopes(self._recipe, self._matrices))
        for each in targets:
            if each.target == 0:
                self._note(_nothing(each))
            if each.difference:
                self._note(_off(each))
        return PruningReport(
            recipe=self._recipe,
            targets=targets,
            matrices=tuple(matrices),
            blocks=_totals(matrices, lambda m: m.block),
            modalities=_totals(matrices, lambda m: m.modality),
            model=tally(matrices),
            coverage=self._coverage,
            warnings=tuple(self._warnings),
            allocation=self._allocation,
        )

    def _target(self, scope: Scope) -> Target:
        found = sum(self._matrices[matrix].zeros for matrix in scope.matrices)
        return Target(
            scope=scope.name,
            weights=sum(matrix.numel for matrix in scope.matrices),
            sparsity=scope.sparsity,
            target=scope.count,
            zeros=found,
            difference=found - scope.count,
        )


def _nothing(target: Target) -> str:
    return (
        f"{target.scope}: {target.sparsity:g} of {target.weights:,} weights is less than one "
        "weight, so none was asked to go"
    )


def _off(target: Target) -> str:
    told = f"{target.scope}: {target.zeros:,} weights are zero and {target.target:,} were asked for"
    if target.difference > 0:
        return (
            f"{told}; the others were zero before, or became zero when they were updated or rounded"
        )
    return f"{told}; every matrix or row is rounded down by itself (`rounding`)"


def _totals(reports: Iterable[MatrixReport], key: Callable[[MatrixReport], _K]) -> dict[_K, Tally]:
    groups: dict[_K, list[MatrixReport]] = defaultdict(list)
    for each in reports:
        groups[key(each)].append(each)
    return {name: tally(members) for name, members in groups.items()}
