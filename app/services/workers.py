"""Workers and their classes: announced by the workers, looked at by clients."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from app.db import worker_processes, workers
from app.domain.projects import Caller
from app.planning.machines import Machine, WorkerClass
from app.planning.workers import NewWorker, Worker

FRESH = timedelta(days=1)


def announce(
    connection: Connection, machine: Machine, measure: Callable[[Machine], Machine]
) -> Machine:
    """Let a worker that starts speak for its class; what was measured lately is taken over.

    Args:
        connection: a transaction.
        machine: without its rates.
        measure: fills the rates in.
    """
    known = workers.get(connection, machine.worker_class)
    if known is not None and datetime.now(UTC) - known.measured_at < FRESH:
        was = known.machine
        if replace(machine, gflops=was.gflops, disk_rate=was.disk_rate) == was:
            workers.seen(connection, machine.worker_class)
            return was
    measured = measure(machine)
    workers.put(connection, measured)
    return measured


def enter(connection: Connection, worker: NewWorker) -> None:
    """Note a process that takes jobs from now on."""
    worker_processes.put(connection, worker)


def alive(connection: Connection, worker: NewWorker) -> None:
    """Note a process's sign of life; it, or a class, that was forgotten is known again."""
    if not workers.seen(connection, worker.machine.worker_class):
        workers.put(connection, worker.machine)
    if not worker_processes.seen(connection, worker.name):
        worker_processes.put(connection, worker)


def leave(connection: Connection, worker: NewWorker) -> None:
    """Forget a process that ends."""
    worker_processes.remove(connection, worker.name)


def listing(connection: Connection) -> list[WorkerClass]:
    """All classes of which a worker has ever started, but those that were retired."""
    return workers.listing(connection)


def processes(connection: Connection, caller: Caller) -> list[Worker]:
    """The workers one by one, by class and name."""
    return worker_processes.listing(connection, caller.project_id)
