"""`/console/jobs/{id}`: one job, its report and its files."""

from datetime import UTC, datetime

from fastapi import APIRouter, Response
from pydantic import ValidationError

from app.api.artifacts import router as artifact_routes
from app.api.http.endpoints import WithResources
from app.api.http.files import WithSender
from app.api.reports import router as report_routes
from app.bounded_json import JsonError, JsonLimits, parse_object
from app.console.outcome import Row, Use, target_of
from app.console.progress import phases_of, strip_of
from app.console.visits import HOME, PageRoute, SignedIn, address_of
from app.domain.jobs import Artifact, Job
from app.recipes.pruning_report import PAGE_FILE, REPORT_FILE, PruningReport
from app.recipes.routing_report import ROUTING_REPORT_FILE, RoutingReport
from app.reports import html
from app.reports.history import timeline, what_happened
from app.reports.sections import sections
from app.services.jobs import artifacts
from app.services.jobs import service as jobs
from app.storage.store import ArtifactStore

router = APIRouter(prefix=HOME, route_class=PageRoute, include_in_schema=False)

MOST_EVENTS = 10_000
LAST_EVENTS = 60
MOST_REPORT = 16 << 20  # bytes of a report that is shown; a longer one can be downloaded
_CONFIG = JsonLimits(bytes=1 << 20)


@router.get("/{job_id}")
def show(job_id: str, visit: SignedIn) -> Response:
    """Look at a job; the page asks for itself again until it has ended."""
    with visit.admitted() as desk:
        job = jobs.get(desk.connection, desk.caller, job_id)
        events = jobs.list_events(desk.connection, desk.caller, job_id, after=0, limit=MOST_EVENTS)
        files = artifacts.listing(desk.connection, desk.caller, job_id)
    row = Row.of(job)
    own = [event for event in events if event.attempt == job.attempt]
    walk, strip = strip_of(own)
    report = _report(visit.resources.store, files)
    said = sections(row.result, report) if row.result else []
    shown = desk.page(
        "job.html",
        job=job,
        row=row,
        seconds=_seconds(job),
        target=target_of(job.stored_request),
        live=not job.status.terminal,
        phases=phases_of(job, own),
        walk=walk,
        strip=html.strip_as_html(strip) if strip else None,
        report=html.as_html([*what_happened(job, events), *said]),
        timeline=html.as_html(timeline(events)),
        use=Use.of(row.result),
        files=files,
        page_file=PAGE_FILE if any(file.path == PAGE_FILE for file in files) else None,
        events=list(reversed(events[-LAST_EVENTS:])),
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


_REPORTS: dict[str, type[PruningReport | RoutingReport]] = {
    REPORT_FILE: PruningReport,
    ROUTING_REPORT_FILE: RoutingReport,
}


def _report(store: ArtifactStore, files: list[Artifact]) -> PruningReport | RoutingReport | None:
    """The report among the files; None where there is none that this version reads."""
    for name, kind in _REPORTS.items():
        if content := _content(store, files, name, MOST_REPORT):
            try:
                return kind.model_validate_json(content)
            except ValidationError:
                return None
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
