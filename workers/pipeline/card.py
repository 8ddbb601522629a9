"""The model card of a pruned checkpoint: `README.md` with the metadata the hub reads."""

from pathlib import Path

from app.domain.evaluation import EvaluationReport, Measured
from app.domain.model_source import HubModel, parse_model_source
from app.domain.report import PruningReport, Tally
from app.domain.submission import JobSpec
from workers.pipeline.packing import Sizes

CARD = "README.md"


def write_card(directory: Path, spec: JobSpec, report: PruningReport, sizes: Sizes) -> None:
    """Write the card beside the checkpoint.

    Args:
        directory: the staged files.
        spec: what was asked for.
        report: what was done and measured.
        sizes: what the files weigh.
    """
    source = parse_model_source(spec.model)
    base = source.repo_id if isinstance(source, HubModel) else Path(spec.model).name
    head = ["---", "library_name: transformers"]
    if isinstance(source, HubModel):
        head += [f"base_model: {base}"]
    head += ["tags:", "- pruned", "- sparse", f"- {spec.method}", "---"]
    body = [
        f"# {base}, pruned with {spec.method}",
        "",
        _zeros(report.model),
        _weight(sizes),
        "",
        "| modality | weights | sparsity |",
        "|---|---|---|",
        *(
            f"| {modality} | {tally.weights:,} | {tally.sparsity:.2%} |"
            for modality, tally in report.modalities.items()
        ),
        "",
        _calibration(spec),
    ]
    if report.evaluation is not None:
        body += ["", *_evaluation(report.evaluation)]
    body += [
        "",
        "The recipe and every matrix are in `pruning_report.json`.",
        "To train on with the zeros kept, see `sparse/keep_sparse.py`.",
    ]
    (directory / CARD).write_text("\n".join([*head, "", *body, ""]), encoding="utf-8")


def _zeros(model: Tally) -> str:
    return (
        f"{model.zeros:,} of {model.weights:,} weights in the pruned matrices are zero "
        f"({model.sparsity:.2%}). The files are dense: they take as much room as the original's, "
        "and unstructured zeros alone make nothing faster."
    )


def _weight(sizes: Sizes) -> str:
    return (
        f"The checkpoint has {sizes.dense:,} bytes; a packed download sends {sizes.packed:,} "
        f"({sizes.packed / sizes.dense:.0%}) and restores it bit for bit."
    )


def _calibration(spec: JobSpec) -> str:
    if spec.calibration is None:
        return "No calibration data was used."
    return f"Calibrated on {spec.calibration.samples} records of `{spec.calibration.set}`."


def _evaluation(report: EvaluationReport) -> list[str]:
    lines = [
        f"Evaluated on {report.samples} records of `{report.set}`, none of them seen before.",
        "Brackets are 95 % bootstrap intervals; differences are paired by record.",
        "",
        "| metric | records | dense | pruned | difference |",
        "|---|---|---|---|---|",
        *(_row(name, measured) for name, measured in report.metrics.items()),
    ]
    if gate := report.gate:
        verdict = "passed" if gate.passed else "FAILED"
        lines += ["", f"Quality gate {verdict}: {gate.metric} may get {gate.max_drop:g} worse and "]
        lines[-1] += f"got {gate.drop:.4g} worse."
    return lines


def _row(name: str, measured: Measured) -> str:
    cells = [
        f"{estimate.value:.4g} [{estimate.low:.4g}, {estimate.high:.4g}]"
        for estimate in (measured.before, measured.after, measured.change)
    ]
    return f"| {name} | {measured.samples} | {' | '.join(cells)} |"
