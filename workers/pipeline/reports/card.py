"""The model card of a pruned checkpoint: `README.md` with the metadata the hub reads."""

from collections.abc import Collection, Mapping
from pathlib import Path

from app.domain.submission import JobSpec
from app.planning.model_files.files import HubModel, parse_model_source
from app.recipes.evaluation import EvaluationReport, Measured
from app.recipes.pruning_report import PruningReport
from workers.pipeline.export.sizes import Sizes

CARD = "README.md"
_LICENCE = ("license", "license_name", "license_link")
_RUNTIME = (
    "| runtime | what the zeros bring |",
    "|---|---|",
    "| transformers, vLLM and others that load safetensors | nothing: dense matrix products |",
    "| kernels for 2:4 patterns | speed, after a conversion that the runtime has to offer |",
    "| packed downloads, compressing disks | fewer bytes |",
)


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
    head += ["tags:", "- pruned", "- sparse", f"- {spec.method}", "---"]
    body = [
        f"# {base}, pruned with {spec.method}",
        "",
        _zeros(report),
        _weight(sizes),
        "",
        "| modality | weights | sparsity |",
        "|---|---|---|",
        *(
            f"| {modality} | {tally.weights:,} | {tally.sparsity:.2%} |"
            for modality, tally in report.modalities.items()
        ),
        "",
        *(f"![{name}](plots/{name}.svg)" for name in drawn),
        "",
        _calibration(spec),
    ]
    if report.evaluation is not None:
        body += ["", *_evaluation(report.evaluation)]
    body += [
        "",
        *_RUNTIME,
        "",
        "The recipe and every matrix are in `pruning_report.json`.",
        "To make the same files again: `secateur reproduce manifest.json`.",
        "To train on with the zeros kept, see `sparse/keep_sparse.py`.",
    ]
    (directory / CARD).write_text("\n".join([*head, "", *body, ""]), encoding="utf-8")


def _zeros(report: PruningReport) -> str:
    model = report.model
    off = f", {report.difference:+,} to them" if report.difference else ""
    return (
        f"{model.zeros:,} of {model.weights:,} weights in the pruned matrices are zero "
        f"({model.sparsity:.2%}); {report.target:,} were asked for{off}. The files are dense: they "
        "take as much room as the original's, and unstructured zeros alone make nothing faster."
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
        *(f"\n{text}." for text in report.warnings),
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
