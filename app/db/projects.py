"""Rows of projects."""

from sqlalchemy import Connection, Numeric, RowMapping, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert

from app.db.tables import jobs, outbox, projects
from app.domain.access import Limits, Project
from app.domain.ids import new_id


def _project(row: RowMapping) -> Project:
    return Project(
        id=row["id"],
        name=row["name"],
        limits=Limits(**row["limits"]),
        artifact_bytes=row["artifact_bytes"],
        created_at=row["created_at"],
    )


def create(connection: Connection, name: str, limits: Limits) -> Project | None:
    """Store a project; None where another has the name."""
    values = {"id": new_id("prj"), "name": name, "limits": limits.model_dump()}
    stored = insert(projects).values(values).on_conflict_do_nothing().returning(projects)
    row = connection.execute(stored).mappings().one_or_none()
    return _project(row) if row else None


def listing(connection: Connection) -> list[Project]:
    """All projects, newest first."""
    query = select(projects).order_by(projects.c.created_at.desc(), projects.c.id.desc())
    return [_project(row) for row in connection.execute(query).mappings()]


_GET = select(projects).where(projects.c.id == bindparam("project_id"))


def get(connection: Connection, project_id: str) -> Project:
    """The project; its id comes from a key, so it exists."""
    return _project(connection.execute(_GET, {"project_id": project_id}).mappings().one())


def find(connection: Connection, project_id: str) -> Project | None:
    """The project of that id, if there is one."""
    row = connection.execute(_GET, {"project_id": project_id}).mappings().one_or_none()
    return _project(row) if row else None


def set_limits(connection: Connection, project_id: str, limits: Limits) -> None:
    """Replace the project's limits."""
    query = update(projects).where(projects.c.id == project_id)
    connection.execute(query.values(limits=limits.model_dump()))


def lock(connection: Connection, project_id: str) -> None:
    """Let others that lock the project wait until this transaction has ended."""
    query = select(projects.c.id).where(projects.c.id == project_id)
    connection.execute(query.with_for_update(key_share=True))


def add_artifact_bytes(connection: Connection, project_id: str, size: int) -> None:
    """Count published bytes, or discount deleted ones."""
    total = projects.c.artifact_bytes + size
    query = update(projects).where(projects.c.id == project_id)
    connection.execute(query.values(artifact_bytes=total))


_LARGEST = 2**63 - 1  # that the database counts to; limits may be larger
_SOME = (
    select(outbox.c.job_id)
    .where(outbox.c.project_id == bindparam("project_id"))
    .limit(bindparam("up_to"))
)
_QUEUED = select(func.count()).select_from(_SOME.subquery())


def queued(connection: Connection, project_id: str, *, up_to: int) -> int:
    """How many jobs of the project wait for a worker; counting stops at `up_to`."""
    told = {"project_id": project_id, "up_to": min(up_to, _LARGEST)}
    return int(connection.execute(_QUEUED, told).scalar_one())


_ROOM = select(
    select(func.count()).select_from(_SOME.subquery()).scalar_subquery(),
    projects.c.artifact_bytes,
).where(projects.c.id == bindparam("project_id"))


def used(connection: Connection, project_id: str, *, up_to: int) -> tuple[int, int]:
    """Jobs that wait for a worker, counted up to `up_to`, and bytes of published files."""
    told = {"project_id": project_id, "up_to": min(up_to, _LARGEST)}
    queued_jobs, artifact_bytes = connection.execute(_ROOM, told).one()
    return queued_jobs, artifact_bytes


def full(connection: Connection) -> list[str]:
    """The projects that run as many jobs as they may."""
    limit = projects.c.limits["running_jobs"].astext.cast(Numeric)
    default = Limits().running_jobs
    query = (
        select(projects.c.id)
        .join(jobs, jobs.c.project_id == projects.c.id)
        .where(jobs.c.lease_expires_at.is_not(None))
        .group_by(projects.c.id)
        .having(func.count() >= func.coalesce(limit, default))
    )
    return list(connection.execute(query).scalars())


def running(connection: Connection, project_id: str) -> int:
    """How many jobs of the project workers have."""
    leased = jobs.c.lease_expires_at.is_not(None)
    query = select(func.count()).where(jobs.c.project_id == project_id, leased)
    return connection.execute(query).scalar_one()
