"""Blocks that a run has finished, kept so that another run takes them over."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from app.recipes.pruning_report import MatrixReport
from app.recipes.recipe import Recipe
from workers.pruning.engine.report_builder import ReportBuilder
from workers.pruning.engine.targets import Targets
from workers.pruning.importance.criterion import Outcome
from workers.pruning.models.layout.structure import Block, Matrix
from workers.pruning.resume import Checkpoints, Entry
from workers.pruning.selection.keep_sparse import pack, unpack
from workers.pruning.selection.selection import zero

Take = Callable[[Sequence[Matrix], Mapping[str, Tensor]], None]
"""Given the matrices due in a block and what was kept of each that has something, by name."""


class BlockCheckpoints:
    """The blocks of one part of a run: an unbroken row from the first."""

    def __init__(
        self, checkpoints: Checkpoints, name: str, targets: Targets, builder: ReportBuilder
    ) -> None:
        """Keep them under names that begin with `name`."""
        self._checkpoints = checkpoints
        self._name = name
        self._targets = targets
        self._builder = builder

    def finished(self) -> dict[Block, Entry | None]:
        """What another run has kept of each block that it has finished; None of those without work.

        The row ends where a matrix would wait for a caller that comes after it.
        """
        found: list[tuple[Block, Entry | None]] = []
        end = 0
        for block in self._targets.position:
            entry = None
            if block in self._targets.due:
                entry = self._checkpoints.get(self._key(block))
                if entry is None:
                    break
            found.append((block, entry))
            if block in self._targets.seams:
                end = len(found)
        return dict(found[:end])

    def hand_over(self, block: Block, entry: Entry | None, take: Take) -> None:
        """Hand over what was kept of a block."""
        if entry is not None:
            take(self._targets.due[block], entry.tensors)
            self._restore(self._targets.due[block], entry.values)

    def blocks(self, take: Take) -> set[Block]:
        """Hand over all that another run has finished; returns the blocks."""
        found = self.finished()
        for block, entry in found.items():
            self.hand_over(block, entry, take)
        return set(found)

    @contextmanager
    def finishing(self, block: Block) -> Iterator[dict[str, Tensor]]:
        """Keep the tensors that are put into what is yielded, by matrix, unless it fails."""
        mark, tensors = len(self._builder.warnings), dict[str, Tensor]()
        yield tensors
        self._builder.note_starved()
        due = self._targets.due.get(block)
        if due is not None:
            reports = [self._builder.entry(matrix) for matrix in due]
            values = {
                "warnings": self._builder.warnings[mark:],
                "reports": [each and each.model_dump(mode="json") for each in reports],
            }
            self._checkpoints.put(self._key(block), Entry(values, tensors))

    def _restore(self, due: Iterable[Matrix], values: Mapping[str, Any]) -> None:
        self._builder.repeat(values["warnings"])
        for matrix, report in zip(due, values["reports"], strict=True):
            if report is not None:
                self._builder.restore(matrix, MatrixReport.model_validate(report))

    def _key(self, block: Block) -> str:
        return f"{self._name}/{block.name}"


def change(recipe: Recipe, matrix: Matrix, outcome: Outcome) -> Tensor:
    """What pruning did to a matrix: the bits of what went, or all weights where they were moved."""
    return matrix.weight.clone() if recipe.updates_weights else pack(outcome.mask)


def apply(recipe: Recipe, matrix: Matrix, kept: Tensor) -> None:
    """Do to a matrix what `change` saw."""
    if recipe.updates_weights:
        matrix.weight.copy_(kept)
    else:
        mask = unpack(kept, list(matrix.weight.shape))
        zero(matrix.weight, mask.to(matrix.weight.device))
