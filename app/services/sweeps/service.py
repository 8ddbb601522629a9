"""What a client does with sweeps: submit one, look, cancel it, delete it."""

from collections import Counter
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from app.db import events, jobs, projects, sweeps
from app.domain.jobs import Event, Job, JobStatus, status_event
from app.domain.projects import Caller
from app.domain.submission import JobSpec
from app.domain.sweeps import (
    Sweep,
    SweepFinishedError,
    SweepNotFinishedError,
    SweepNotFoundError,
    SweepRequest,
    SweepStatus,
    shares_calibration,
)
from app.recipes.routing import Routing
from app.services.jobs import submit as submissions
from app.services.jobs.service import stop
from app.services.jobs.submit import Rules
from app.services.lifecycle import job_events, retention
from app.services.projects.service import check_quotas


def submit(connection: Connection, caller: Caller, request: SweepRequest, rules: Rules) -> Sweep:
    """Store the sweep with all its members, or nothing.

    Members whose measurements on the dense model are the same have a leader among them, the first
    of them: it keeps what it measures, and the others wait for it and use that.

    Raises:
        UserError: a member would be refused, or a quota has no room for all.
    """
    members = request.members()
    checked = [submissions.check(connection, caller, each, rules) for each in members]
    check_quotas(connection, caller, rules.quotas, jobs=len(members))
    sweep = sweeps.create(connection, caller.project_id, request)
    events.append(connection, sweep.id, 0, [status_event(SweepStatus.QUEUED)])
    leaders: dict[str, str] = {}
    for each, found in zip(members, checked, strict=True):
        group = _calibration(found.spec)
        leader = leaders.get(group) if group else None
        job = submissions.enqueue(
            connection, caller, each, found, rules, sweep_id=sweep.id, leader_id=leader
        )
        if group:
            leaders.setdefault(group, job.id)
    projects.record_change(connection, caller, "sweep.submit", sweep.id)
    return sweep


def _calibration(spec: JobSpec) -> str | None:
    """What members must have in common to share their calibration; None where they cannot."""
    if isinstance(spec.recipe, Routing) or not shares_calibration(spec.recipe):
        return None
    alike = spec.recipe.model_copy(update={"sparsity": 0.0})
    told = spec.calibration.model_dump_json() if spec.calibration else ""
    return alike.model_dump_json() + told


def get(connection: Connection, caller: Caller, sweep_id: str) -> Sweep:
    """The sweep.

    Raises:
        SweepNotFoundError: the project has none of that id.
    """
    sweep = sweeps.get(connection, caller.project_id, sweep_id)
    if sweep is None:
        raise SweepNotFoundError(f"there is no sweep {sweep_id!r}")
    return sweep


def page(
    connection: Connection, caller: Caller, *, limit: int, cursor: str | None
) -> tuple[list[Sweep], str | None]:
    """Up to `limit` sweeps, newest first, and the cursor of the next page (None at the end)."""
    found = sweeps.page(connection, caller.project_id, limit=limit + 1, before=cursor)
    more = len(found) > limit
    return found[:limit], found[limit - 1].id if more else None


def counts(connection: Connection, sweeps: Sequence[Sweep]) -> Mapping[str, Counter[JobStatus]]:
    """How many members of each sweep have which status."""
    return jobs.of_sweeps(connection, [sweep.id for sweep in sweeps])


def cancel(connection: Connection, caller: Caller, sweep_id: str) -> Sweep:
    """Stop all members: at once where they are queued, at the next check where they run.

    Asking again changes nothing.

    Raises:
        SweepNotFoundError: the project has none of that id.
        SweepFinishedError: it has succeeded or failed already.
    """
    get(connection, caller, sweep_id)
    members = jobs.members(connection, sweep_id, lock=True)
    sweep = sweeps.lock(connection, sweep_id)
    if sweep.status in {SweepStatus.CANCELLING, SweepStatus.CANCELLED}:
        return sweep
    if sweep.status.terminal:
        raise SweepFinishedError(f"sweep {sweep_id!r} has {sweep.status} already")
    job_events.set_sweep_status(connection, sweep, SweepStatus.CANCELLING)
    for job in members:
        stop(connection, job.id)
    projects.record_change(connection, caller, "sweep.cancel", sweep_id)
    return get(connection, caller, sweep_id)


def delete(connection: Connection, caller: Caller, sweep_id: str) -> list[Job]:
    """Remove an ended sweep with its members; the caller discards their files after the commit.

    Raises:
        SweepNotFoundError: the project has none of that id.
        SweepNotFinishedError: it has not ended.
        JobInUseError: something else needs a member's files.
    """
    sweep = get(connection, caller, sweep_id)
    if not sweep.status.terminal:
        raise SweepNotFinishedError(f"sweep {sweep_id!r} is {sweep.status}; cancel it first")
    members = jobs.members(connection, sweep_id, lock=True)
    retention.remove(connection, caller.project_id, [job.id for job in members])
    sweeps.remove(connection, sweep_id)
    projects.record_change(connection, caller, "sweep.delete", sweep_id)
    return members


def list_events(
    connection: Connection, caller: Caller, sweep_id: str, *, after: int, limit: int
) -> list[Event]:
    """Events of the sweep that follow `after`, oldest first."""
    get(connection, caller, sweep_id)
    return events.page(connection, sweep_id, after=after, limit=limit)


def stream_from(connection: Connection, caller: Caller, sweep_id: str, seen: int) -> int | None:
    """Where a watcher that has seen the event `seen` goes on; None where nothing will follow."""
    sweep = get(connection, caller, sweep_id)
    return events.resume(connection, sweep_id, seen, ended=sweep.status.terminal)
