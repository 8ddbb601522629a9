"""The plots of a report as SVG: sparsity and scores by block, quality before and after."""

from pathlib import Path

from app.recipes.evaluation import EvaluationReport
from app.recipes.pruning_report import PruningReport
from app.recipes.recipe import Modality
from workers.pipeline.reports.bars import COLOURS, LABEL, LENGTH, ROW, bar, chart, interval

FOLDER = "plots"


def plots(report: PruningReport) -> dict[str, str]:
    """The plots that the report has data for, by name."""
    found = {"sparsity": _sparsity(report), "scores": _scores(report)}
    if report.evaluation is not None:
        found["quality"] = _quality(report.evaluation)
    return {name: svg for name, svg in found.items() if svg}


def write_plots(directory: Path, drawn: dict[str, str]) -> None:
    """Write each as a file of its own."""
    (directory / FOLDER).mkdir()
    for name, svg in drawn.items():
        (directory / FOLDER / f"{name}.svg").write_text(svg + "\n", encoding="utf-8")


def colours(report: PruningReport) -> dict[Modality, str]:
    """One for each modality."""
    return dict(zip(report.modalities, COLOURS, strict=False))


def _colour_of_blocks(report: PruningReport) -> dict[str, str]:
    by_modality = colours(report)
    return {matrix.block: by_modality[matrix.modality] for matrix in report.matrices}


def _sparsity(report: PruningReport) -> str:
    colour = _colour_of_blocks(report)
    rows = []
    for number, (block, tally) in enumerate(report.blocks.items()):
        top = number * ROW
        asked = LABEL + LENGTH * tally.asked / max(tally.weights, 1)
        rows += [
            *bar(top, block, tally.sparsity, colour[block], f"{tally.sparsity:.2%}"),
            f'<path d="M{asked:.1f} {top + 1}v{ROW - 2}" stroke="#000"/>',
        ]
    return chart("Sparsity of every block, and its budget", len(report.blocks), rows)


def _scores(report: PruningReport) -> str:
    """How important the allocation found the groups; else the share of the scores that went."""
    if report.allocation is not None:
        groups = report.allocation.groups
        top = max((group.score for group in groups), default=0) or 1
        told = [(group.name, group.score / top, f"{group.score:.3g}") for group in groups]
        bars = [
            line
            for number, (name, share, text) in enumerate(told)
            for line in bar(number * ROW, name, share, COLOURS[0], text)
        ]
        return chart("Score of every group, by which the budget was shared out", len(told), bars)
    colour = _colour_of_blocks(report)
    lost: dict[str, list[float]] = {}
    for matrix in report.matrices:
        if matrix.lost_score is not None:
            lost.setdefault(matrix.block, []).append(matrix.lost_score)
    means = {block: sum(values) / len(values) for block, values in lost.items()}
    bars = [
        line
        for number, (block, share) in enumerate(means.items())
        for line in bar(number * ROW, block, share, colour[block], f"{share:.2%}")
    ]
    return chart("Share of the scores that went, by block", len(means), bars) if means else ""


def _quality(report: EvaluationReport) -> str:
    """Two bars a metric, dense and pruned, each with its interval, to the metric's own scale."""
    rows: list[str] = []
    for number, (name, measured) in enumerate(report.metrics.items()):
        pair = (("dense", measured.before), ("pruned", measured.after))
        reach = max(max(abs(each.low), abs(each.high)) for _, each in pair) or 1
        for place, (which, each) in enumerate(pair):
            top = (2 * number + place) * ROW
            text = f"{each.value:.4g}"
            rows += bar(
                top, f"{name.value}, {which}", abs(each.value) / reach, COLOURS[place], text
            )
            rows.append(interval(top, abs(each.low) / reach, abs(each.high) / reach))
    return chart("Quality before and after", 2 * len(report.metrics), rows)
