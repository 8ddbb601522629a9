"""What follows a success: a new version of a model, publications."""

from collections.abc import Collection, Mapping

from sqlalchemy import Connection

from app.db import audit, events, models, publications
from app.domain.destinations import Destination
from app.domain.job_options import PublishOptions
from app.domain.jobs import EventLevel, EventType, Job, NewEvent
from app.domain.models import ModelVersion
from app.domain.projects import Caller
from app.domain.publications import (
    Publication,
    PublicationState,
    PublishRequest,
    pause_after,
)
from app.errors import DestinationUnknownError, PublicationNotFoundError
from app.services.jobs import service as jobs
from app.telemetry.redaction import scrub


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


def listing(connection: Connection, caller: Caller, job_id: str) -> list[Publication]:
    """The job's publications, oldest first."""
    jobs.get(connection, caller, job_id)
    return publications.of_job(connection, job_id)


def retry(connection: Connection, caller: Caller, job_id: str, publication_id: str) -> Publication:
    """Start a publication over, at once.

    Raises:
        JobNotFoundError: the project has no job of that id.
        PublicationNotFoundError: the job has no publication of that id.
    """
    jobs.get(connection, caller, job_id)
    found = publications.retry(connection, job_id, publication_id)
    if found is None:
        raise PublicationNotFoundError(f"job {job_id!r} has no publication {publication_id!r}")
    audit.record(connection, caller, "publication.retry", publication_id)
    return found


def published(connection: Connection, publication: Publication, url: str) -> None:
    """Note that the files have arrived."""
    if publications.settle(connection, publication, PublicationState.PUBLISHED, url=url):
        message = f"published to {publication.destination}: {url}"
        _log(connection, publication, message, EventLevel.INFO)


def failed(connection: Connection, publication: Publication, error: str) -> None:
    """Note an attempt that came to nothing, and whether another follows."""
    error = scrub(error)
    pause = pause_after(publication.attempts)
    state = PublicationState.FAILED if pause is None else PublicationState.PENDING
    if publications.settle(connection, publication, state, error=error, pause=pause):
        follows = "given up" if pause is None else f"tried again in {pause.total_seconds():.0f} s"
        message = f"not published to {publication.destination}, {follows}: {error}"
        _log(connection, publication, message, EventLevel.WARNING)


def _log(connection: Connection, publication: Publication, message: str, level: EventLevel) -> None:
    data = {"destination": publication.destination, "attempt": publication.attempts}
    event = NewEvent(EventType.PUBLICATION, message, level, data)
    events.append_to_ended(connection, publication.job_id, event)
