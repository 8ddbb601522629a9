"""Rows of projects, of their API keys, their audit log and their idempotent requests."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Connection,
    Numeric,
    Row,
    RowMapping,
    Select,
    bindparam,
    delete,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from app.db.tables import api_keys, audit, idempotency, jobs, outbox, projects
from app.domain.projects import AuditEntry, Caller, Key, Limits, Project, Scope
from app.ids import new_id


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


def named(connection: Connection, name: str) -> Project | None:
    """The project of that name, if there is one."""
    query = select(projects).where(projects.c.name == name)
    row = connection.execute(query).mappings().one_or_none()
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


_KEY_COLUMNS = [column for column in api_keys.c if column.name != "sha256"]
# `last_used_at` is exact to this; noting every request would write a row for each read.
USE_NOTED = timedelta(minutes=1)


def _key(row: RowMapping) -> Key:
    values: dict[str, Any] = dict(row)
    values["scope"] = Scope(row["scope"])
    return Key(**values)


def add_key(
    connection: Connection,
    *,
    project_id: str,
    name: str,
    scope: Scope,
    sha256: bytes,
    expires_at: datetime | None,
) -> Key:
    """Store a key by its digest."""
    row = insert(api_keys).values(
        id=new_id("key"),
        project_id=project_id,
        name=name,
        scope=scope,
        sha256=sha256,
        expires_at=expires_at,
    )
    query = row.returning(*_KEY_COLUMNS)
    return _key(connection.execute(query).mappings().one())


def add_key_once(connection: Connection, *, sha256: bytes, **values: Any) -> str | None:
    """Store a key by its digest; its id, or None where one has it, ended or not."""
    row = insert(api_keys).values(id=new_id("key"), sha256=sha256, **values)
    once = row.on_conflict_do_nothing(index_elements=["sha256"]).returning(api_keys.c.id)
    found: str | None = connection.execute(once).scalar_one_or_none()
    return found


def _live() -> Any:
    unexpired = or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > func.now())
    return api_keys.c.revoked_at.is_(None) & unexpired


_LIVE_KEY = (
    select(
        api_keys.c.id,
        api_keys.c.project_id,
        api_keys.c.scope,
        projects.c.limits,
        func.coalesce(api_keys.c.last_used_at < func.now() - USE_NOTED, True).label("unnoted"),
    )
    .join(projects, projects.c.id == api_keys.c.project_id)
    .where(_live())
)
_BY_DIGEST = _LIVE_KEY.where(api_keys.c.sha256 == bindparam("digest"))
_BY_ID = _LIVE_KEY.where(api_keys.c.id == bindparam("key_id"))


def find_caller(connection: Connection, sha256: bytes) -> Caller | None:
    """Who has the live key of that digest; notes that it was used."""
    return _caller(connection, connection.execute(_BY_DIGEST, {"digest": sha256}).one_or_none())


def find_session_caller(connection: Connection, key_id: str) -> Caller | None:
    """Who has signed in with the live key of that id; notes that it was used."""
    return _caller(connection, connection.execute(_BY_ID, {"key_id": key_id}).one_or_none())


def _caller(connection: Connection, row: Row[Any] | None) -> Caller | None:
    if row is None:
        return None
    if row.unnoted:
        # Nobody waits here for another request of the same key.
        free = (
            select(api_keys.c.id).where(api_keys.c.id == row.id).with_for_update(skip_locked=True)
        )
        used = update(api_keys).where(api_keys.c.id == free.scalar_subquery())
        connection.execute(used.values(last_used_at=func.now()))
    return Caller(row.id, row.project_id, Scope(row.scope), Limits(**row.limits))


def _of_project(project_id: str) -> Select[Any]:
    return select(*_KEY_COLUMNS).where(api_keys.c.project_id == project_id)


def keys_of(connection: Connection, project_id: str) -> list[Key]:
    """The project's keys, revoked and expired ones included, newest first."""
    query = _of_project(project_id).order_by(api_keys.c.id.desc())
    return [_key(row) for row in connection.execute(query).mappings()]


