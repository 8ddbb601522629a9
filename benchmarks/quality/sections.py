"""The tables of a grid as lists of cells, and their rows."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from app.errors import SecateurError
from benchmarks.quality import cell, tuning
from benchmarks.quality.cache import cached
from benchmarks.quality.cell import DENSE, Cell, find_subject, model_digest
from benchmarks.quality.grid import Grid, Subject
from benchmarks.quality.pruners import find_pruner
from benchmarks.quality.tuning import TASKS, TunedCell


@dataclass
class Section:
    """One table.

    Attributes:
        name: of the model, or of the task it was tuned on.
        subject: name of the model.
        cells: what is measured.
        compute: how.
        rows: what is known so far.
    """

    name: str
    subject: str
    cells: Sequence[Cell | TunedCell]
    compute: Callable[[Any], dict[str, Any]]
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def tuned(self) -> bool:
        """Whether the models were fine-tuned after pruning."""
        return self.compute is tuning.compute


def sections(grid: Grid) -> list[Section]:
    """Table 1, a section for each model, then table 2, one for each task; dense models first."""
    here = [find_subject(name) for name in grid.subjects]
    tasks = [(task, find_subject(task.subject)) for task in TASKS]
    made = [_pruned(grid, subject) for subject in here if subject.directory]
    if grid.tuned_pruners:
        made += [_tuned(grid, task, subject) for task, subject in tasks if subject.directory]
    return made


def _pruned(grid: Grid, subject: Subject) -> Section:
    samples = round(subject.samples * grid.evaluation_share)
    shown = min(subject.calibration or grid.calibration_samples, grid.calibration_samples)
    cells = [
        Cell(subject.name, pruner, sparsity, seed, shown, samples)
        for seed in subject.seeds or grid.seeds
        for sparsity in subject.sparsities or grid.sparsities
        for pruner in subject.pruners or grid.pruners
    ]
    dense = Cell(subject.name, DENSE, 0.0, 0, 0, samples)
    return Section(subject.name, subject.name, [dense, *cells], cell.compute)


def _tuned(grid: Grid, task: tuning.Task, subject: Subject) -> Section:
    samples = round(subject.samples * grid.evaluation_share)
    common = (grid.calibration_samples, samples, grid.tuning_steps)
    cells = [
        TunedCell(task.name, pruner, sparsity, seed, *common)
        for seed in grid.tuned_seeds
        for sparsity in grid.tuned_sparsities
        for pruner in grid.tuned_pruners
    ]
    dense = TunedCell(task.name, DENSE, 0.0, 0, *common)
    return Section(task.name, subject.name, [dense, *cells], tuning.compute)


def fill(section: Section, *, known_only: bool) -> None:
    """Add the rows; a method that does not fit the model is named and left out.

    Args:
        section: the table.
        known_only: compute nothing that is not there from an earlier run.
    """
    digest = model_digest(section.subject)
    for number, each in enumerate(section.cells, start=1):
        try:
            row = cached(_unseeded(each), digest, None if known_only else section.compute)
        except SecateurError as error:
            print(f"{each}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            continue
        if row is not None:
            print(f"{number}/{len(section.cells)} {each} {row['value']:.4f}", flush=True)
            section.rows.append(row | {"cell": asdict(each)})


def _unseeded(each: Cell | TunedCell) -> Cell | TunedCell:
    """The cell that gives the same row: magnitudes are the same whatever seed and calibration."""
    tuned = isinstance(each, TunedCell)  # the seed also orders what a model is tuned on
    if tuned or each.pruner == DENSE or find_pruner(each.pruner).seeded:
        return each
    return replace(each, seed=0, calibration=0)
