"""Removes files that nobody will ask for: what lost, failed and cancelled attempts left behind."""

from collections.abc import Sequence

from sqlalchemy import Connection, Engine

from app.db import datasets, jobs
from app.domain.quarantine import Loop
from app.services.quarantine import Guard
from app.storage.checkpoints import CheckpointStore
from app.storage.datasets import DatasetStore
from app.storage.names import Found, attempt_name
from app.storage.store import ArtifactStore

BATCH = 500


def discard_leftovers(guard: Guard, store: ArtifactStore, found: Found[tuple[str, int]]) -> int:
    """Discard the files of attempts that own nothing any more. Returns how many attempts.

    The files are listed before the rows are read: an attempt that starts in between is not listed.

    Args:
        guard: sets aside what cannot be removed.
        store: where the files are.
        found: what `store.attempts()` has listed.
    """
    listed, discarded = sorted(found.ours), 0
    for start in range(0, len(listed), BATCH):
        with guard.engine.begin() as connection:
            unowned = _unowned(connection, listed[start : start + BATCH])
        done = guard.each(
            Loop.FILES,
            unowned,
            lambda each: store.discard(*each),
            name=lambda each: attempt_name(*each),
            check=store.check,
        )
        discarded += len(done)
    return discarded


def discard_unowned(
    connection: Connection, store: ArtifactStore, attempts: Sequence[tuple[str, int]]
) -> int:
    """Discard the files of those (job id, attempt) that own nothing any more; returns how many.

    A worker asks here, too, after a failure: its last commit may have gone through although the
    answer got lost, and then the files belong to a finished job.
    """
    unowned = _unowned(connection, attempts)
    for job_id, attempt in unowned:
        store.discard(job_id, attempt)
    return len(unowned)


def _unowned(
    connection: Connection, attempts: Sequence[tuple[str, int]]
) -> Sequence[tuple[str, int]]:
    owners = jobs.owners(connection, [job_id for job_id, _ in attempts])
    return [each for each in attempts if each not in owners]


def sweep_checkpoints(guard: Guard, kept: CheckpointStore, found: Found[str]) -> int:
    """Discard what jobs that have ended, or are gone, kept to continue. Returns how many jobs.

    The directories are listed before the rows are read: a job that starts in between is not listed.

    Args:
        guard: sets aside what cannot be removed.
        kept: where they are.
        found: what `kept.jobs()` has listed.
    """
    listed = sorted(found.ours)
    if not listed:
        return 0
    with guard.engine.begin() as connection:
        unfinished = jobs.unfinished(connection, listed)
    ended = [job_id for job_id in listed if job_id not in unfinished]
    return len(guard.each(Loop.CHECKPOINTS, ended, kept.discard))


def sweep_datasets(guard: Guard, store: DatasetStore, found: Found[str]) -> int:
    """Discard data sets that no project has and no unfinished job reads. Returns how many.

    What uploads left behind whose process was ended from outside goes as well, uncounted.

    Args:
        guard: sets aside what cannot be removed.
        store: where they are.
        found: what `store.stored()` has listed.
    """
    listed, unowned = sorted(found.ours), list[str]()
    for start in range(0, len(listed), BATCH):
        batch = listed[start : start + BATCH]
        with guard.engine.begin() as connection:
            owned = datasets.owned(connection, batch)
        unowned += [each for each in batch if each not in owned]

    def discard(dataset_id: str) -> bool:
        return discard_dataset(guard.engine, store, dataset_id)

    guard.each(Loop.DATASETS, store.abandoned(), store.drop)
    return sum(guard.each(Loop.DATASETS, unowned, discard))


def discard_dataset(engine: Engine, store: DatasetStore, dataset_id: str) -> bool:
    """Discard a data set that no project has and no unfinished job reads; False where one does.

    Raises:
        StorageUnavailableError: something of it cannot be removed.
    """
    with engine.begin() as connection:
        datasets.lock(connection, dataset_id)
        kept = datasets.owned(connection, [dataset_id])
        if kept or datasets.is_read(connection, dataset_id):
            return False
        store.discard(dataset_id)
        return True
