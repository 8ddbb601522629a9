"""The quality benchmark: resumes by content, compares in pairs, keeps masks while it tunes."""

from dataclasses import dataclass
from xml.etree import ElementTree as ET

import pytest
import torch

from benchmarks.quality import cache, tuning
from benchmarks.quality.cell import DENSE
from benchmarks.quality.cell import Cell as QualityCell
from benchmarks.quality.curves import COLOURS, HEIGHT, WIDTH, curves
from benchmarks.quality.grid import GRIDS
from benchmarks.quality.page import write
from benchmarks.quality.pruners import TABLE, VARIANTS, find_pruner
from benchmarks.quality.sections import Section, fill, sections
from benchmarks.quality.tables import best_baseline, scores, table
from benchmarks.quality.texts import prose
from tests.families import BY_NAME
from workers.pipeline.data.builtin import Purpose
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model


def row(pruner, values, *, sparsity=0.5, seed=0, metric="accuracy"):
    return {
        "cell": {"pruner": pruner, "sparsity": sparsity, "seed": seed},
        "metric": metric,
        "value": sum(values) / len(values),
        "values": values,
        "weights": [1.0] * len(values),
    }


ROWS = [
    row("random", [0, 0, 0, 1]),
    row("Wanda", [1, 0, 1, 0], seed=0),
    row("Wanda", [1, 1, 1, 0], seed=1),
    row("MULTIFLOW", [1, 1, 1, 1]),
    row("MULTIFLOW", [1, 1, 1, 1], seed=1),
]


def test_the_best_baseline_is_bold_and_the_others_are_compared_with_it():
    text = "\n".join(table(ROWS, 1.0))
    assert "**0.625 ± 0.177**" in text
    assert "| MULTIFLOW | 1.000 ± 0.000 (+0.375 [" in text


def test_seeds_of_one_record_are_no_new_records():
    rows = [row("Wanda", [0, 1, 1, 1], seed=seed) for seed in range(3)]
    assert list(scores(rows).values) == [0, 1, 1, 1]


def test_a_method_of_this_project_is_no_baseline_and_lower_can_be_better():
    column = {"MULTIFLOW": [row("MULTIFLOW", [1.0])], "LAMP": [row("LAMP", [0.1])]}
    assert best_baseline(column) == "LAMP"
    column = {
        name: [row(name, [value], metric="perplexity")]
        for name, value in (("Wanda", 3.0), ("LAMP", 9.0))
    }
    assert best_baseline(column) == "Wanda"


@pytest.mark.parametrize("logarithmic", [False, True])
def test_curves_are_well_formed_and_inside_their_frame(logarithmic):
    line = [(0.4, 0.9), (0.8, 4000.0)]
    drawn = ET.fromstring(curves("a < b", {"x & y": line}, 1.0, logarithmic=logarithmic))
    spots = [
        tuple(map(float, spot.split(",")))
        for each in drawn.iter("{http://www.w3.org/2000/svg}polyline")
        for spot in each.attrib["points"].split()
    ]
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in spots)
    assert len({y for _, y in spots}) > 2


def test_a_picture_has_no_more_lines_than_can_be_told_apart():
    for pruners in (TABLE, VARIANTS):
        assert len([each for each in pruners if each.drawn]) <= len(COLOURS) == 7


@dataclass(frozen=True)
class Cell:
    number: int


def test_a_row_is_computed_once_per_cell_model_and_code(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "OUT", tmp_path)
    computed = []

    def compute(cell):
        computed.append(cell.number)
        return {"value": cell.number}

    for number, model in ((1, "a"), (1, "a"), (2, "a"), (1, "b")):
        assert cache.cached(Cell(number), model, compute) == {"value": number}
    assert computed == [1, 2, 1]
    assert cache.cached(Cell(3), "a", None) is None


def test_every_grid_names_pruners_that_are_there():
    for grid in GRIDS.values():
        assert all(map(find_pruner, grid.pruners + grid.tuned_pruners))
        assert sections(grid)


def test_magnitudes_are_pruned_once_for_all_seeds_and_a_page_tells_what_is_missing(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(cache, "OUT", tmp_path)
    computed = []

    def compute(cell):
        computed.append((cell.pruner, cell.seed))
        return row(cell.pruner, [1.0, 0.0], seed=cell.seed) | {"cpu_seconds": 1.0}

    pruners = (DENSE, "magnitude, uniform", "Wanda")
    cells = [QualityCell("scenes-llava", p, 0.5, seed, 8, 2) for seed in (0, 1) for p in pruners]
    section = Section("scenes-llava", "scenes-llava", cells, compute)
    fill(section, known_only=True)
    assert section.rows == []
    fill(section, known_only=False)
    assert computed.count(("magnitude, uniform", 0)) == 1
    assert {("Wanda", 0), ("Wanda", 1)} < set(computed)
    assert [found["cell"]["seed"] for found in section.rows] == [0, 0, 0, 1, 1, 1]
    section.rows.pop()
    out = write(GRIDS["quick"], [section], tmp_path)
    assert "1 of 6 rows are missing" in (out / "tables.md").read_text()
    assert (out / "scenes-llava.svg").exists()


def test_prose_is_split_by_content():
    parts = [{record.text for record in prose(part, seed=3)} for part in Purpose]
    assert not parts[0] & parts[1]
    assert min(map(len, parts)) > 32


@pytest.mark.parametrize(("family", "task"), [("llava", 1), ("clip", 2)])
def test_tuning_moves_weights_and_keeps_zeros(tmp_path, family, task):
    BY_NAME[family].build(tmp_path / family)
    adapter = adapt(load_model(tmp_path / family))
    matrix = adapter.matrices[0].parameter
    with torch.no_grad():
        matrix[:, ::2] = 0
    before = matrix.clone()
    tuning.tune(adapter, tuning.TASKS[task], 2, seed=0)
    assert (matrix[:, ::2] == 0).all()
    assert not torch.equal(matrix, before)
    assert not adapter.model.training
