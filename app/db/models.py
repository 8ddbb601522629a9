"""Rows of models and their versions."""

from collections.abc import Sequence

from sqlalchemy import Connection, RowMapping, delete, select
from sqlalchemy import insert as plain_insert
from sqlalchemy.dialects.postgresql import distinct_on, insert

from app.db.tables import model_versions, models
from app.domain.models import ModelVersion

_table = model_versions.c


def _version(row: RowMapping) -> ModelVersion:
    return ModelVersion(row["name"], row["version"], row["job_id"], row["created_at"])


def add_version(connection: Connection, project_id: str, name: str, job_id: str) -> ModelVersion:
    """Give the job the model's next number; makes the model where there is none."""
    key = {"project_id": project_id, "name": name}
    first = insert(models).values(key)
    counted = first.on_conflict_do_update(
        index_elements=list(key), set_={"latest": models.c.latest + 1}
    ).returning(models.c.latest)
    version = connection.execute(counted).scalar_one()
    row = plain_insert(model_versions).values(key | {"version": version, "job_id": job_id})
    return _version(connection.execute(row.returning(model_versions)).mappings().one())


def newest(
    connection: Connection, project_id: str, *, limit: int, after: str | None
) -> Sequence[ModelVersion]:
    """The newest version of up to `limit` models, by name, from behind `after` on."""
    query = (
        select(model_versions)
        .ext(distinct_on(_table.name))
        .where(_table.project_id == project_id)
        .order_by(_table.name, _table.version.desc())
        .limit(limit)
    )
    if after is not None:
        query = query.where(_table.name > after)
    return [_version(row) for row in connection.execute(query).mappings()]


def versions(connection: Connection, project_id: str, name: str) -> Sequence[ModelVersion]:
    """All versions of a model, newest first."""
    query = (
        select(model_versions)
        .where(_table.project_id == project_id, _table.name == name)
        .order_by(_table.version.desc())
    )
    return [_version(row) for row in connection.execute(query).mappings()]


def remove(connection: Connection, project_id: str, name: str, version: int) -> bool:
    """Forget a version; False where there is none."""
    query = delete(model_versions).where(
        _table.project_id == project_id, _table.name == name, _table.version == version
    )
    return connection.execute(query).rowcount > 0
