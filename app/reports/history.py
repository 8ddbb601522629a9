"""What happened to a job: why it did not succeed, what to do, and when its phases were."""

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

from app.domain.jobs import Event, EventType, Job
from app.reports.advice import advice, meaning
from app.reports.document import Bar, Bars, Block, Items, Section, Text, Tone
from app.reports.figures import duration, moment

MOST_BARS = 256
_SHOWN = {EventType.STATUS, EventType.PHASE}


def history(job: Job, events: Sequence[Event]) -> list[Section]:
    """What a page of its files cannot know, or does not tell, so that the same job has the same.

    Args:
        job: any job.
        events: its log, oldest first.
    """
    return [*what_happened(job, events), *timeline(events)]


def what_happened(job: Job, events: Sequence[Event]) -> list[Section]:
    """Why a job did not succeed and what to do; nothing for one that did, or still may."""
    found: list[Section] = []
    if job.error is not None:
        known = meaning(job.error.code)
        where = _last_phase(events) or "before the first one"
        told = (
            f"`{job.error.code}`{f': {known}' if known else '.'} "
            f"At fault: {job.error.kind.value.replace('_', ' ')}. Phase: {where}."
        )
        blocks = [Text(job.error.message, Tone.BAD), Text(told, Tone.NOTE)]
        found.append(Section("happened", "What happened", blocks))
    if sentences := advice(job):
        found.append(Section("advice", "What to do", [Items(sentences)]))
    return found


def _last_phase(events: Sequence[Event]) -> str | None:
    phases = [event.message for event in events if event.type is EventType.PHASE]
    return phases[-1] if phases else None


def timeline(events: Sequence[Event]) -> list[Section]:
    """A bar for every phase; nothing where nothing has happened."""
    shown = [event for event in events if event.type in _SHOWN]
    if len(shown) < 2:  # noqa: PLR2004  a beginning and an end
        return []
    begin, end = shown[0].at, shown[-1].at
    whole = (end - begin).total_seconds() or 1.0
    bars = [
        _bar(event, (event.at, following.at), begin, whole) for event, following in pairwise(shown)
    ]
    text = f"From {moment(begin)}, {duration(whole)}, then {shown[-1].message[:200]}."
    label = "When every phase began and how long it took"
    blocks: list[Block] = [Text(text), Bars("timeline", label, bars[-MOST_BARS:])]
    return [Section("timeline", "Timeline", blocks)]


def _bar(event: Event, span: tuple[datetime, datetime], begin: datetime, whole: float) -> Bar:
    start, seconds = (span[0] - begin).total_seconds(), (span[1] - span[0]).total_seconds()
    name = event.message.partition(":")[0]
    return Bar(name, f"{seconds:.2f} s", "time", seconds / whole, start / whole)
