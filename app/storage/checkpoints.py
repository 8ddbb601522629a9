"""The directories in which running jobs keep what they have finished; one per job."""

import shutil
from pathlib import Path


class CheckpointStore:
    """All of them, on a disk of this machine or one shared by several."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def directory(self, job_id: str) -> Path:
        """Where the attempts at a job keep theirs; not made yet."""
        return self._root / job_id

    def jobs(self) -> list[str]:
        """The jobs that have something here."""
        return sorted(path.name for path in self._root.iterdir()) if self._root.is_dir() else []

    def discard(self, job_id: str) -> None:
        """Remove what the job kept."""
        shutil.rmtree(self._root / job_id, ignore_errors=True)
