"""The exchange of a measurement that several workers share.

The worker of the job offers shards through a `MeasurementExchange`; a `Helper` on any other worker
takes shards and hands scores in. See `app.domain.shards`.
"""

import logging
from functools import partial
from pathlib import Path

from kombu.exceptions import OperationalError as BrokerError
from sqlalchemy import Engine

from app.db import shards
from app.db.transactions import transact
from app.domain.jobs import Job
from app.domain.shards import MOST_HELPERS, Part, Shard
from app.domain.submission import JobSpec
from app.queue import CeleryQueue
from app.recipes.allocation_scores import AllocationScores
from workers.pipeline.context import CheckpointPlace, ModelAccess, RunContext, left_running
from workers.pipeline.sharing import Quiet, measure_shard, open_work
from workers.runtime.outcomes import outcome_of
from workers.runtime.watchdog.watch import Watch

logger = logging.getLogger("secateur.worker")


class JobShards:
    """The shards of one job as a worker sees them; see the protocol in `context`."""

    def __init__(self, engine: Engine, job_id: str, worker: str, *, own: bool = False) -> None:
        """See the shards; `own` is whether the worker is the job's own one."""
        self._engine = engine
        self._job_id = job_id
        self._worker = worker
        self._own = own

    def take(self) -> Shard | None:
        """The next shard without scores."""
        take = partial(shards.take, job_id=self._job_id, worker=self._worker, own=self._own)
        return transact(self._engine, take)

    def wanted(self, shard: Shard) -> bool:
        """Whether nobody has handed it in yet."""
        return transact(self._engine, partial(shards.wanted, shard=shard))

    def hand_in(self, shard: Shard, scores: AllocationScores) -> None:
        """Store its scores."""
        transact(self._engine, partial(shards.hand_in, shard=shard, scores=scores))


class MeasurementExchange(JobShards):
    """The shards of one job as its own worker sees them."""

    def __init__(self, engine: Engine, queue: CeleryQueue, job: Job, worker: str) -> None:
        super().__init__(engine, job.id, worker, own=True)
        self._queue = queue
        self._job = job

    def post(self, spec: JobSpec, parts: list[Part]) -> None:
        """Offer the parts and call for help; without a broker, there is none."""
        transact(self._engine, partial(shards.post, job=self._job, spec=spec, parts=parts))
        try:
            for _ in range(min(len(parts) - 1, MOST_HELPERS)):
                self._queue.call_for_help(self._job.id, self._job.worker_class)
        except BrokerError as error:
            logger.warning("nobody is called to help with %s: %s", self._job.id, error)

    def merged(self) -> AllocationScores | None:
        """All scores together; None while some are missing."""
        return transact(self._engine, partial(shards.merged, job_id=self._job.id))


class Helper:
    """Measures shards of other workers' jobs, as long as a job has any that is not taken.

    The worker of the job never waits for a helper, so a helper may end at any moment.
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
        exchange = JobShards(self._engine, job_id, self._name)
        shard = exchange.take()
        if shard is None:
            return True
        logger.info("helping with job %s", job_id)
        self._watch.begins(job_id, shard.attempt, own=False)
        work = open_work(self._context(shard))
        while shard is not None:
            measure_shard(work, shard, exchange, self._watch.moves)
            shard = exchange.take()
        return True

    def _context(self, shard: Shard) -> RunContext:
        nowhere = Path("/nonexistent")
        return RunContext(
            spec=shard.spec,
            staging=nowhere,
            models=self._models,
            datasets=self._datasets,
            checkpoints=CheckpointPlace(nowhere, 0),
            activation_bytes=0,
            report=Quiet(),
            device=self._device,
        )
