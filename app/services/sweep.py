"""Removes files that nobody will ask for: what lost, failed and cancelled attempts left behind."""

from sqlalchemy import Connection

from app.db import jobs
from app.storage.store import ArtifactStore

BATCH = 500


def sweep(connection: Connection, store: ArtifactStore) -> int:
    """Discard the files of attempts that own nothing any more. Returns how many attempts.

    The files are listed before the rows are read: an attempt that starts in between is not listed.
    """
    found = sorted(store.attempts())
    discarded = 0
    for start in range(0, len(found), BATCH):
        batch = found[start : start + BATCH]
        owners = jobs.owners(connection, [job_id for job_id, _ in batch])
        for job_id, attempt in batch:
            if (job_id, attempt) not in owners:
                store.discard(job_id, attempt)
                discarded += 1
    return discarded
