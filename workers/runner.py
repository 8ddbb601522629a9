"""Runs one job in this process: claim, pipeline, publish, commit; exceptions become outcomes."""

import logging
import os
import socket
from datetime import timedelta
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.domain.errors import (
    OutOfMemoryError,
    StorageUnavailableError,
    SystemFaultError,
    UserError,
)
from app.domain.jobs import FailureKind, Job, JobError, Phase
from app.domain.routing import Routing
from app.domain.submission import JobSpec
from app.domain.sweeps import shares_calibration
from app.queue import CeleryQueue
from app.services import attempts, membership
from app.services.leftovers import discard_unowned, sweep_checkpoints
from app.services.quarantine import Guard
from app.storage.checkpoints import CheckpointStore
from app.storage.store import ArtifactStore
from app.telemetry.metrics.worker import CLAIMS
from workers.attempt import Attempt
from workers.board import Board
from workers.drain import Drain
from workers.pipeline import fitting
from workers.pipeline.context import (
    CheckpointPlace,
    DrainingError,
    ModelAccess,
    RunContext,
    Shared,
    StoppedError,
)

logger = logging.getLogger("secateur.worker")


def process_name() -> str:
    """What this process is called in events."""
    return f"{socket.gethostname()}:{os.getpid()}"


class Runner:
    """The warm part of a worker process."""

    def __init__(
        self,
        *,
        engine: Engine,
        store: ArtifactStore,
        models: ModelAccess,
        device: str,
        datasets: Path,
        checkpoints: CheckpointStore,
        checkpoint_bytes: int,
        activation_bytes: int,
        lease_seconds: float,
        heartbeat_seconds: float,
        drain_seconds: float,
        worker_class: str,
        memory_bytes: int,
        queue: CeleryQueue,
    ) -> None:
        self._engine = engine
        self._store = store
        self._models = models
        self._device = device
        self._datasets = datasets
        self._checkpoints = checkpoints
        self._checkpoint_bytes = checkpoint_bytes
        self._activation_bytes = activation_bytes
        self._lease = lease_seconds
        self._heartbeat = heartbeat_seconds
        self._grace = drain_seconds
        self._class = worker_class
        self._memory = memory_bytes
        self._queue = queue
        self._name = process_name()

    def run(self, told: str) -> bool:
        """Run the job that should start next, if one waits.

        Args:
            told: the job whose message woke us; it says that a job waits, not which one starts.

        Returns:
            True where this process is as good as new: nothing was claimed, or the job succeeded.
        """
        with Drain(self._grace) as drain:
            with self._engine.begin() as connection:
                job = attempts.claim(
                    connection,
                    worker=self._name,
                    lease=timedelta(seconds=self._lease),
                    worker_class=self._class,
                    memory_bytes=self._memory,
                )
            CLAIMS.labels("empty" if job is None else "claimed").inc()
            if job is None:
                logger.info("nothing waits any more that the message of job %s could start", told)
                return True
            return self._attempt(job, drain)

    def close(self) -> None:
        """Close the connections to database and broker."""
        self._queue.close()
        self._engine.dispose()

    def _attempt(self, job: Job, drain: Drain) -> bool:
        with Attempt(
            self._engine, job, drain, lease=self._lease, heartbeat=self._heartbeat
        ) as attempt:
            good = self._run(job, attempt)
        self._tidy()
        return good

    def _run(self, job: Job, attempt: Attempt) -> bool:
        try:
            self._prune_and_publish(job, attempt)
        except DrainingError:
            attempt.hand_back()
        except StoppedError:
            attempt.end_cancelled()
        except UserError as error:
            attempt.fail(JobError(FailureKind.USER, error.code, str(error)))
        except OutOfMemoryError as error:  # it would run out again
            attempt.fail(JobError(FailureKind.SYSTEM, error.code, str(error)))
        except SystemFaultError as error:
            attempt.retry(JobError(FailureKind.SYSTEM, error.code, str(error)))
        except OSError as error:
            logger.exception("job %s met an operating system error", job.id)
            # Without the paths of this machine, which the log has.
            words = error.strerror or str(error)
            attempt.retry(JobError(FailureKind.SYSTEM, "storage_failed", words))
        except Exception:
            logger.exception("job %s met an unexpected error", job.id)
            message = "the worker met an unexpected error; its log has the details"
            attempt.fail(JobError(FailureKind.SYSTEM, "internal", message))
        else:
            return True
        try:
            with self._engine.begin() as connection:
                discard_unowned(connection, self._store, [(job.id, job.attempt)])
        except (StorageUnavailableError, SQLAlchemyError) as error:
            logger.warning("maintenance will discard what job %s left: %s", job.id, error)
        return False

    def _tidy(self) -> None:
        """Discard the checkpoints of jobs that have ended, here or elsewhere."""
        try:
            sweep_checkpoints(Guard(self._engine), self._checkpoints, self._checkpoints.jobs())
        except (SQLAlchemyError, StorageUnavailableError) as error:
            logger.warning("checkpoints of ended jobs stay until the next job: %s", error)

    def _shared(self, job: Job, spec: JobSpec) -> Shared:
        """What the job's sweep has measured; the first of those who need it keeps it."""
        if job.sweep_id is None or isinstance(spec.recipe, Routing):
            return Shared()
        if job.leader_id is None:
            return Shared(keep=shares_calibration(spec.recipe))
        with self._engine.connect() as connection:
            found = membership.measured(connection, job.leader_id)
        return Shared(None if found is None else b"".join(self._store.read(found)))

    def _discard_earlier(self, job: Job) -> None:
        try:
            for earlier in range(1, job.attempt):
                self._store.discard(job.id, earlier)
        except StorageUnavailableError as error:
            logger.warning("maintenance will discard what job %s left: %s", job.id, error)

    def _prune_and_publish(self, job: Job, attempt: Attempt) -> None:
        self._discard_earlier(job)
        staging = self._store.stage(job.id, job.attempt)
        spec = JobSpec.model_validate(job.spec)
        place = CheckpointPlace(self._checkpoints.directory(job.id), self._checkpoint_bytes)
        shared = self._shared(job, spec)
        outcome = fitting.run(
            RunContext(
                spec=spec,
                staging=staging,
                models=self._models,
                datasets=self._datasets,
                checkpoints=place,
                activation_bytes=self._activation_bytes,
                report=attempt,
                request=job.request,
                shared=shared,
                device=self._device,
                board=Board(self._engine, self._queue, job, self._name),
            )
        )
        if outcome.files:
            attempt.phase(Phase.PUBLISHING)
            self._store.publish(job.id, job.attempt)
        else:
            self._store.discard(job.id, job.attempt)
        files = [file.published(job.id, job.attempt) for file in outcome.files]
        if outcome.refused is not None:
            error = JobError(FailureKind.USER, outcome.refused.code, str(outcome.refused))
            stored = attempt.fail(error, outcome.result, files)
        else:
            stored = attempt.succeed(outcome.result, files)
        if not stored:
            attempt.check()
            raise StoppedError
