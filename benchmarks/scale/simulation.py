"""Pretended workers that do to database and broker all that real ones do, at their real rates.

Each waits for a message of the broker, claims a job, extends its lease, has a watchdog that looks
every second, tells phases and blocks, and ends the job; some jobs are cancelled on the way. What
workers compute is left out.
"""

import heapq
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from redis import Redis
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from app.domain.jobs import DEFAULT_CLASS, Lease, Phase
from app.planning.machines import Machine
from app.planning.workers import NewWorker
from app.queue import queue_of
from app.services import workers
from app.services.jobs import attempts
from app.services.jobs import service as job_service
from benchmarks.scale import operations
from benchmarks.scale.beats import LANES, Attempt, Lane, record

T = TypeVar("T")

SIGN_OF_LIFE = 60.0  # seconds, as in the settings
PHASES = (Phase.CALIBRATING, Phase.PRUNING, Phase.EXPORTING, Phase.VERIFYING, Phase.PUBLISHING)
CANCELLED = 0.02  # of the jobs
THREADS = 6
MACHINE = Machine("cpu", 8 << 30, 2, "cpu", 0, None, gflops=20.0, disk_rate=1e9)


@dataclass
class Tally:
    """What has happened, and how late."""

    done: Counter[str] = field(default_factory=Counter)
    late: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    errors: Counter[str] = field(default_factory=Counter)


@dataclass(order=True)
class _Step:
    due: float
    number: int
    name: str = field(compare=False)
    work: Callable[[], None] = field(compare=False)


class Simulation:
    """So many workers, and so many submits a second that they are all busy."""

    def __init__(self, engine: Engine, queue_url: str, count: int, job_seconds: float) -> None:
        self.tally = Tally()
        self._engine, self._redis = engine, Redis.from_url(queue_url)
        self._seconds, self._rate = job_seconds, count / job_seconds
        self._workers, self._begun = count, 0
        self._idle = [f"worker-{number}" for number in range(count)]
        self._steps: list[_Step] = []
        self._condition = threading.Condition()
        self._number = 0
        self._counts_from = self._ends = 0.0
        sent = record(engine, self._run(operations.submit))
        heard = (self._sent, self._asked_to_stop)
        self._lanes = [Lane(engine.url, sent, *heard) for _ in range(LANES)]
        for name in self._idle:
            self._run(partial(workers.enter, worker=NewWorker(name, MACHINE, {})))
            self._at(SIGN_OF_LIFE * random.random(), "sign of life", partial(self._alive, name))
            self._run(operations.submit)  # so that all are busy from the start
        for _ in range(count // 2):
            self._run(operations.submit)  # and stay so, whatever rate jobs end at by chance

    def run(self, warm: float, seconds: float) -> None:
        """Go on for so long, and count after the first `warm` seconds."""
        self._counts_from = time.monotonic() + warm
        self._ends = self._counts_from + seconds
        self._at(0, "submit", self._submit)
        self._at(0, "message", self._listen)
        with ThreadPoolExecutor(THREADS + LANES) as pool:
            started = [pool.submit(self._work) for _ in range(THREADS)]
            started += [pool.submit(lane.run, self._is_over) for lane in self._lanes]
        self._redis.close()
        for thread in started:
            thread.result()

    def _is_over(self) -> bool:
        return time.monotonic() >= self._ends

    def _sent(self, name: str, late: float) -> None:
        with self._condition:
            if time.monotonic() > self._counts_from:
                self.tally.done[name] += 1
                self.tally.late[name].append(late)

    def _at(self, seconds: float, name: str, work: Callable[[], None]) -> None:
        with self._condition:
            self._number += 1
            due = time.monotonic() + seconds
            heapq.heappush(self._steps, _Step(due, self._number, name, work))
            self._condition.notify()

    def _work(self) -> None:
        while (step := self._next()) is not None:
            try:
                step.work()
            except SQLAlchemyError as error:
                self.tally.errors[f"{step.name}: {type(error).__name__}"] += 1
            self._count(step.name)

    def _count(self, name: str) -> None:
        with self._condition:
            if time.monotonic() > self._counts_from:
                self.tally.done[name] += 1

    def _next(self) -> _Step | None:
        with self._condition:
            while (now := time.monotonic()) < self._ends:
                if self._steps and self._steps[0].due <= now:
                    step = heapq.heappop(self._steps)
                    if now > self._counts_from:
                        self.tally.late[step.name].append(now - step.due)
                    return step
                wait = self._steps[0].due - now if self._steps else 0.1
                self._condition.wait(min(wait, 0.1))
            return None

    def _run(self, work: Callable[[Connection], T]) -> T:
        with self._engine.begin() as connection:
            return work(connection)

    def _submit(self) -> None:
        self._at(random.expovariate(self._rate), "submit", self._submit)
        self._run(operations.submit)

    def _listen(self) -> None:
        """Hand a message to a worker that is idle; both would else wait for each other."""
        while self._idle and self._redis.lpop(queue_of(DEFAULT_CLASS)) is not None:
            self._at(0, "claim", partial(self._claim, self._idle.pop()))
        self._at(0.01, "message", self._listen)  # once this is done: one listens at a time

    def _alive(self, name: str) -> None:
        self._at(SIGN_OF_LIFE, "sign of life", partial(self._alive, name))
        self._run(partial(workers.alive, worker=NewWorker(name, MACHINE, {})))

    def _claim(self, name: str) -> None:
        job = self._run(partial(operations.claim, worker=name))
        if job is None:
            self._idle.append(name)
            return
        attempt = Attempt(job, name)
        length = self._seconds * random.uniform(0.5, 1.5)
        if self._begun < self._workers:  # is in the middle of it already
            length *= random.random()
        self._begun += 1
        if random.random() < CANCELLED:
            stop = partial(self._run, partial(job_service.stop, job_id=job.id))
            self._at(length / 2, "request to cancel", stop)
        for number, phase in enumerate(PHASES):
            at = length * number / len(PHASES)
            self._at(at, "report of a phase", partial(self._report, attempt, phase))
        self._lanes[self._begun % LANES].add(attempt)
        self._at(length, "success", partial(self._succeed, attempt))

    def _report(self, attempt: Attempt, phase: Phase) -> None:
        if attempt.holds:
            events = operations.BLOCKS
            told = partial(operations.report, job=attempt.job, phase=phase, events=events)
            if self._run(told) is Lease.CANCEL_REQUESTED:
                self._end_cancelled(attempt)

    def _asked_to_stop(self, attempt: Attempt) -> None:
        self._at(0, "end of what was cancelled", partial(self._end_cancelled, attempt))

    def _end_cancelled(self, attempt: Attempt) -> None:
        if attempt.ends():
            self._run(partial(attempts.end_cancelled, job=attempt.job))
            self._idle.append(attempt.worker)

    def _succeed(self, attempt: Attempt) -> None:
        if attempt.ends():
            if not self._run(partial(operations.succeed, job=attempt.job)):
                self._run(partial(attempts.end_cancelled, job=attempt.job))
            self._idle.append(attempt.worker)
