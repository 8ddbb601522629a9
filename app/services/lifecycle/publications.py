"""What a success brings about: a new version of a model, publications."""

from collections.abc import Collection, Mapping

from sqlalchemy import Connection

from app.db import models, publications
from app.domain.jobs import EventType, Job, NewEvent
from app.domain.models import ModelVersion
from app.domain.publications import (
    Destination,
    DestinationUnknownError,
    PublishRequest,
    TargetInvalidError,
)


def begin(connection: Connection, job: Job) -> list[NewEvent]:
    """Do for a job that succeeds what its request asks for; returns what to log."""
    publications.add(connection, job.id, job.request.publish)
    name = job.request.publish_as
    if name is None:
        return []
    return [_named(models.add_version(connection, job.project_id, name, job.id))]


def _named(version: ModelVersion) -> NewEvent:
    data = {"model": version.name, "version": version.version}
    message = f"published as models/{version.name}@{version.revision}"
    return NewEvent(EventType.PUBLICATION, message, data=data)


def check_destinations(
    wanted: Collection[PublishRequest], known: Mapping[str, Destination], project_id: str
) -> None:
    """Refuse what nothing could come of.

    Raises:
        DestinationUnknownError: the installation has no such destination for this project.
        TargetInvalidError: the destination can have nothing of that name.
    """
    open_to_it = {
        name
        for name, destination in known.items()
        if not destination.projects or project_id in destination.projects
    }
    for each in wanted:
        if each.destination not in open_to_it:
            listed = ", ".join(sorted(open_to_it)) or "none"
            raise DestinationUnknownError(
                f"there is no destination {each.destination!r} for this project, but: {listed}"
            )
        if reason := known[each.destination].refuses(each.target):
            raise TargetInvalidError(f"{each.target!r}: {reason}")
