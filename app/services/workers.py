"""Worker classes: announced by the workers, looked at by clients."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from app.db import workers
from app.errors import UserError
from app.planning.machines import Machine, Requirements, WorkerClass, place

FRESH = timedelta(days=1)
REMEMBERED = 1.0  # seconds


class Machines:
    """The worker classes as one process knows them: as of a second ago, unless that is too few."""

    def __init__(self) -> None:
        self._known: list[Machine] = []
        self._until = 0.0

    def choose(self, connection: Connection, requirements: Requirements) -> Machine | None:
        """The class for a job; None where no worker has ever started.

        Raises:
            UnknownWorkerClassError: no worker of the class asked for has ever started.
            NoWorkerError: no worker has the device.
            JobTooLargeError: the job fits none of them.
        """
        if self._known and time.monotonic() < self._until:
            with suppress(UserError):  # one that has started since may have what it takes
                return place(self._known, requirements)
        self._known = [each.machine for each in workers.listing(connection)]
        self._until = time.monotonic() + REMEMBERED
        return place(self._known, requirements)

    def forget(self) -> None:
        """Look again before the next choice: a class has gone."""
        self._until = 0.0


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
