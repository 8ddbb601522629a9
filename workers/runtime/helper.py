"""Measures parts of jobs that other workers run."""

import logging
from functools import partial
from pathlib import Path

from sqlalchemy import Engine

from app.db.transactions import transact
from app.domain.shards import Shard
from app.domain.submission import JobSpec
from app.services.jobs import shards
from workers.pipeline.beside import left_running
from workers.pipeline.context import CheckpointPlace, ModelAccess, RunContext
from workers.pipeline.sharing.helping import Quiet, open_work
from workers.pipeline.sharing.parts import NotWanted, Work
from workers.runtime.outcomes import outcome_of
from workers.runtime.watchdog.watch import Watch

logger = logging.getLogger("secateur.worker")


class Helper:
    """Takes parts as long as a job has any that nobody has taken.

    Nothing is held that somebody waits for: a helper may end at any moment.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        models: ModelAccess,
        datasets: Path,
        device: str,
        name: str,
        watch: Watch,
    ) -> None:
        self._engine = engine
        self._models = models
        self._datasets = datasets
        self._device = device
        self._name = name
        self._watch = watch

    def run(self, job_id: str) -> bool:
        """Help one job; False where this process may be damaged and should be replaced."""
        self._watch.begins()
        try:
            return self._help(job_id)
        except Exception as error:
            outcome = outcome_of(error)
            logger.warning("no help with job %s: %s", job_id, error, exc_info=not outcome.expected)
            return not outcome.damaged and not left_running()
        finally:
            self._watch.ends()

    def _help(self, job_id: str) -> bool:
        shard = self._take(job_id)
        if shard is None:
            return True
        logger.info("helping with job %s", job_id)
        self._watch.begins(job_id, shard.attempt, own=False)
        work = open_work(self._context(shard))
        while shard is not None:
            self._measure(work, shard)
            shard = self._take(job_id)
        return True

    def _measure(self, work: Work, shard: Shard) -> None:
        def check() -> None:
            self._watch.moves()
            if not transact(self._engine, partial(shards.wanted, shard=shard)):
                raise NotWanted

        try:
            scores = work.measure(shard.part, check)
        except NotWanted:
            return
        transact(self._engine, partial(shards.hand_in, shard=shard, scores=scores))

    def _take(self, job_id: str) -> Shard | None:
        other = partial(shards.take, job_id=job_id, worker=self._name, own=False)
        return transact(self._engine, other)

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
