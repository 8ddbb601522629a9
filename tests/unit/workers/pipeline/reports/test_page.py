"""The page shows what the report holds, stands alone, and runs nothing that names smuggle in."""

import xml.etree.ElementTree as ET

import pytest

from app.domain.job_result import Sizes
from app.domain.submission import JobRequest, resolve
from app.recipes.coverage import Coverage, Covered
from app.recipes.evaluation import Estimate, EvaluationReport, Measured, MetricName, SampleAnswer
from app.recipes.modality import Modality
from app.recipes.pruning_report import PAGE_FILE, MatrixReport, PruningReport, tally
from app.recipes.recipe import build_recipe
from workers.pipeline.reports.card import CARD, write_card, write_page
from workers.pipeline.reports.plots import plots

EVIL = "<script>alert(1)</script>"


def matrix(block, modality, zeros):
    return MatrixReport(
        module=f"{block}.fc",
        file_key=f"{block}.fc.weight",
        block=block,
        modality=modality,
        shape=(10, 10),
        weights=100,
        asked=50,
        zeros=zeros,
        lost_score=0.125,
    )


COVERAGE = Coverage.of(
    [
        Covered("layers.0.fc.weight", 200, 200, in_block=True, reason=""),
        Covered(f"{EVIL}.weight", 600, 0, in_block=False, reason=EVIL),
    ]
)


def reported():
    """A report whose names are hostile."""
    matrices = (
        matrix("vision.0", Modality.VISION, 50),
        matrix(EVIL, Modality.LANGUAGE, 75),
    )
    once = Estimate(value=0.5, low=0.25, high=0.75)
    measured = Measured(samples=8, before=once, after=once, change=once)
    return PruningReport(
        recipe=build_recipe("magnitude", {}, "unstructured", sparsity=0.5),
        matrices=matrices,
        blocks={m.block: tally([m]) for m in matrices},
        modalities={m.modality: tally([m]) for m in matrices},
        model=tally(list(matrices)),
        coverage=COVERAGE,
        warnings=(EVIL,),
        evaluation=EvaluationReport(
            set="scenes",
            sha256="0",
            samples=8,
            metrics={MetricName.ACCURACY: measured},
            answers=(SampleAnswer.of(1, prompt=EVIL, expected="red", dense="red", pruned="mauve"),),
        ),
    )


def written(directory):
    """The page of it."""
    report = reported()
    write_page(directory, f"model {EVIL}", report, Sizes(dense=1000, packed=600), plots(report))
    return (directory / PAGE_FILE).read_text()


@pytest.fixture
def page(tmp_path):
    return written(tmp_path)


def test_the_plot_has_a_bar_per_block(page):
    plot = ET.fromstring(page[page.index("<svg") : page.index("</svg>") + 6])
    namespace = "{http://www.w3.org/2000/svg}"
    widths = [float(bar.get("width")) for bar in plot.iter(f"{namespace}rect")]
    assert widths == [250, 375]
    assert len({bar.get("fill") for bar in plot.iter(f"{namespace}rect")}) == 2
    labels = [text.text for text in plot.iter(f"{namespace}text")]
    assert labels == ["vision.0", "50.00%", EVIL, "75.00%"]


def drawings(page):
    return [ET.fromstring(part.partition("</svg>")[0] + "</svg>") for part in svgs(page)]


def svgs(page):
    return [f"<svg{part}" for part in page.split("<svg")[1:]]


def test_scores_and_quality_are_drawn(page):
    _, scores, quality = drawings(page)
    namespace = "{http://www.w3.org/2000/svg}"
    widths = [
        [float(bar.get("width")) for bar in plot.iter(f"{namespace}rect")]
        for plot in (scores, quality)
    ]
    assert widths == [[62.5, 62.5], [333.3, 333.3]]
    assert [path.get("d") for path in quality.iter(f"{namespace}path")] == [
        "M496.7 9H830.0",
        "M496.7 27H830.0",
    ]


def test_numbers_of_the_report_are_on_the_page(page):
    for shown in ("62.50%", "1,000 bytes", "600 in its packed", "accuracy", "0.5 [0.25, 0.75]"):
        assert shown in page
    assert page.count("12.50%") == 4  # in the table and in the plot


def test_answers_are_on_the_page_and_not_on_the_card(page, tmp_path):
    said = page.partition("Answers to the first records")[2]
    assert "<td>red</td><td>red</td><td>mauve</td>" in said
    spec = resolve(JobRequest(model="m", method="magnitude", sparsity=0.5))
    sizes = Sizes(dense=1000, packed=600)
    write_card(tmp_path, spec, reported(), sizes, licence={}, drawn=())
    card = (tmp_path / CARD).read_text()
    assert "| accuracy | 8 | 0.5 [0.25, 0.75]" in card
    assert "mauve" not in card


def test_the_page_says_how_much_of_the_model_was_reached(page):
    for shown in ("25.0% of the model&#x27;s 800 weights", "100.0% of those in blocks", "15.62%"):
        assert shown in page
    assert "75.0%" in page.partition("left dense")[2]


def test_the_card_says_how_much_of_the_model_was_reached(tmp_path):
    spec = resolve(JobRequest(model="m", method="magnitude", sparsity=0.5))
    sizes = Sizes(dense=1000, packed=600)
    write_card(tmp_path, spec, reported(), sizes, licence={}, drawn=())
    card = (tmp_path / CARD).read_text()
    assert "They hold 25.0% of the model's 800 weights (100.0% of those in blocks)" in card
    assert "15.62% of the whole model is zero" in card


def test_nothing_is_loaded_and_nothing_runs(page):
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 4
    for loading in ("src=", "href=", "url(", "@import"):
        assert loading not in page
