"""The plots of a report as SVG: sparsity and scores by block, quality before and after."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from app.domain.evaluation import EvaluationReport
from app.domain.recipe import Modality
from app.domain.report import PruningReport

FOLDER = "plots"
# Okabe and Ito's palette, which colour-blind readers can tell apart.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_ROW, _LABEL, _BAR, _END = 18, 330, 500, 90  # pixels


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
        top = number * _ROW
        asked = _LABEL + _BAR * tally.asked / max(tally.weights, 1)
        rows += [
            *_bar(top, block, tally.sparsity, colour[block], f"{tally.sparsity:.2%}"),
            f'<path d="M{asked:.1f} {top + 1}v{_ROW - 2}" stroke="#000"/>',
        ]
    return _svg("Sparsity of every block, and what was asked for", len(report.blocks), rows)


def _scores(report: PruningReport) -> str:
    """How important the allocation found the groups; else the share of the scores that went."""
    if report.allocation is not None:
        groups = report.allocation.groups
        top = max((group.score for group in groups), default=0) or 1
        told = [(group.name, group.score / top, f"{group.score:.3g}") for group in groups]
        bars = [
            line
            for number, (name, share, text) in enumerate(told)
            for line in _bar(number * _ROW, name, share, COLOURS[0], text)
        ]
        return _svg("Score of every group, by which the budget was shared out", len(told), bars)
    colour = _colour_of_blocks(report)
    lost: dict[str, list[float]] = {}
    for matrix in report.matrices:
        if matrix.lost_score is not None:
            lost.setdefault(matrix.block, []).append(matrix.lost_score)
    means = {block: sum(values) / len(values) for block, values in lost.items()}
    bars = [
        line
        for number, (block, share) in enumerate(means.items())
        for line in _bar(number * _ROW, block, share, colour[block], f"{share:.2%}")
    ]
    return _svg("Share of the scores that went, by block", len(means), bars) if means else ""


def _quality(report: EvaluationReport) -> str:
    """Two bars a metric, dense and pruned, each with its interval, to the metric's own scale."""
    rows: list[str] = []
    for number, (name, measured) in enumerate(report.metrics.items()):
        pair = (("dense", measured.before), ("pruned", measured.after))
        reach = max(max(abs(each.low), abs(each.high)) for _, each in pair) or 1
        for place, (which, each) in enumerate(pair):
            top = (2 * number + place) * _ROW
            text = f"{each.value:.4g}"
            rows += _bar(
                top, f"{name.value}, {which}", abs(each.value) / reach, COLOURS[place], text
            )
            low, high = (_LABEL + _BAR * abs(edge) / reach for edge in (each.low, each.high))
            rows.append(f'<path d="M{low:.1f} {top + 9}H{high:.1f}" stroke="#000"/>')
    return _svg("Quality before and after", 2 * len(report.metrics), rows)


def _bar(top: int, label: str, share: float, colour: str, text: str) -> Sequence[str]:
    bar = f'x="{_LABEL}" y="{top + 3}" width="{share * _BAR:.1f}" height="{_ROW - 6}"'
    return (
        f'<text x="{_LABEL - 8}" y="{top + 13}" text-anchor="end">{escape(label)}</text>',
        f'<rect {bar} fill="{colour}"/>',
        f'<text x="{_LABEL + _BAR + 8}" y="{top + 13}">{escape(text)}</text>',
    )


def _svg(label: str, rows: int, parts: Iterable[str]) -> str:
    size = f"0 0 {_LABEL + _BAR + _END} {max(rows, 1) * _ROW}"
    font = 'font-family="system-ui, sans-serif" font-size="11"'
    shape = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" {font} role="img"'
    return "\n".join([f'{shape} aria-label="{escape(label)}">', *parts, "</svg>"])
