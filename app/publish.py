"""Sends finished jobs on to their destinations; a thread of the maintenance process."""

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.db import artifacts, jobs, publications
from app.domain.destinations import Destination
from app.domain.errors import PublishingError, SecateurError
from app.domain.publications import Publication
from app.publishers.parcel import packed_up
from app.publishers.send import send
from app.services import publishing
from app.storage.store import ArtifactStore

logger = logging.getLogger("secateur.publishing")

# A process that dies in the middle is succeeded by another attempt after this.
LEASE = timedelta(seconds=60)


def publish_due(
    engine: Engine, store: ArtifactStore, destinations: Mapping[str, Destination]
) -> bool:
    """Attempt the publication that is due, if one is; returns whether there was one."""
    with engine.begin() as connection:
        publication = publications.take_due(connection, LEASE)
    if publication is None:
        return False
    try:
        with _kept(engine, publication):
            url = _attempt(engine, store, destinations, publication)
    except (SecateurError, OSError) as error:
        logger.warning("publication %s failed: %s", publication.id, error)
        with engine.begin() as connection:
            publishing.failed(connection, publication, str(error))
    else:
        logger.info("publication %s arrived at %s", publication.id, url)
        with engine.begin() as connection:
            publishing.published(connection, publication, url)
    return True


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
                logger.warning("the database is not reachable: %s", error)

    thread = threading.Thread(target=extend, name="publication lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def run(
    engine: Engine,
    store: ArtifactStore,
    destinations: Mapping[str, Destination],
    stop: threading.Event,
    interval: float,
) -> None:
    """Publish until `stop` is set."""
    while not stop.is_set():
        try:
            busy = publish_due(engine, store, destinations)
        except SQLAlchemyError as error:
            logger.warning("the database is not reachable: %s", error)
            busy = False
        if not busy:
            stop.wait(interval)
