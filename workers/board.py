"""Where a job's worker posts parts of its measurement, and others find them."""

import logging

from kombu.exceptions import OperationalError as BrokerError
from sqlalchemy import Engine

from app.domain.allocation_scores import AllocationScores
from app.domain.jobs import Job
from app.domain.shards import MOST_HELPERS, Part, Shard
from app.domain.submission import JobSpec
from app.queue import CeleryQueue
from app.services import shards

logger = logging.getLogger("secateur.worker")


class Board:
    """The parts of one job, as its own worker sees them. See `workers.pipeline.parts.Board`."""

    def __init__(self, engine: Engine, queue: CeleryQueue, job: Job, worker: str) -> None:
        self._engine = engine
        self._queue = queue
        self._job = job
        self._worker = worker

    def post(self, spec: JobSpec, parts: list[Part]) -> None:
        """Offer the parts and call for help; without a broker, there is none."""
        with self._engine.begin() as connection:
            shards.post(connection, self._job, spec.model_dump(mode="json"), parts)
        try:
            for _ in range(min(len(parts) - 1, MOST_HELPERS)):
                self._queue.call_for_help(self._job.id, self._job.worker_class)
        except BrokerError as error:
            logger.warning("nobody is called to help with %s: %s", self._job.id, error)

    def take(self) -> Shard | None:
        """The next part without a result."""
        with self._engine.begin() as connection:
            return shards.take(connection, self._job.id, self._worker, own=True)

    def wanted(self, shard: Shard) -> bool:
        """Whether nobody has handed it in yet."""
        with self._engine.begin() as connection:
            return shards.wanted(connection, shard)

    def hand_in(self, shard: Shard, scores: AllocationScores) -> None:
        """Store a result."""
        with self._engine.begin() as connection:
            shards.hand_in(connection, shard, scores)

    def merged(self) -> AllocationScores | None:
        """All results together; None while one is missing."""
        with self._engine.begin() as connection:
            return shards.merged(connection, self._job.id)
