"""What a success brings about: a new version of a model, publications."""

from collections.abc import Collection, Mapping

from sqlalchemy import Connection

from app.db import models, publications
from app.domain.job_options import PublishOptions
from app.domain.jobs import EventType, Job, NewEvent
from app.domain.models import ModelVersion
from app.domain.publications import Destination, DestinationUnknownError, PublishRequest


def begin(connection: Connection, job: Job) -> list[NewEvent]:
    """Do for a job that succeeds what its request asks for; returns what to log."""
    given = {name: job.request[name] for name in PublishOptions.model_fields if name in job.request}
    wanted = PublishOptions.model_validate(given)
    publications.add(connection, job.id, wanted.publish)
    if wanted.publish_as is None:
        return []
    return [_named(models.add_version(connection, job.project_id, wanted.publish_as, job.id))]


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
