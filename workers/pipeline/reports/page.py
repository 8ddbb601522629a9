"""The report as one page for people: `report.html`, with its plots inside and nothing loaded."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from app.recipes.evaluation import EvaluationReport
from app.recipes.pruning_report import PAGE_FILE, TIMELINE, MatrixReport, PruningReport, Tally
from workers.pipeline.export.sizes import Sizes
from workers.pipeline.reports.plots import colours

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 }
td, th { padding: .15rem .7rem; border-bottom: 1px solid #ddd; text-align: right }
td:first-child, th:first-child { text-align: left }
svg { max-width: 100%; height: auto; font: 11px system-ui, sans-serif }
"""


def write_page(
    directory: Path, title: str, report: PruningReport, sizes: Sizes, drawn: Mapping[str, str]
) -> None:
    """Write the page beside the checkpoint.

    Args:
        directory: the staged files.
        title: what was pruned, and how.
        report: what was done and measured.
        sizes: what the files weigh.
        drawn: plots by name.
    """
    parts = [
        f"<h1>{escape(title)}</h1>",
        _totals(report, sizes),
        "<h2>Sparsity per block</h2>",
        _legend(report),
        drawn["sparsity"],
        *(("<h2>Scores</h2>", drawn["scores"]) if "scores" in drawn else ()),
        *(_evaluation(report.evaluation) if report.evaluation else ()),
        drawn.get("quality", ""),
        TIMELINE,
        *(_warnings(report.warnings) if report.warnings else ()),
        "<details><summary>Every matrix</summary>",
        _matrices(report.matrices),
        "</details>",
    ]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    body = "\n".join(parts)
    page = f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'
    (directory / PAGE_FILE).write_text(page, encoding="utf-8")


def _totals(report: PruningReport, sizes: Sizes) -> str:
    rows = [(modality.value, tally) for modality, tally in report.modalities.items()]
    table = _table(
        ("modality", "weights", "budget", "zero", "sparsity"),
        ((name, *_cells(tally)) for name, tally in [*rows, ("all", report.model)]),
    )
    targets = _table(
        ("target of", "weights", "sparsity asked", "target", "zero", "difference"),
        (
            (
                each.scope,
                f"{each.weights:,}",
                f"{each.sparsity:.4%}",
                f"{each.target:,}",
                f"{each.zeros:,}",
                f"{each.difference:+,}" if each.difference else "0",
            )
            for each in report.targets
        ),
    )
    return (
        f"{targets}{table}<p>The checkpoint has {sizes.dense:,} bytes, and {sizes.packed:,} in its "
        "packed form. Unstructured zeros make a model compressible, not faster.</p>"
    )


def _cells(tally: Tally) -> tuple[str, ...]:
    return f"{tally.weights:,}", f"{tally.asked:,}", f"{tally.zeros:,}", f"{tally.sparsity:.2%}"


def _legend(report: PruningReport) -> str:
    named = (
        f'<span style="color:{colour}">&#9632;</span> {escape(modality.value)}'
        for modality, colour in colours(report).items()
    )
    return f"<p>{' '.join(named)} &nbsp; | budget</p>"


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
        *(f"<p>{escape(text)}.</p>" for text in report.warnings),
    ]


def _warnings(warnings: Sequence[str]) -> list[str]:
    return ["<h2>Warnings</h2><ul>", *(f"<li>{escape(text)}</li>" for text in warnings), "</ul>"]


def _matrices(matrices: Sequence[MatrixReport]) -> str:
    head = ("matrix", "modality", "shape", "weights", "budget", "zero", "sparsity", "scores lost")
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
