"""Where a job's worker posts parts of its measurement, and others find them."""

import logging
from functools import partial

from kombu.exceptions import OperationalError as BrokerError
from sqlalchemy import Engine

from app.db.transactions import transact
from app.domain.jobs import Job
from app.domain.shards import MOST_HELPERS, Part, Shard
from app.domain.submission import JobSpec
from app.queue import CeleryQueue
from app.recipes.allocation_scores import AllocationScores
from app.services.jobs import shards

logger = logging.getLogger("secateur.worker")


class Board:
    """The parts of one job, as its own worker sees them; see `Board` of `sharing.parts`."""

    def __init__(self, engine: Engine, queue: CeleryQueue, job: Job, worker: str) -> None:
        self._engine = engine
        self._queue = queue
        self._job = job
        self._worker = worker

    def post(self, spec: JobSpec, parts: list[Part]) -> None:
        """Offer the parts and call for help; without a broker, there is none."""
        content = spec.model_dump(mode="json")
        transact(self._engine, partial(shards.post, job=self._job, spec=content, parts=parts))
        try:
            for _ in range(min(len(parts) - 1, MOST_HELPERS)):
                self._queue.call_for_help(self._job.id, self._job.worker_class)
        except BrokerError as error:
            logger.warning("nobody is called to help with %s: %s", self._job.id, error)

    def take(self) -> Shard | None:
        """The next part without a result."""
        mine = partial(shards.take, job_id=self._job.id, worker=self._worker, own=True)
        return transact(self._engine, mine)

    def wanted(self, shard: Shard) -> bool:
        """Whether nobody has handed it in yet."""
        return transact(self._engine, partial(shards.wanted, shard=shard))

    def hand_in(self, shard: Shard, scores: AllocationScores) -> None:
        """Store a result."""
        transact(self._engine, partial(shards.hand_in, shard=shard, scores=scores))

    def merged(self) -> AllocationScores | None:
        """All results together; None while one is missing."""
        return transact(self._engine, partial(shards.merged, job_id=self._job.id))
