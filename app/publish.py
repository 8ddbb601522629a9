"""Sends finished jobs on to their destinations; threads of the maintenance process."""

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.db import artifacts, jobs, publications
from app.db.engine import AWAY
from app.domain.destinations import Destination
from app.domain.errors import PublishingError, SecateurError
from app.domain.publications import Publication
from app.domain.quarantine import Loop
from app.publishers.parcel import packed_up
from app.publishers.send import send
from app.services import publishing
from app.services.quarantine import Guard, guarded
from app.storage.store import ArtifactStore

logger = logging.getLogger("secateur.publishing")

# A process that dies in the middle is succeeded by another attempt after this.
LEASE = timedelta(seconds=60)
AT_ONCE = 4


class Publisher:
    """Attempts what is due; several threads may, one for a project at a time.

    A push may take hours, and one that hangs keeps no other project from its own.
    """

    def __init__(
        self, engine: Engine, store: ArtifactStore, destinations: Mapping[str, Destination]
    ) -> None:
        """Begin nothing yet."""
        self._engine, self._store, self._destinations = engine, store, destinations
        self._guard = Guard(engine, passing=AWAY)
        self._lock, self._busy = threading.Lock(), set[str]()

    def publish_due(self) -> bool:
        """Attempt the publication that is due, if one is; returns whether there was one."""
        with self._lock, self._engine.begin() as connection:
            due = publications.next_due(connection, self._busy)
            if due is None:
                return False
            publication_id, project_id = due
            take = partial(publications.take, connection, publication_id, LEASE)
            publication = guarded(connection, Loop.PUBLISH, publication_id, take, AWAY)
            self._busy.add(project_id)
        try:
            if publication is not None:
                self._guard.each(Loop.PUBLISH, [publication], self._publish, name=_id_of)
        finally:
            self._busy.discard(project_id)
        return True

    def _publish(self, publication: Publication) -> None:
        try:
            with _kept(self._engine, publication):
                url = _attempt(self._engine, self._store, self._destinations, publication)
        except (SecateurError, OSError) as error:
            logger.warning("publication %s failed: %s", publication.id, error)
            with self._engine.begin() as connection:
                publishing.failed(connection, publication, str(error))
        else:
            logger.info("publication %s arrived at %s", publication.id, url)
            with self._engine.begin() as connection:
                publishing.published(connection, publication, url)

    def run(self, stop: threading.Event, interval: float) -> None:
        """Publish until `stop` is set."""
        while not stop.is_set():
            try:
                busy = self._guard.round(Loop.PUBLISH, self.publish_due)
            except AWAY as error:
                logger.warning("the database is not reachable: %s", error)
                busy = False
            if not busy:
                stop.wait(interval)


def _id_of(publication: Publication) -> str:
    return publication.id


def _attempt(
    engine: Engine,
    store: ArtifactStore,
    destinations: Mapping[str, Destination],
    publication: Publication,
) -> str:
    destination = destinations.get(publication.destination)
    if destination is None:
        raise PublishingError("this installation has no such destination any more")
    with engine.connect() as connection:
        job = jobs.find(connection, publication.job_id)
        files = artifacts.of_job(connection, publication.job_id)
    if job is None or not files:
        raise PublishingError("the job's files are gone")
    if destination.projects and job.project_id not in destination.projects:
        raise PublishingError("the destination is not open to this project any more")
    with packed_up(store, job, files) as parcel:
        return send(destination, publication.target, parcel)


@contextmanager
def _kept(engine: Engine, publication: Publication) -> Iterator[None]:
    """Nobody else takes the publication while this lasts."""
    ended = threading.Event()

    def extend() -> None:
        while not ended.wait(LEASE.total_seconds() / 3):
            try:
                with engine.begin() as connection:
                    publications.extend(connection, publication, LEASE)
            except SQLAlchemyError as error:
                logger.warning("the publication's lease is not extended: %s", error)

    thread = threading.Thread(target=extend, name="publication lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
