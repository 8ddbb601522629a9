"""What a client does with the models of its project: name jobs, look, withdraw."""

from collections.abc import Sequence

from sqlalchemy import Connection

from app.db import models, projects
from app.domain.models import ModelVersion
from app.domain.projects import Caller
from app.errors import ModelVersionNotFoundError
from app.services.jobs import artifacts
from app.services.jobs.service import get as get_job


def publish(connection: Connection, caller: Caller, name: str, job_id: str) -> ModelVersion:
    """Make a finished job the next version of a model.

    Raises:
        JobNotFoundError: the project has no job of that id.
        ArtifactNotFoundError: the job has no files (yet).
        ArtifactExpiredError: it has none any more.
    """
    get_job(connection, caller, job_id, lock=True)  # its files stay until this is committed
    artifacts.require(connection, caller, job_id)
    version = models.add_version(connection, caller.project_id, name, job_id)
    projects.record_change(connection, caller, "model.publish", f"{name}@{version.revision}")
    return version


def page(
    connection: Connection, caller: Caller, *, limit: int, cursor: str | None
) -> tuple[Sequence[ModelVersion], str | None]:
    """The newest versions of up to `limit` models, and the cursor of the next page."""
    found = models.newest(connection, caller.project_id, limit=limit + 1, after=cursor)
    more = len(found) > limit
    return found[:limit], found[limit - 1].name if more else None


def versions(connection: Connection, caller: Caller, name: str) -> Sequence[ModelVersion]:
    """All versions of a model, newest first.

    Raises:
        ModelVersionNotFoundError: the project has no model of that name.
    """
    found = models.versions(connection, caller.project_id, name)
    if not found:
        raise ModelVersionNotFoundError(f"there is no model {name!r}")
    return found


def get(connection: Connection, caller: Caller, name: str, version: int) -> ModelVersion:
    """One version of a model.

    Raises:
        ModelVersionNotFoundError: there is none.
    """
    for found in versions(connection, caller, name):
        if found.version == version:
            return found
    raise ModelVersionNotFoundError(f"the model {name!r} has no version {version}")


def withdraw(connection: Connection, caller: Caller, name: str, version: int) -> None:
    """Take a version back; its number stays used and its job stays as it is.

    Raises:
        ModelVersionNotFoundError: there is none.
    """
    if not models.remove(connection, caller.project_id, name, version):
        raise ModelVersionNotFoundError(f"the model {name!r} has no version {version}")
    projects.record_change(connection, caller, "model.withdraw", f"{name}@v{version}")
