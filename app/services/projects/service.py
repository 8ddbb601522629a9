"""Projects, and what they use of their limits."""

from dataclasses import replace

from sqlalchemy import Connection

from app.db import projects
from app.domain.entity_tags import require
from app.domain.projects import AuditEntry, Caller, Key, Limits, LimitsChange, Project
from app.errors import ArtifactQuotaError, ProjectExistsError, ProjectNotFoundError, QueueQuotaError
from app.services.projects import keys
from app.services.projects.quota_cache import Room

# So near the limit, submits count one after the other; further away, none waits for another.
NEAR = 100


def create(connection: Connection, name: str, limits: Limits | None = None) -> Project:
    """Make a project.

    Raises:
        ProjectExistsError: another has the name.
    """
    made = projects.create(connection, name, limits or Limits())
    if made is None:
        raise ProjectExistsError(f"there is a project {name!r} already")
    return made


def found(
    connection: Connection, caller: Caller, name: str, limits: Limits
) -> tuple[Project, tuple[Key, str]]:
    """Make a project and its first key, an admin's; the key's secret comes last.

    Raises:
        ProjectExistsError: another has the name.
    """
    made = create(connection, name, limits)
    projects.record_change(connection, caller, "project.create", made.id)
    return made, keys.issue(connection, "first", project_id=made.id)


def listing(connection: Connection) -> list[Project]:
    """All projects, newest first."""
    return projects.listing(connection)


def find(connection: Connection, project_id: str) -> Project:
    """A project, whosever it is.

    Raises:
        ProjectNotFoundError: there is none of that id.
    """
    found = projects.find(connection, project_id)
    if found is None:
        raise ProjectNotFoundError(f"there is no project {project_id!r}")
    return found


def change_limits(
    connection: Connection,
    caller: Caller,
    project_id: str,
    wanted: LimitsChange,
    if_match: str | None,
) -> Project:
    """Set limits; they count from the next request on, and stop nothing that was accepted.

    Raises:
        ProjectNotFoundError: there is none of that id.
        PreconditionError: the limits have changed since the client looked.
    """
    projects.lock(connection, project_id)
    found = find(connection, project_id)
    require(if_match, found.etag, f"project {project_id!r}")
    limits = found.limits.model_copy(update=wanted.model_dump(exclude_none=True))
    if limits != found.limits:
        projects.set_limits(connection, project_id, limits)
        projects.record_change(connection, caller, "project.change", project_id)
    return replace(found, limits=limits)


def get(connection: Connection, caller: Caller) -> Project:
    """The caller's project."""
    return projects.get(connection, caller.project_id)


def usage(connection: Connection, caller: Caller) -> tuple[int, int]:
    """How many jobs are queued and how many run."""
    limit = caller.limits.queued_jobs + NEAR
    return (
        projects.queued(connection, caller.project_id, up_to=limit),
        projects.running(connection, caller.project_id),
    )


def check_quotas(connection: Connection, caller: Caller, room: Room, *, jobs: int = 1) -> None:
    """Refuse new jobs beyond the project's limits.

    Args:
        connection: an open transaction.
        caller: who submits.
        room: what this process knows already.
        jobs: how many are submitted.

    Raises:
        QueueQuotaError: as many jobs as may are queued.
        ArtifactQuotaError: the published files take up all the room.
    """
    if room.take(caller, jobs):
        return
    limit = caller.limits.queued_jobs
    found, artifact_bytes = projects.used(connection, caller.project_id, up_to=limit + 1)
    if found + jobs + NEAR > limit:
        projects.lock(connection, caller.project_id)
        found = projects.queued(connection, caller.project_id, up_to=limit + 1)
        if found + jobs > limit:
            raise QueueQuotaError(f"the project may have {limit} queued jobs and has {found}")
    if artifact_bytes > caller.limits.artifact_bytes:
        raise ArtifactQuotaError(
            f"the project's artifacts take {artifact_bytes} of "
            f"{caller.limits.artifact_bytes} bytes; delete jobs that are not needed any more"
        )
    room.learn(caller, limit - NEAR - found - jobs)


def audit_page(
    connection: Connection, caller: Caller, *, limit: int, cursor: int | None
) -> tuple[list[AuditEntry], int | None]:
    """Up to `limit` changes, newest first, and the cursor of the next page (None at the end)."""
    found = projects.audit_page(connection, caller.project_id, limit=limit + 1, before=cursor)
    more = len(found) > limit
    return found[:limit], found[limit - 1].id if more else None
