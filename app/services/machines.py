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
    if known is not None and datetime.now(UTC) - known.seen_at < FRESH:
        was = known.machine
        if replace(machine, gflops=was.gflops, disk_rate=was.disk_rate) == was:
            return was
    measured = measure(machine)
    worker_classes.put(connection, measured)
    return measured


def listing(connection: Connection) -> list[WorkerClass]:
    """All classes of which a worker has ever started."""
    return worker_classes.listing(connection)


def forget(connection: Connection, name: str) -> bool:
    """Send no more jobs to a class that is gone; False where there is none of that name."""
    return worker_classes.remove(connection, name)