def live_key(connection: Connection, project_id: str, key_id: str) -> Key | None:
    """The key, unless it is revoked or expired."""
    query = _of_project(project_id).where(api_keys.c.id == key_id, _live())
    row = connection.execute(query).mappings().one_or_none()
    return _key(row) if row else None


def end_key(
    connection: Connection, project_id: str, key_id: str, *, grace: timedelta
) -> Key | None:
    """Have a live key end after `grace`, at once where that is zero; None where there is none."""
    now = func.now()
    ended = {"expires_at": func.least(api_keys.c.expires_at, now + grace)}
    query = (
        update(api_keys)
        .where(api_keys.c.project_id == project_id, api_keys.c.id == key_id, _live())
        .values({"revoked_at": now} if not grace else ended)
        .returning(*_KEY_COLUMNS)
    )
    row = connection.execute(query).mappings().one_or_none()
    return _key(row) if row else None


def count_keys(connection: Connection) -> int:
    """How many keys there are."""
    return connection.execute(select(func.count()).select_from(api_keys)).scalar_one()


# In place of a key.
SERVICE = "service"

_RECORD = insert(audit)


def record_change(connection: Connection, caller: Caller, action: str, target: str) -> None:
    """Note a change, in the transaction that makes it."""
    values = {"project_id": caller.project_id, "key_id": caller.id}
    connection.execute(_RECORD, values | {"action": action, "target": target})


def record_service_change(
    connection: Connection, project_id: str, action: str, target: str
) -> None:
    """Note a change that the service made by itself."""
    values = {"project_id": project_id, "key_id": SERVICE, "action": action, "target": target}
    connection.execute(_RECORD, values)


def audit_page(
    connection: Connection, project_id: str, *, limit: int, before: int | None
) -> list[AuditEntry]:
    """Up to `limit` entries, newest first, older than the id `before`."""
    query = (
        select(audit.c.id, audit.c.at, audit.c.key_id, audit.c.action, audit.c.target)
        .where(audit.c.project_id == project_id)
        .order_by(audit.c.id.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(audit.c.id < before)
    return [AuditEntry(**row) for row in connection.execute(query).mappings()]


REQUEST_KEPT = timedelta(hours=24)


def try_lock_request(connection: Connection, project_id: str, key: str) -> bool:
    """Own the key until this transaction ends; False where another transaction does.

    A crash releases it, so nothing remains "in flight" for ever.
    """
    number = func.hashtextextended(f"{project_id} {key}", 0)
    return bool(connection.execute(select(func.pg_try_advisory_xact_lock(number))).scalar_one())


def find_request(
    connection: Connection, project_id: str, key: str
) -> tuple[bytes, dict[str, Any]] | None:
    """Fingerprint and answer of the request that used the key first; None after 24 h."""
    table = idempotency.c
    query = select(table.fingerprint, table.answer).where(
        table.project_id == project_id,
        table.key == key,
        table.created_at > func.now() - REQUEST_KEPT,
    )
    row = connection.execute(query).one_or_none()
    return (row.fingerprint, row.answer) if row else None


def store_request(
    connection: Connection,
    project_id: str,
    key: str,
    *,
    fingerprint: bytes,
    answer: dict[str, Any],
) -> None:
    """Keep an answer; an outdated one of the same key gives way."""
    values = {"fingerprint": fingerprint, "answer": answer}
    new = insert(idempotency).values(values | {"project_id": project_id, "key": key})
    again = values | {"created_at": func.now()}
    connection.execute(new.on_conflict_do_update(constraint=idempotency.primary_key, set_=again))


def forget_old_requests(connection: Connection) -> int:
    """Remove answers older than 24 h; returns how many."""
    query = delete(idempotency).where(idempotency.c.created_at <= func.now() - REQUEST_KEPT)
    return connection.execute(query).rowcount
