"""Removes files that nobody will ask for: what lost, failed and cancelled attempts left behind."""

from collections.abc import Sequence

from sqlalchemy import Connection

from app.db import jobs
from app.storage.checkpoints import CheckpointStore
from app.storage.store import ArtifactStore

BATCH = 500


def discard_leftovers(connection: Connection, store: ArtifactStore) -> int:
    """Discard the files of attempts that own nothing any more. Returns how many attempts.

    The files are listed before the rows are read: an attempt that starts in between is not listed.
    """
    found = sorted(store.attempts())
    starts = range(0, len(found), BATCH)
    return sum(discard_unowned(connection, store, found[at : at + BATCH]) for at in starts)


def discard_unowned(
    connection: Connection, store: ArtifactStore, attempts: Sequence[tuple[str, int]]
) -> int:
    """Discard the files of those (job id, attempt) that own nothing any more; returns how many.

    A worker asks here, too, after a failure: its last commit may have gone through although the
    answer got lost, and then the files belong to a finished job.
    """
    owners = jobs.owners(connection, [job_id for job_id, _ in attempts])
    unowned = [each for each in attempts if each not in owners]
    for job_id, attempt in unowned:
        store.discard(job_id, attempt)
    return len(unowned)


def sweep_checkpoints(connection: Connection, kept: CheckpointStore) -> int:
    """Discard what jobs that have ended, or are gone, kept to continue. Returns how many jobs.

    The directories are listed before the rows are read: a job that starts in between is not listed.
    """
    found = kept.jobs()
    unfinished = jobs.unfinished(connection, found) if found else set()
    ended = [job_id for job_id in found if job_id not in unfinished]
    for job_id in ended:
        kept.discard(job_id)
    return len(ended)
