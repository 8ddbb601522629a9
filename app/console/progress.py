"""How far a job is that runs: its phases, and the blocks of the walk that goes on."""

from collections.abc import Iterable, Sequence

from app.domain.jobs import Event, EventType, Job
from app.reports.document import Square, Strip
from app.reports.pruning import OTHER

_MOST_WAITING = 500  # squares
_NOTE = "One cell is one block, from the first to the last; coloured ones are done."


def phases_of(job: Job, events: Iterable[Event]) -> Sequence[tuple[str, str]]:
    """What the last attempt has done, in order, and whether it is at it still."""
    names = [event.message for event in events if event.type is EventType.PHASE]
    names = [name for place, name in enumerate(names) if name not in names[place - 1 : place]]
    states = ["done"] * len(names)
    if names and not job.status.terminal:
        states[-1] = "now"
    return list(zip(names, states, strict=True))


def strip_of(events: Iterable[Event]) -> tuple[str, Strip | None]:
    """What the walk that goes on calls itself, and the blocks that it has done."""
    done = [event for event in events if event.type is EventType.BLOCK and "block" in event.data]
    if not done:
        return "", None
    walk = _walk(done[-1])
    rows: dict[str, list[Square]] = {}
    for event in done:
        if _walk(event) == walk:
            square = Square(str(event.data["block"]), 1.0, f"{event.data['block']}: done")
            rows.setdefault(str(event.data.get("modality") or OTHER), []).append(square)
    left = int(done[-1].data.get("total", 0)) - int(done[-1].data.get("done", 0))
    if left > 0:
        rows["waiting"] = [Square("", None, "waits")] * min(left, _MOST_WAITING)
    return walk, Strip(rows, _NOTE)


def _walk(event: Event) -> str:
    return str(event.data.get("phase") or event.message.partition(" ")[0])
