"""`/console/jobs/{id}`: one job, its report and its files."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Response
from markupsafe import Markup
from pydantic import ValidationError

from app.api.artifacts import router as artifact_routes
from app.api.http.endpoints import WithResources
from app.api.http.files import WithSender
from app.api.reports import router as report_routes
from app.api.reports.job_page import advice, meaning, timeline
from app.bounded_json import JsonError, JsonLimits, parse_object
from app.console.outcome import Row, Special, qualities, target_of
from app.console.plots import axis_of, strip_of_events, strip_of_report
from app.console.visits import HOME, PageRoute, SignedIn, address_of
from app.domain.jobs import Artifact, Event, EventType, Job
from app.recipes.pruning_report import PAGE_FILE, REPORT_FILE, MatrixReport, PruningReport
from app.services.jobs import artifacts
from app.services.jobs import service as jobs
from app.storage.store import ArtifactStore

router = APIRouter(prefix=HOME, route_class=PageRoute, include_in_schema=False)

MOST_EVENTS = 10_000
LAST_EVENTS = 60
MOST_REPORT = 16 << 20  # bytes of a report that is shown; a longer one can be downloaded
MOST_MATRICES = 2000
_CONFIG = JsonLimits(bytes=1 << 20)


@router.get("/{job_id}")
def show(job_id: str, visit: SignedIn) -> Response:
    """Look at a job; the page asks for itself again until it has ended."""
    with visit.admitted() as desk:
        job = jobs.get(desk.connection, desk.caller, job_id)
        events = jobs.list_events(desk.connection, desk.caller, job_id, after=0, limit=MOST_EVENTS)
        files = artifacts.listing(desk.connection, desk.caller, job_id)
    row = Row.of(job)
    report = _report(visit.resources.store, files)
    own = [event for event in events if event.attempt == job.attempt]
    walk, strip = ("", strip_of_report(report)) if report else strip_of_events(own)
    shown = desk.page(
        "job.html",
        job=job,
        row=row,
        seconds=_seconds(job),
        target=target_of(job.stored_request),
        live=not job.status.terminal,
        phases=_phases(job, own),
        walk=walk,
        strip=strip,
        axes=[axis_of(each) for each in qualities(row.result)],
        special=Special.of(row.result),
        report=report,
        blocks=_blocks(report) if report else [],
        error=(error_name(report) or "") if report else "",
        errors=ERRORS,
        matrices=report.matrices[:MOST_MATRICES] if report else [],
        files=files,
        page_file=PAGE_FILE if any(file.path == PAGE_FILE for file in files) else None,
        events=list(reversed(events[-LAST_EVENTS:])),
        timeline=Markup(timeline(events)),  # noqa: S704  which escapes what it shows
        meaning=meaning(job.error.code) if job.error else None,
        advice=advice(job),
        address=address_of(visit.request),
        architecture=_architecture(visit.resources.store, files),
    )
    if job.status.terminal and "hx-request" in visit.request.headers:
        shown.headers["HX-Refresh"] = "true"  # there is more on the page now than its live part
    return shown


@router.get("/{job_id}/report")
def report_page(job_id: str, visit: SignedIn, resources: WithResources) -> Response:
    """The report that can be kept: one file, which loads nothing."""
    with visit.admitted() as desk:
        return report_routes.get_job_report(job_id, resources, desk.caller, desk.connection)


@router.get("/{job_id}/files/{path:path}")
def download(job_id: str, path: str, visit: SignedIn, sender: WithSender) -> Response:
    """Download one file."""
    with visit.admitted() as desk:
        answer = artifact_routes.download_artifact(
            job_id, path, desk.caller, desk.connection, sender
        )
    answer.headers["Cache-Control"] = "no-store"  # who comes after a sign-out finds nothing
    return answer


@router.get("/{job_id}/archive")
def archive(job_id: str, visit: SignedIn, resources: WithResources) -> Response:
    """Download all files."""
    with visit.admitted() as desk:
        return artifact_routes.download_archive(job_id, resources, desk.caller, desk.connection)


def _seconds(job: Job) -> float | None:
    """From the first start to the end, or until now."""
    if job.started_at is None:
        return None
    return ((job.finished_at or datetime.now(UTC)) - job.started_at).total_seconds()


def _phases(job: Job, events: list[Event]) -> list[tuple[str, str]]:
    """What the last attempt has done, in order, and whether it is at it still."""
    names = [event.message for event in events if event.type is EventType.PHASE]
    names = [name for place, name in enumerate(names) if name not in names[place - 1 : place]]
    states = ["done"] * len(names)
    if names and not job.status.terminal:
        states[-1] = "now"
    return list(zip(names, states, strict=True))


def _report(store: ArtifactStore, files: list[Artifact]) -> PruningReport | None:
    """The report among the files; None where there is none that this version reads."""
    content = _content(store, files, REPORT_FILE, MOST_REPORT)
    if content is None:
        return None
    try:
        return PruningReport.model_validate_json(content)
    except ValidationError:
        return None


def _architecture(store: ArtifactStore, files: list[Artifact]) -> str | None:
    """The class of transformers that loads the files, as their configuration names it."""
    content = _content(store, files, "config.json", _CONFIG.bytes)
    try:
        named = parse_object(content, _CONFIG).get("architectures") if content else None
    except JsonError:
        return None
    first = named[0] if isinstance(named, list) and named else None
    return first if isinstance(first, str) and first.isidentifier() else None


def _content(store: ArtifactStore, files: list[Artifact], path: str, most: int) -> bytes | None:
    found = next((file for file in files if file.path == path), None)
    if found is None or found.size > most:
        return None
    return b"".join(store.read(found))


@dataclass(frozen=True, slots=True)
class Block:
    """One block in the table.

    Attributes:
        error: mean over its matrices, of that which the method knows; None where it knows none.
    """

    name: str
    modality: str
    weights: int
    asked: int
    zeros: int
    sparsity: float
    error: float | None


ERRORS = {
    "relative_error": "Output error, share",
    "lost_score": "Scores lost, share",
}


def error_name(report: PruningReport) -> str | None:
    """Which error the matrices of a report have."""
    for name in ERRORS:
        if any(getattr(matrix, name) is not None for matrix in report.matrices):
            return name
    return None


def _blocks(report: PruningReport) -> list[Block]:
    name = error_name(report)
    members: dict[str, list[MatrixReport]] = {}
    for matrix in report.matrices:
        members.setdefault(matrix.block, []).append(matrix)
    found = []
    for block, tally in report.blocks.items():
        inside = members.get(block, [])
        values: list[Any] = [getattr(matrix, name) for matrix in inside] if name else []
        known = [value for value in values if value is not None]
        found.append(
            Block(
                block,
                inside[0].modality.value if inside else "",
                tally.weights,
                tally.asked,
                tally.zeros,
                tally.sparsity,
                sum(known) / len(known) if known else None,
            )
        )
    return found
