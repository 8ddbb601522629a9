"""Worker classes: announced by the workers, looked at by clients."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from app.db import worker_classes
from app.domain.machines import Machine, WorkerClass

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
    known = worker_classes.get(connection, machine.worker_class)
    if known is not None and datetime.now(UTC) - known.measured_at < FRESH:
        was = known.machine
        if replace(machine, gflops=was.gflops, disk_rate=was.disk_rate) == was:
            worker_classes.seen(connection, machine.worker_class)
            return was
    measured = measure(machine)
    worker_classes.put(connection, measured)
    return measured


def alive(connection: Connection, machine: Machine) -> None:
    """Note a worker's sign of life; a class that was retired is known again."""
    if not worker_classes.seen(connection, machine.worker_class):
        worker_classes.put(connection, machine)


def listing(connection: Connection) -> list[WorkerClass]:
    """All classes of which a worker has ever started, but those that were retired."""
    return worker_classes.listing(connection)
