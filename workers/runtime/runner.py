"""Runs one job in this process: claim, pipeline, publish, commit; exceptions become outcomes."""

import gc
import logging
import os
import socket
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from app.db.transactions import PATIENCE, passing, transact
from app.domain.jobs import FailureKind, Job, JobError, Phase
from app.domain.submission import JobSpec
from app.domain.sweeps import shares_calibration
from app.errors import SecateurError, StorageUnavailableError
from app.planning.machines import Machine
from app.queue import CeleryQueue
from app.recipes.routing import Routing
from app.retries import retried
from app.services.jobs import attempts
from app.services.jobs.garbage_collection import discard_unowned, sweep_checkpoints
from app.services.lifecycle import job_events
from app.services.quarantine import Guard
from app.storage.checkpoints import CheckpointStore
from app.storage.store import ArtifactStore
from app.telemetry.metrics.worker import CLAIMS
from workers.pipeline.context import (
    CheckpointPlace,
    HarnessAccess,
    ModelAccess,
    RunContext,
    Shared,
    StoppedError,
    interruptible,
    left_running,
)
from workers.pipeline.run.run import run_with_smaller_batches
from workers.pipeline.signing import Signer
from workers.runtime.attempt import Attempt
from workers.runtime.measurement import MeasurementExchange
from workers.runtime.outcomes import End, outcome_of
from workers.runtime.watchdog.watch import Drain, Watch

logger = logging.getLogger("secateur.worker")

