"""The files of a PAR job: router, runtime, card, example; a reduced checkpoint on request."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.domain.bill_of_materials import Findings
from app.domain.submission import JobSpec
from app.planning.model_files.files import (
    HubModel,
    architecture,
    parse_model_source,
    read_config,
)
from app.recipes.evaluation import in_files
from app.recipes.routing_report import ROUTING_REPORT_FILE, RoutingReport
from app.reports.sections import sections
from workers.pipeline import export
from workers.pipeline.context import RunContext
from workers.pipeline.reports.card import Front, base_name, read_licence, write_reports
from workers.pipeline.reports.route_report import result, wanted
from workers.pipeline.sources import ModelFiles
from workers.pruning.models.adapter import Adapter
from workers.pruning.routing.artifact import write_artifact
from workers.pruning.routing.export import export_static
from workers.pruning.routing.runtime import Profile, Router, anatomy, layer_candidates

STATIC = "static"
_EXAMPLE = '''"""Ask a model, pruned by the router beside this file: IMAGE QUESTION [MODEL]."""
import sys
from par_runtime import attach
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
base, pin = (sys.argv[3], {{}}) if len(sys.argv) > 3 else ({base!r}, {pin!r})
processor = AutoProcessor.from_pretrained(base, **pin)
model = AutoModelForImageTextToText.from_pretrained(base, **pin)
inputs = processor(Image.open(sys.argv[1]), text={prompt!r} + sys.argv[2], return_tensors="pt")
with attach(model, sys.path[0], profile="asked"):
    print(processor.decode(model.generate(**inputs, max_new_tokens=32)[0]))
'''


def write_files(
    context: RunContext,
    source: ModelFiles,
    adapter: Adapter,
    *,
    router: Router,
    report: RoutingReport,
    left: Sequence[int] | None,
    origin: dict[str, Any],
) -> list[export.OutputFile]:
    """Write what the job publishes: its report always, the rest where the gates allow it.

    Args:
        context: of the run.
        source: the base model.
        adapter: the base model, loaded.
        router: trained.
        report: what came out.
        left: layers of a static export; None where none was asked for.
        origin: for the manifest.
    """
    staging = context.staging
    shown = in_files(report.evaluation, context.spec.evaluation)
    report = report.model_copy(update={"evaluation": shown})
    export.write_json(staging, ROUTING_REPORT_FILE, report.model_dump(mode="json"))
    if wanted(report):
        base = base_of(context.spec)
        subject, drop_layer = anatomy(adapter.model), report.routing.drop_layer
        write_artifact(
            staging,
            router,
            subject,
            model=base,
            revision=source.revision,
            profiles={
                name: Profile(each.tokens, each.layers, each.drop_layer)
                for name, each in report.profiles.items()
            },
            layer_candidates=layer_candidates(len(subject.layers), drop_layer),
            coverage_floor=report.routing.coverage_floor,
            summary={
                "training": _parts(report, _TRAINING),
                "metrics": _parts(report, _METRICS),
            },
        )
        _write_example(staging, base, source.revision, adapter.prompt(""))
        licence = read_licence(source.directory)
        front = Front(f"A PAR router for {base}", base, ("pruned", "par"), licence)
        write_reports(staging, front, sections(result(report), report))
        if left is not None:
            export_static(subject, source.directory, staging / STATIC, left)
    files = export.hash_files(staging)
    if wanted(report):
        findings = Findings(
            base=base_name(context.spec),
            architecture=architecture(read_config(source.directory)),
            licence=read_licence(source.directory),
            evaluation=report.evaluation,
        )
        files.append(export.write_bill(staging, files, origin, findings))
    return export.close_run(staging, files, origin)


# In the order of the file, which is the same for the same job.
_TRAINING = ("routing", "records", "influence", "rounds", "chosen")
_METRICS = ("flops_ratio", "typical_prompt", "profiles", "policies")


def _parts(report: RoutingReport, names: Sequence[str]) -> dict[str, Any]:
    values = report.model_dump(mode="json", include=set(names))
    return {name: values[name] for name in names}


def base_of(spec: JobSpec) -> str:
    """The base checkpoint as a user of the artifact names it."""
    source = parse_model_source(spec.model)
    return source.repo_id if isinstance(source, HubModel) else spec.model


def _write_example(directory: Path, base: str, revision: str | None, prompt: str) -> None:
    pin = {} if revision is None else {"revision": revision}
    text = _EXAMPLE.format(base=base, pin=pin, prompt=prompt)
    (directory / "example.py").write_text(text, encoding="utf-8")
