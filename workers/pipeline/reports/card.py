"""What readers of an artifact get: a model card (README.md) and a page in HTML."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from app.domain.job_result import Sizes
from app.domain.submission import JobSpec
from app.planning.model_files.files import HubModel, parse_model_source
from app.recipes.coverage import Coverage
from app.recipes.evaluation import EvaluationReport
from app.recipes.performance import NotMeasured, PerformanceReport
from app.recipes.pruning_report import (
    PAGE_FILE,
    TIMELINE,
    MatrixReport,
    ModelRecovery,
    PruningReport,
    Tally,
)
from app.recipes.quantization import QuantizationReport
from app.recipes.search import SearchReport
from app.recipes.structure_report import StructureReport
from app.recipes.tasks import TaskFailure, TaskReport
from workers.pipeline.reports import (
    evaluation,
    performance,
    quantization,
    search,
    structure,
    tasks,
)
from workers.pipeline.reports.plots import colours

CARD = "README.md"
_RUN = ("runtime", "checked with", "loads", "smaller in memory", "faster")
_ANSWERS = {True: "yes", False: "no", None: "not checked"}
_FEWER_BYTES = "Zeros make packed downloads and compressing disks smaller."
_LICENCE = ("license", "license_name", "license_link")


def read_licence(source: Path) -> dict[str, str]:
    """What the card of the base model says about its licence; it is that of the pruned one too."""
    try:
        text = (source / CARD).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    if not text.startswith("---\n"):
        return {}
    head = text.removeprefix("---\n").partition("\n---")[0]
    lines = (line.partition(":") for line in head.splitlines())
    found = {name.strip(): value.strip() for name, _, value in lines if not name.startswith(" ")}
    return {name: found[name] for name in _LICENCE if found.get(name)}


def base_name(spec: JobSpec) -> str:
    """The base model's name, whatever revision or directory it came from."""
    source = parse_model_source(spec.model)
    return source.repo_id if isinstance(source, HubModel) else Path(spec.model).name


def write_card(
    directory: Path,
    spec: JobSpec,
    report: PruningReport,
    sizes: Sizes,
    *,
    licence: Mapping[str, str],
    drawn: Collection[str],
) -> None:
    """Write the card beside the checkpoint.

    Args:
        directory: the staged files.
        spec: what was asked for.
        report: what was done and measured.
        sizes: what the files weigh.
        licence: metadata of the base model's card.
        drawn: names of the plots beside it.
    """
    source = parse_model_source(spec.model)
    base = base_name(spec)
    head = ["---", "library_name: transformers"]
    head += [f"{name}: {value}" for name, value in licence.items()]
    if isinstance(source, HubModel):
        head += [f"base_model: {base}"]
    sparse = ["- sparse"] if report.matrices else []
    sparse += ["- compressed-tensors"] if report.quantization else []
    head += ["tags:", "- pruned", *sparse, f"- {spec.method}", "---"]
    body = [f"# {base}, pruned with {spec.method}", ""]
    if report.structure is not None:
        body += [*structure.as_markdown(report.structure), ""]
    if report.matrices:
        body += [*_sparsity(report), ""]
    if report.quantization is not None:
        body += [quantization.summary(report.quantization), "", quantization.loading(), ""]
    if report.search is not None:
        body += [*search.as_markdown(report.search), ""]
    if report.recovery is not None:
        body += [_trained(report.recovery), ""]
    body += [_weight(sizes), "", *(f"![{name}](plots/{name}.svg)" for name in drawn), ""]
    body += [_calibration(spec)]
    if report.evaluation is not None:
        body += ["", *evaluation.as_markdown(report.evaluation)]
    if report.tasks:
        body += ["", *tasks.as_markdown(report.tasks)]
    body += [
        *_running(report),
        "",
        "The recipe and every matrix are in `pruning_report.json`.",
        "To make the same files again: `secateur reproduce manifest.json`.",
    ]
    if report.matrices:
        body += ["To train on with the zeros kept, see `sparse/keep_sparse.py`."]
    (directory / CARD).write_text("\n".join([*head, "", *body, ""]), encoding="utf-8")


