"""A page about a job that has none among its files: what happened, where, and what to do."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from app.api.reports.advice import advice, meaning
from app.api.reports.timeline import timeline
from app.domain.jobs import Artifact, Event, EventType, Job, JobStatus

LAST_EVENTS = 30
MOST_LEAVES = 500  # figures of a result; a longer one is in the files
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 }
td, th { padding: .15rem .7rem; border-bottom: 1px solid #ddd; text-align: left }
td { overflow-wrap: anywhere }
svg { max-width: 100%; height: auto }
"""
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
    title = f"{job.spec.get('method', 'job')} on {job.spec.get('model', '?')}"
    parts = [
        f"<h1>{escape(str(title))}</h1>",
        f"<p>{_SENTENCES[job.status]}</p>",
        what_happened(job, events),
        _table("", "", _facts(job)),
        timeline(events),
        *_result(job.result or {}),
        *_files(job, files),
        f"<h2>Last events</h2>{_log(events[-LAST_EVENTS:])}",
    ]
    head = f'<meta charset="utf-8"><title>{escape(str(title))}</title><style>{_STYLE}</style>'
    body = "\n".join(parts)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def what_happened(job: Job, events: Sequence[Event]) -> str:
    """Why a job did not succeed and what to do; empty for one that did, or still may."""
    return "\n".join([*_error(job, events), *_steps(advice(job))])


def _error(job: Job, events: Sequence[Event]) -> Iterator[str]:
    if job.error is None:
        return
    yield "<h2>What happened</h2>"
    where = _last_phase(events)
    yield f"<p>{escape(job.error.message)}</p>"
    known = meaning(job.error.code)
    yield _table(
        "",
        "",
        [
            ("code", job.error.code + (f": {known}" if known else "")),
            ("at fault", job.error.kind.value.replace("_", " ")),
            ("phase", where or "before the first phase"),
        ],
    )


def _last_phase(events: Sequence[Event]) -> str | None:
    phases = [event.message for event in events if event.type is EventType.PHASE]
    return phases[-1] if phases else None


def _steps(sentences: Sequence[str]) -> Iterator[str]:
    if sentences:
        items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
        yield f"<h2>What to do</h2><ul>{items}</ul>"


def _facts(job: Job) -> list[tuple[str, str]]:
    times = {
        "created": job.created_at,
        "started": job.started_at,
        "finished": job.finished_at,
        "files expired": job.files_expired_at,
    }
    return [
        ("job", job.id),
        ("status", job.status.value),
        ("progress", f"{job.progress:.0%}"),
        ("attempt", f"{job.attempt} of at most {job.max_attempts} that get no further"),
        *((name, f"{at:%Y-%m-%d %H:%M:%S} UTC") for name, at in times.items() if at is not None),
    ]


def _result(result: Mapping[str, Any]) -> Iterator[str]:
    leaves = list(_leaves(result))
    if leaves:
        yield "<h2>Result</h2>"
        yield _table("figure", "value", leaves[:MOST_LEAVES])


def _leaves(tree: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Figures and sentences of a result by dotted names."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _leaves(value, f"{name}.{key}" if name else str(key))
    elif isinstance(tree, list | tuple):
        for number, value in enumerate(tree):
            yield from _leaves(value, f"{name}.{number}")
    elif isinstance(tree, float):
        yield name, f"{tree:.6g}"
    elif tree is not None:
        yield name, str(tree)


def _files(job: Job, files: Sequence[Artifact]) -> Iterator[str]:
    if files:
        yield "<h2>Files</h2>"
        yield _table("file", "bytes", [(file.path, f"{file.size:,}") for file in files])
        command = f"secateur download {job.id} DIRECTORY"
        yield f"<p>Download them with <code>{escape(command)}</code>.</p>"


def _log(events: Iterable[Event]) -> str:
    rows = [
        (f"{event.at:%Y-%m-%d %H:%M:%S}", f"{event.level}: {event.message}") for event in events
    ]
    return _table("at (UTC)", "event", rows)


def _table(left: str, right: str, rows: Iterable[tuple[str, str]]) -> str:
    head = f"<tr><th>{left}</th><th>{right}</th></tr>" if left or right else ""
    lines = (f"<tr><td>{escape(name)}</td><td>{escape(text)}</td></tr>" for name, text in rows)
    return f"<table>{head}{''.join(lines)}</table>"
