"""A page about a job that has none among its files: what happened, what came of it, its log."""

from collections.abc import Iterator, Mapping, Sequence

from app.domain.jobs import Artifact, Event, Job, JobStatus
from app.reports import html
from app.reports.document import Details, Section, Table, Text
from app.reports.figures import moment, number, percent
from app.reports.history import history
from app.reports.sections import result_of, sections

LAST_EVENTS = 30
MOST_LEAVES = 500  # figures of a result; a longer one is in the files
_SENTENCES = {
    JobStatus.QUEUED: "The job waits for a worker.",
    JobStatus.RUNNING: "The job runs.",
    JobStatus.CANCELLING: "The job is being cancelled.",
    JobStatus.CANCELLED: "The job was cancelled.",
    JobStatus.SUCCEEDED: "The job succeeded.",
    JobStatus.FAILED: "The job failed.",
}


def job_page(job: Job, events: Sequence[Event], files: Sequence[Artifact]) -> str:
    """The whole page; it runs and loads nothing.

    Args:
        job: any job.
        events: its log, oldest first.
        files: what it has published.
    """
    result = result_of(job)
    parts = [
        _facts(job),
        *history(job, events),
        *(sections(result) if result is not None else ()),
        *_figures(job),
        *_files(job, files),
        _log(events[-LAST_EVENTS:]),
    ]
    return html.page(f"{job.method or 'job'} on {job.model or '?'}", parts)


def _facts(job: Job) -> Section:
    times = {
        "created": job.created_at,
        "started": job.started_at,
        "finished": job.finished_at,
        "files expired": job.files_expired_at,
    }
    rows = [
        ("status", job.status.value),
        ("progress", percent(job.progress, 0)),
        ("attempt", f"{job.attempt} of at most {job.max_attempts} that get no further"),
        *((name, moment(at)) for name, at in times.items() if at is not None),
    ]
    table = Table.of(("Job", job.id), rows, words={job.id})
    return Section("job", "Job", [Text(_SENTENCES[job.status]), table])


def _figures(job: Job) -> Iterator[Section]:
    """Every figure of the result as it is stored, those of other versions among them."""
    leaves = list(_leaves(job.stored_result or {}))
    if leaves:
        table = Table.of(("Figure", "Value"), leaves[:MOST_LEAVES], words={"Value"})
        details = Details(f"Every figure ({number(len(leaves))})", [table])
        yield Section("figures", "Result as stored", [details])


def _leaves(tree: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Figures and sentences of a result by dotted names."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _leaves(value, f"{name}.{key}" if name else str(key))
    elif isinstance(tree, list | tuple):
        for place, value in enumerate(tree):
            yield from _leaves(value, f"{name}.{place}")
    elif isinstance(tree, float):
        yield name, f"{tree:.6g}"
    elif tree is not None:
        yield name, str(tree)


def _files(job: Job, files: Sequence[Artifact]) -> Iterator[Section]:
    if files:
        table = Table.of(("File", "Bytes"), [(file.path, number(file.size)) for file in files])
        told = Text(f"Download them with `secateur download {job.id} DIRECTORY`.")
        yield Section("files", "Files", [table, told])


def _log(events: Sequence[Event]) -> Section:
    rows = [
        (f"{event.at:%Y-%m-%d %H:%M:%S}", f"{event.level}: {event.message}") for event in events
    ]
    return Section("log", "Last events", [Table.of(("At (UTC)", "Event"), rows, words={"Event"})])