def _running(report: PruningReport) -> list[str]:
    """Where the result runs, and what it takes."""
    lines = [_RUN, tuple("---" for _ in _RUN), *_runtimes(report)]
    body = ["", *(f"| {' | '.join(line)} |" for line in lines)]
    if report.matrices:
        body += ["", _FEWER_BYTES]
    if report.performance is not None:
        body += ["", *performance.as_markdown(report.performance)]
    return body


def _runtimes(report: PruningReport) -> list[tuple[str, ...]]:
    """What every runtime makes of the result, beside the dense model."""
    return [
        (
            each.runtime,
            each.version or "not checked",
            *(_ANSWERS[answer] for answer in (each.loads, each.smaller, each.faster)),
        )
        for each in report.runtime_support
    ]


def _sparsity(report: PruningReport) -> list[str]:
    """What became zero, in all and by modality."""
    return [
        _zeros(report),
        *_reached(report),
        "",
        "| modality | weights | sparsity |",
        "|---|---|---|",
        *(
            f"| {modality} | {tally.weights:,} | {tally.sparsity:.2%} |"
            for modality, tally in report.modalities.items()
        ),
    ]


def _trained(found: ModelRecovery) -> str:
    """What training the whole model has come to."""
    if found.rate is None:
        return "Training towards the dense model's predictions made no weights better."
    return (
        "What is left of the weights was trained towards the dense model's predictions: the "
        f"distance fell from {found.before:.4g} to {found.after:.4g} on batches held out."
    )


def _zeros(report: PruningReport) -> str:
    model = report.model
    off = f", {report.difference:+,} to them" if report.difference else ""
    return (
        f"{model.zeros:,} of {model.weights:,} weights in the pruned matrices are zero "
        f"({model.sparsity:.2%}); {report.target:,} were asked for{off}. The files are dense: "
        "zeros take as much room as other values, and unstructured zeros alone make nothing faster."
    )


def _reached(report: PruningReport) -> list[str]:
    """How much of the model the pruned matrices are, where that is known."""
    coverage = report.coverage
    if coverage is None or report.model_sparsity is None:
        return []
    text = (
        f"They hold {coverage.share:.1%} of the model's {coverage.weights:,} weights "
        f"({coverage.block_share:.1%} of those in blocks): {report.model_sparsity:.2%} of the "
        "whole model is zero by pruning."
    )
    return [text]


def _left_dense(coverage: Coverage) -> str:
    """A table of what is left dense."""
    return _table(
        ("left dense", "tensors", "weights", "share", "because it is"),
        (
            (
                each.name,
                f"{each.tensors:,}",
                f"{each.weights:,}",
                f"{each.weights / coverage.weights:.1%}",
                each.reason,
            )
            for each in coverage.dense
        ),
    )


def _weight(sizes: Sizes) -> str:
    return (
        f"The checkpoint has {sizes.dense:,} bytes; a packed download sends {sizes.packed:,} "
        f"({sizes.packed / sizes.dense:.0%}) and restores it bit for bit."
    )


def _calibration(spec: JobSpec) -> str:
    if spec.calibration is None:
        return "No calibration data was used."
    told = f"Calibrated on {spec.calibration.samples} records of `{spec.calibration.set}`"
    chosen = spec.calibration.tokens in {"atv", "amia"}
    return f"{told}, on tokens chosen by `{spec.calibration.tokens}`." if chosen else f"{told}."


