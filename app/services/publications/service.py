"""Publications of a job: list, start over, note how a transfer ended."""

from sqlalchemy import Connection

from app.db import events, projects, publications
from app.domain.jobs import EventLevel, EventType, NewEvent
from app.domain.projects import Caller
from app.domain.publications import (
    Publication,
    PublicationNotFoundError,
    PublicationState,
    pause_after,
)
from app.services.jobs import service as jobs
from app.telemetry.redaction import scrub


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
    projects.record_change(connection, caller, "publication.retry", publication_id)
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
