"""What one operation costs PostgreSQL: CPU of the backend that carries it out, and its WAL."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import psutil
from sqlalchemy import Connection, Engine, text

from app.db import jobs, leases
from app.domain.job_result import JobResult
from app.domain.jobs import Artifact, EventType, Job, NewEvent, NewJob, Phase
from app.domain.submission import JobRequest, resolve
from app.services.jobs import attempts
from app.services.jobs import service as job_service

LEASE = timedelta(seconds=20)
REQUEST = JobRequest(model="tiny", method="magnitude", sparsity=0.5)
SPEC = resolve(REQUEST)
FILES = 12  # of a result
BLOCKS = 5  # told between two reports of a phase
TIMES = 1000
_WAL = text("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one operation.

    Attributes:
        cpu: milliseconds of the backend.
        wal: kilobytes of the log.
    """

    cpu: float
    wal: float


def submit(connection: Connection) -> Job:
    """Store a job as the API does."""
    new = NewJob(request=REQUEST, spec=SPEC, max_attempts=3)
    return jobs.queue(connection, new, key_id="key", action="job.submit")[0]


def claim(connection: Connection, worker: str) -> Job | None:
    """Take the job that should start next."""
    return attempts.claim(connection, worker=worker, lease=LEASE)


def report(connection: Connection, job: Job, *, phase: Phase, events: int) -> object:
    """Extend the lease, and tell what has happened."""
    log = [
        NewEvent(EventType.BLOCK, f"block {each}", data={"done": each}) for each in range(events)
    ]
    return attempts.heartbeat(connection, job, lease=LEASE, phase=phase, progress=0.5, log=log)


def look(connection: Connection, job: Job) -> object:
    """What a watchdog asks every second."""
    return leases.state(connection, job.id, job.attempt)


def succeed(connection: Connection, job: Job) -> object:
    """End the job with its files."""
    files = [
        Artifact(job.id, job.attempt, f"file-{each}", 1000, "0" * 64, "application/json")
        for each in range(FILES)
    ]
    result = JobResult(sparsity=0.5, seconds=60)
    return attempts.succeed(connection, job, result=result, files=files, log=())


def costs(engine: Engine) -> dict[str, Cost]:
    """Of every operation, one after the other, each in a transaction of its own."""
    with engine.connect() as connection:
        measure = Meter(connection).measure
        found = {"submit": measure([partial(submit, connection)] * TIMES)}
        running: list[Job] = []
        found["claim"] = measure([lambda: running.append(_claimed(connection))] * TIMES)
        for name, events in (("heartbeat", 0), ("report of a phase", BLOCKS)):
            tell = partial(report, connection, phase=Phase.PRUNING, events=events)
            found[name] = measure([partial(tell, job) for job in running])
        found["look of a watchdog"] = measure([partial(look, connection, job) for job in running])
        half = len(running) // 2
        found["success"] = measure([partial(succeed, connection, job) for job in running[:half]])
        ids = [job.id for job in running[half:]]
        stop = partial(job_service.stop, connection)
        found["request to cancel"] = measure([partial(stop, job_id) for job_id in ids])
        end = partial(attempts.end_cancelled, connection)
        found["end of what was cancelled"] = measure([partial(end, j) for j in running[half:]])
        return found


def _claimed(connection: Connection) -> Job:
    job = claim(connection, "benchmark")
    if job is None:
        raise RuntimeError("the job is gone")
    return job


class Meter:
    """Reads what the backend of a connection has used."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        driver = connection.connection.driver_connection
        self._backend = psutil.Process(driver.info.backend_pid)

    def measure(self, calls: Sequence[Callable[[], object]]) -> Cost:
        """Per call; each is a transaction."""
        before, wal = self._cpu(), self._wal()
        for call in calls:
            with self._connection.begin():
                call()
        time.sleep(0.02)  # the kernel counts ticks
        cpu = 1000 * (self._cpu() - before) / len(calls)
        return Cost(cpu, (self._wal() - wal) / len(calls) / 1000)

    def _cpu(self) -> float:
        times = self._backend.cpu_times()
        return float(times.user + times.system)

    def _wal(self) -> float:
        with self._connection.begin():
            return float(self._connection.execute(_WAL).scalar_one())
