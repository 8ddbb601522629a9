"""The directories in which running jobs keep what they have finished; one per job."""

from pathlib import Path

from app.storage.names import Found, listed, parse_job, remove


class CheckpointStore:
    """All of them, on a disk of this machine or one shared by several."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def directory(self, job_id: str) -> Path:
        """Where the attempts at a job keep theirs; not made yet."""
        return self._root / job_id

    def jobs(self) -> Found[str]:
        """The jobs that have something here.

        Raises:
            StorageUnavailableError: the directory cannot be read.
        """
        return listed(self._root, parse_job)

    def discard(self, job_id: str) -> None:
        """Remove what the job kept.

        Raises:
            StorageUnavailableError: something of it cannot be removed.
        """
        remove(self._root / job_id)
