"""Measures parts of jobs that other workers run."""

import logging
from pathlib import Path

from sqlalchemy import Engine

from app.domain.errors import SecateurError
from app.domain.shards import Shard
from app.domain.submission import JobSpec
from app.services import shards
from workers.pipeline.context import CheckpointPlace, ModelAccess, RunContext
from workers.pipeline.helping import Quiet, open_work
from workers.pipeline.parts import NotWanted, Work

logger = logging.getLogger("secateur.worker")


class Helper:
    """Takes parts as long as a job has any that nobody has taken.

    Nothing is held that somebody waits for: a helper may end at any moment.
    """

    def __init__(
        self, *, engine: Engine, models: ModelAccess, datasets: Path, device: str, name: str
    ) -> None:
        self._engine = engine
        self._models = models
        self._datasets = datasets
        self._device = device
        self._name = name

    def run(self, job_id: str) -> bool:
        """Help one job; False where the process should be replaced."""
        shard = self._take(job_id)
        if shard is None:
            return True
        logger.info("helping with job %s", job_id)
        try:
            work = open_work(self._context(shard))
            while shard is not None:
                self._measure(work, shard)
                shard = self._take(job_id)
        except SecateurError as error:  # the job's own worker meets it too, and tells
            logger.warning("no help with job %s: %s", job_id, error)
            return False
        except (MemoryError, RuntimeError):  # it may have more memory, or less to do
            logger.exception("no help with job %s", job_id)
            return False
        return True

    def _measure(self, work: Work, shard: Shard) -> None:
        def check() -> None:
            with self._engine.begin() as connection:
                if not shards.wanted(connection, shard):
                    raise NotWanted

        try:
            scores = work.measure(shard.part, check)
        except NotWanted:
            return
        with self._engine.begin() as connection:
            shards.hand_in(connection, shard, scores)

    def _take(self, job_id: str) -> Shard | None:
        with self._engine.begin() as connection:
            return shards.take(connection, job_id, self._name, own=False)

    def _context(self, shard: Shard) -> RunContext:
        nowhere = Path("/nonexistent")
        return RunContext(
            spec=JobSpec.model_validate(shard.spec),
            staging=nowhere,
            models=self._models,
            datasets=self._datasets,
            checkpoints=CheckpointPlace(nowhere, 0),
            activation_bytes=0,
            report=Quiet(),
            device=self._device,
        )