T = TypeVar("T")


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
        machine: Machine,
        queue: CeleryQueue,
        watch: Watch,
        signer: Signer | None = None,
        harnesses: HarnessAccess | None = None,
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
        self._machine = machine
        self._queue = queue
        self._watch = watch
        self._signer = signer
        self._harnesses = harnesses
        self._name = process_name()

    def run(self, message_job_id: str) -> bool:
        """Run the job that should start next, if one waits.

        Args:
            message_job_id: the job of the message; it says that a job waits, not which one
                starts.

        Returns:
            False where this process may be damaged and should be replaced.
        """
        self._watch.begins()
        try:
            with Drain(self._watch) as drain:
                try:
                    job = transact(self._engine, self._claim)
                except SQLAlchemyError as error:  # the message comes again
                    logger.warning("no job can be claimed: %s", error)
                    return True
                CLAIMS.labels("empty" if job is None else "claimed").inc()
                if job is None:
                    logger.info(
                        "nothing waits that the message of job %s could start", message_job_id
                    )
                    return True
                return self._attempt(job, drain)
        finally:
            self._watch.ends()

    def close(self) -> None:
        """Close the connections to database and broker."""
        self._queue.close()
        self._engine.dispose()

    def _claim(self, connection: Connection) -> Job | None:
        return attempts.claim(
            connection,
            worker=self._name,
            lease=timedelta(seconds=self._lease),
            worker_class=self._machine.worker_class,
            memory_bytes=max(self._machine.memory_bytes, self._machine.device_bytes or 0),
        )

    def _attempt(self, job: Job, drain: Drain) -> bool:
        with Attempt(
            self._engine, job, drain, self._watch, lease=self._lease, heartbeat=self._heartbeat
        ) as attempt:
            ended_well, sound = self._run(job, attempt)
        # Here the exception is gone, and with it the frames that held the model.
        if not ended_well:
            self._discard(job)
        sound = _cleaned() and sound
        self._tidy()
        return sound and not left_running()

    def _run(self, job: Job, attempt: Attempt) -> tuple[bool, bool]:
        """Whether the job ended well, and whether this process is as good as before."""
        try:
            self._prune_and_publish(job, attempt)
        except Exception as error:
            outcome = outcome_of(error)
            code = outcome.error.code if outcome.error else outcome.end.name.lower()
            if outcome.expected:
                logger.info("job %s ends: %s: %s", job.id, code, error)
            else:
                logger.exception("job %s met an unexpected error", job.id)
        else:
            return True, True
        try:
            _close(attempt, outcome.end, outcome.error)
        except SQLAlchemyError as error:
            logger.warning("job %s goes back when its lease ends: %s", job.id, error)
        return False, not outcome.damaged

    def _discard(self, job: Job) -> None:
        """Discard what the attempt left."""
        mine = [(job.id, job.attempt)]
        try:
            with self._engine.begin() as connection:
                discard_unowned(connection, self._store, mine)
        except (SecateurError, SQLAlchemyError, OSError) as error:
            logger.warning("maintenance will discard what job %s left: %s", job.id, error)

    def _tidy(self) -> None:
        """Discard the checkpoints of jobs that have ended, here or elsewhere."""
        try:
            sweep_checkpoints(Guard(self._engine), self._checkpoints, self._checkpoints.jobs())
        except (SecateurError, SQLAlchemyError, OSError) as error:
            logger.warning("checkpoints of ended jobs stay until the next job: %s", error)

    def _shared(self, job: Job, spec: JobSpec) -> Shared:
        """What the job's sweep has measured; the first of those who need it keeps it."""
        if job.sweep_id is None or isinstance(spec.recipe, Routing):
            return Shared()
        if job.leader_id is None:
            return Shared(keep=shares_calibration(spec.recipe))
        found = transact(
            self._engine, partial(job_events.leader_statistics, leader_id=job.leader_id)
        )
        return Shared(None if found is None else b"".join(self._store.read(found)))

    def _discard_earlier(self, job: Job) -> None:
        try:
            for earlier in range(1, job.attempt):
                self._store.discard(job.id, earlier)
        except StorageUnavailableError as error:
            logger.warning("maintenance will discard what job %s left: %s", job.id, error)

    def _prune_and_publish(self, job: Job, attempt: Attempt) -> None:
        def patiently(work: Callable[[], T]) -> T:
            return retried(work, _may_pass, seconds=PATIENCE, pause=attempt.wait)

        self._discard_earlier(job)
        staging = patiently(partial(self._store.stage, job.id, job.attempt))
        spec, request = job.spec, job.request
        place = CheckpointPlace(self._checkpoints.directory(job.id), self._checkpoint_bytes)
        shared = patiently(partial(self._shared, job, spec))
        outcome = run_with_smaller_batches(
            RunContext(
                spec=spec,
                staging=staging,
                models=self._models,
                datasets=self._datasets,
                checkpoints=place,
                activation_bytes=self._activation_bytes,
                report=attempt,
                request=request,
                shared=shared,
                device=self._device,
                machine=self._machine,
                exchange=MeasurementExchange(self._engine, self._queue, job, self._name),
                harnesses=self._harnesses,
            )
        )
        written = list(outcome.files)
        if written:
            attempt.phase(Phase.PUBLISHING)
            if self._signer is not None:
                sign = partial(self._signer.sign, staging)
                written.append(interruptible(sign, attempt))
            publish = partial(self._store.publish, job.id, job.attempt)
            patiently(lambda: interruptible(publish, attempt))
        else:
            patiently(partial(self._store.discard, job.id, job.attempt))
        files = [file.published(job.id, job.attempt) for file in written]
        if outcome.refused is not None:
            error = JobError(FailureKind.USER, outcome.refused.code, str(outcome.refused))
            stored = attempt.fail(error, outcome.result, files)
        else:
            stored = attempt.succeed(outcome.result, files)
        if not stored:
            attempt.check()
            raise StoppedError


def _close(attempt: Attempt, end: End, error: JobError | None) -> None:
    match end, error:
        case End.HANDED_BACK, _:
            attempt.hand_back()
        case End.RETRIED, JobError():
            attempt.retry(error)
        case End.FAILED, JobError():
            attempt.fail(error)
        case _:
            attempt.end_cancelled()


def _may_pass(error: Exception) -> bool:
    """What a database or a store that is away for a moment looks like."""
    away = (StorageUnavailableError, ConnectionError, TimeoutError)
    return isinstance(error, away) or passing(error)


def _cleaned() -> bool:
    """Give back what a job held, on a GPU for others to use; False where the device refuses."""
    gc.collect()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch's
        try:
            torch.cuda.empty_cache()
        except RuntimeError as error:
            logger.warning("the device cannot be cleaned: %s", error)
            return False
    return True
