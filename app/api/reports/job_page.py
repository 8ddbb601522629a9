"""A page about a job that has none among its files: what happened, where, and what to do."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any

from app.domain.jobs import Artifact, Event, EventType, FailureKind, Job, JobStatus
from app.errors import SecateurError

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
    title = f"{job.method or 'job'} on {job.model or '?'}"
    parts = [
        f"<h1>{escape(str(title))}</h1>",
        f"<p>{_SENTENCES[job.status]}</p>",
        what_happened(job, events),
        _table("", "", _facts(job)),
        timeline(events),
        *_result(job.stored_result or {}),
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


_BY_CODE = {
    "internal": "Report it with the job's id: the worker's log has the details under that id.",
    "max_pending_exceeded": "No worker took the job in time. Look at `secateur workers list`, "
    "start a worker of its class, or allow more time (`max_pending_seconds`).",
    "device_failed": "Have the operator look at the GPU, then try again.",
    "max_runtime_exceeded": "Allow more time (`max_runtime_seconds`), or ask `secateur plan` what "
    "takes how long.",
    "out_of_memory": "Use a worker with more memory, a smaller `calibration.batch_size` or fewer "
    "`calibration.samples`. `secateur plan` tells what a job takes.",
    "quality_gate_failed": "Ask for less sparsity or another method, or allow a larger drop. The "
    "result has the figures.",
    "storage_failed": "Have the operator look at the disk or the object store, then try again.",
    "worker_lost": "Its workers ended without a word. Lack of memory is the usual reason: compare "
    "`memory_bytes` of the plan with what the workers have, then try again.",
}


def meaning(code: str) -> str | None:
    """What an error code stands for; None for one without a class of its own."""
    kinds = [SecateurError]
    while kinds:
        kind = kinds.pop()
        if kind.code == code and kind is not SecateurError and kind.__doc__:
            return kind.__doc__.strip().splitlines()[0]
        kinds += kind.__subclasses__()
    return None


def advice(job: Job) -> list[str]:
    """Sentences for whoever submitted the job; none while it runs or where it succeeded."""
    if job.status is JobStatus.CANCELLED:
        return [f"Submit it again with `secateur retry {job.id}`."]
    if job.error is None:
        return []
    told = [_BY_CODE[job.error.code]] if job.error.code in _BY_CODE else []
    if job.error.kind is FailureKind.USER:
        told.append(
            "The same request would fail again. Correct what the message names and submit it anew: "
            f"`secateur clone {job.id} --set name=value` changes a field of the request."
        )
    else:
        told.append(
            f"The service is at fault. Submit the job again with `secateur retry {job.id}`; where "
            "that fails too, tell the operator its id."
        )
    return told


_SHOWN = {EventType.STATUS, EventType.PHASE}
_ROW, _LABEL, _BAR, _END = 18, 330, 500, 90  # pixels


def timeline(events: Sequence[Event]) -> str:
    """A heading and a plot with a bar for every phase; empty where nothing has happened."""
    shown = [event for event in events if event.type in _SHOWN]
    if len(shown) < 2:  # noqa: PLR2004  a beginning and an end
        return ""
    begin, end = shown[0].at, shown[-1].at
    whole = (end - begin).total_seconds() or 1
    rows = []
    for number, (event, following) in enumerate(pairwise(shown)):
        start = (event.at - begin).total_seconds()
        seconds = (following.at - event.at).total_seconds()
        top = number * _ROW
        left, width = _LABEL + start / whole * _BAR, max(seconds / whole * _BAR, 1)
        name = event.message.partition(":")[0][:50]
        rows += [
            f'<text x="{_LABEL - 8}" y="{top + 13}" text-anchor="end">{escape(name)}</text>',
            (
                f'<rect x="{left:.1f}" y="{top + 3}" width="{width:.1f}" height="{_ROW - 6}" '
                'fill="#0072b2"/>'
            ),
            f'<text x="{_LABEL + _BAR + 8}" y="{top + 13}">{seconds:.2f} s</text>',
        ]
    size = f"0 0 {_LABEL + _BAR + _END} {(len(shown) - 1) * _ROW}"
    font = 'font-family="system-ui, sans-serif" font-size="11"'
    return "\n".join(
        [
            (
                f"<h2>Events</h2><p>From {begin:%Y-%m-%d %H:%M:%S} UTC, {whole:.2f} s, then "
                f"{escape(shown[-1].message[:200])}.</p>"
            ),
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" {font} role="img" '
                'aria-label="When every phase began and how long it took">'
            ),
            *rows,
            "</svg>",
        ]
    )
