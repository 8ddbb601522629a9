"""The report as one page for people: `report.html`, with its plots inside and nothing loaded."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from app.domain.evaluation import EvaluationReport
from app.domain.recipe import Modality
from app.domain.report import MatrixReport, PruningReport, Tally
from workers.pipeline.packing import Sizes

PAGE = "report.html"
# Okabe and Ito's palette, which colour-blind readers can tell apart.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 }
td, th { padding: .15rem .7rem; border-bottom: 1px solid #ddd; text-align: right }
td:first-child, th:first-child { text-align: left }
svg { max-width: 100%; height: auto; font: 11px system-ui, sans-serif }
"""
_ROW, _LABEL, _BAR, _END = 18, 330, 500, 70  # pixels of the plot


def write_page(directory: Path, title: str, report: PruningReport, sizes: Sizes) -> None:
    """Write the page beside the checkpoint.

    Args:
        directory: the staged files.
        title: what was pruned, and how.
        report: what was done and measured.
        sizes: what the files weigh.
    """
    parts = [
        f"<h1>{escape(title)}</h1>",
        _totals(report, sizes),
        "<h2>Sparsity per block</h2>",
        _legend(report),
        _plot(report),
        *(_evaluation(report.evaluation) if report.evaluation else ()),
        *(_warnings(report.warnings) if report.warnings else ()),
        "<details><summary>Every matrix</summary>",
        _matrices(report.matrices),
        "</details>",
    ]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    body = "\n".join(parts)
    page = f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'
    (directory / PAGE).write_text(page, encoding="utf-8")


def _totals(report: PruningReport, sizes: Sizes) -> str:
    rows = [(modality.value, tally) for modality, tally in report.modalities.items()]
    table = _table(
        ("modality", "weights", "asked", "zero", "sparsity"),
        ((name, *_cells(tally)) for name, tally in [*rows, ("all", report.model)]),
    )
    return (
        f"{table}<p>The checkpoint has {sizes.dense:,} bytes, and {sizes.packed:,} in its packed "
        "form. Unstructured zeros make a model compressible, not faster.</p>"
    )


def _cells(tally: Tally) -> tuple[str, ...]:
    return f"{tally.weights:,}", f"{tally.asked:,}", f"{tally.zeros:,}", f"{tally.sparsity:.2%}"


def _colours(report: PruningReport) -> dict[Modality, str]:
    return dict(zip(report.modalities, _COLOURS, strict=False))


def _legend(report: PruningReport) -> str:
    named = (
        f'<span style="color:{colour}">&#9632;</span> {escape(modality.value)}'
        for modality, colour in _colours(report).items()
    )
    return f"<p>{' '.join(named)} &nbsp; | asked for</p>"


def _plot(report: PruningReport) -> str:
    colours = _colours(report)
    modality = {matrix.block: matrix.modality for matrix in report.matrices}
    rows = []
    for number, (block, tally) in enumerate(report.blocks.items()):
        top, width = number * _ROW, tally.sparsity * _BAR
        asked = _LABEL + _BAR * tally.asked / max(tally.weights, 1)
        bar = f'x="{_LABEL}" y="{top + 3}" width="{width:.1f}" height="{_ROW - 6}"'
        rows += [
            f'<text x="{_LABEL - 8}" y="{top + 13}" text-anchor="end">{escape(block)}</text>',
            f'<rect {bar} fill="{colours[modality[block]]}"/>',
            f'<path d="M{asked:.1f} {top + 1}v{_ROW - 2}" stroke="#000"/>',
            f'<text x="{_LABEL + _BAR + 8}" y="{top + 13}">{tally.sparsity:.2%}</text>',
        ]
    size = f"0 0 {_LABEL + _BAR + _END} {len(report.blocks) * _ROW}"
    label = "Sparsity of every block, and what was asked for"
    shape = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" role="img"'
    return "\n".join([f'{shape} aria-label="{label}">', *rows, "</svg>"])


def _evaluation(report: EvaluationReport) -> list[str]:
    rows = (
        (
            name.value,
            f"{measured.samples:,}",
            *(
                f"{estimate.value:.4g} [{estimate.low:.4g}, {estimate.high:.4g}]"
                for estimate in (measured.before, measured.after, measured.change)
            ),
        )
        for name, measured in report.metrics.items()
    )
    return [
        f"<h2>Quality on {escape(report.set)}</h2>",
        _table(("metric", "records", "dense", "pruned", "difference"), rows),
        "<p>Brackets are 95&nbsp;% bootstrap intervals; differences are paired by record.</p>",
    ]


def _warnings(warnings: Sequence[str]) -> list[str]:
    return ["<h2>Warnings</h2><ul>", *(f"<li>{escape(text)}</li>" for text in warnings), "</ul>"]


def _matrices(matrices: Sequence[MatrixReport]) -> str:
    head = ("matrix", "modality", "shape", "weights", "asked", "zero", "sparsity", "scores lost")
    return _table(
        head,
        (
            (
                matrix.module,
                matrix.modality.value,
                " x ".join(map(str, matrix.shape)),
                *_cells(matrix),
                "" if matrix.lost_score is None else f"{matrix.lost_score:.2%}",
            )
            for matrix in matrices
        ),
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [_line("th", head), *(_line("td", row) for row in rows)]
    return "\n".join(["<table>", *lines, "</table>"])


def _line(tag: str, cells: Iterable[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"
