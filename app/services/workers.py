"""Worker classes: announced by the workers, looked at by clients."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from app.db import workers
from app.planning.machines import Machine, WorkerClass

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


def alive(connection: Connection, machine: Machine) -> None:
    """Note a worker's sign of life; a class that was retired is known again."""
    if not workers.seen(connection, machine.worker_class):
        workers.put(connection, machine)


def listing(connection: Connection) -> list[WorkerClass]:
    """All classes of which a worker has ever started, but those that were retired."""
    return workers.listing(connection)