_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 }
td, th { padding: .15rem .7rem; border-bottom: 1px solid #ddd; text-align: right }
td:first-child, th:first-child { text-align: left }
.said td, .said th { text-align: left; vertical-align: top; white-space: pre-wrap }
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
        *(_smaller(report.structure) if report.structure else ()),
        *(_zeroed(report, drawn) if report.matrices else ()),
        *(_searched(report.search) if report.search else ()),
        *((f"<p>{escape(_trained(report.recovery))}</p>",) if report.recovery else ()),
        *(_quantized(report.quantization) if report.quantization else ()),
        *_bytes(report, sizes),
        *(_evaluated(report.evaluation) if report.evaluation else ()),
        *(_tasks(report.tasks) if report.tasks else ()),
        drawn.get("quality", ""),
        "<h2>Where it runs</h2>",
        _table(_RUN, _runtimes(report)),
        *(_performance(report.performance) if report.performance else ()),
        TIMELINE,
        *(_warnings(report.warnings) if report.warnings else ()),
    ]
    if report.matrices:
        every = _matrices(report.matrices)
        parts += ["<details><summary>Every matrix</summary>", every, "</details>"]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    body = "\n".join(parts)
    page = f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'
    (directory / PAGE_FILE).write_text(page, encoding="utf-8")


def _smaller(report: StructureReport) -> list[str]:
    table = _table(structure.HEAD, structure.rows(report))
    return [f"<p>{escape(structure.summary(report))}</p>", table]


def _quantized(report: QuantizationReport) -> list[str]:
    return ["<h2>Weights in 8 bits</h2>", f"<p>{escape(quantization.summary(report))}</p>"]


def _performance(report: PerformanceReport | NotMeasured) -> list[str]:
    rows = list(performance.rows(report))
    table = _table(performance.HEAD, rows) if rows else ""
    return [
        "<h2>Beside the dense model</h2>",
        f"<p>{escape(performance.summary(report))}</p>",
        table,
    ]


def _tasks(reports: Sequence[TaskReport | TaskFailure]) -> list[str]:
    rows = list(tasks.rows(reports))
    return [
        "<h2>Tasks of evaluation harnesses</h2>",
        f"<p>{escape(tasks.summary(reports))}</p>",
        _table(tasks.HEAD, rows) if rows else "",
    ]


def _searched(report: SearchReport) -> list[str]:
    table = _table(search.HEAD, search.rows(report))
    return ["<h2>Shares tried</h2>", f"<p>{escape(search.summary(report))}</p>", table]


def _zeroed(report: PruningReport, drawn: Mapping[str, str]) -> list[str]:
    return [
        _totals(report),
        "<h2>Sparsity per block</h2>",
        _legend(report),
        drawn["sparsity"],
        *(("<h2>Scores</h2>", drawn["scores"]) if "scores" in drawn else ()),
    ]


def _totals(report: PruningReport) -> str:
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
    reached = "".join(f"<p>{escape(text)}</p>" for text in _reached(report))
    if report.coverage is not None and report.coverage.dense:
        reached += _left_dense(report.coverage)
    return f"{targets}{table}{reached}"


def _bytes(report: PruningReport, sizes: Sizes) -> list[str]:
    text = f"The checkpoint has {sizes.dense:,} bytes, and {sizes.packed:,} in its packed form."
    if report.matrices:
        text += " Unstructured zeros make a model compressible, not faster."
    return [f"<p>{text}</p>"]


def _cells(tally: Tally) -> tuple[str, ...]:
    return f"{tally.weights:,}", f"{tally.asked:,}", f"{tally.zeros:,}", f"{tally.sparsity:.2%}"


def _legend(report: PruningReport) -> str:
    named = (
        f'<span style="color:{colour}">&#9632;</span> {escape(modality.value)}'
        for modality, colour in colours(report).items()
    )
    return f"<p>{' '.join(named)} &nbsp; | budget</p>"


def _evaluated(report: EvaluationReport) -> list[str]:
    found = [
        f"<h2>Quality on {escape(report.set)}</h2>",
        _table(evaluation.HEAD, evaluation.rows(report)),
        f"<p>{evaluation.INTERVALS}</p>",
        *(f"<p>{escape(text)}.</p>" for text in report.warnings),
    ]
    if report.answers:
        table = _table(evaluation.ANSWERS, evaluation.answers(report))
        found += ["<h2>Answers to the first records</h2>", f'<div class="said">{table}</div>']
    return found


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
