"""Delivers webhooks; a thread of the maintenance process, so that slow receivers delay no job."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.db import deliveries
from app.domain.webhooks import Dispatch
from app.services import webhooks
from app.telemetry.metrics import maintenance as metrics
from app.webhooks.sender import Sender

logger = logging.getLogger("secateur.webhooks")

BATCH = 8


def deliver_due(engine: Engine, sender: Sender, pool: ThreadPoolExecutor) -> int:
    """Attempt what is due, side by side; returns how many attempts were made."""
    with engine.begin() as connection:
        due = deliveries.take_due(connection, limit=BATCH)

    def attempt(dispatch: Dispatch) -> None:
        with metrics.DELIVERY_SECONDS.time():
            receipt = sender.send(dispatch)
        with engine.begin() as connection:
            state = webhooks.settle(connection, dispatch, receipt)
        metrics.DELIVERIES.labels("gone" if receipt.gone else state).inc()

    list(pool.map(attempt, due))
    return len(due)


def run(engine: Engine, sender: Sender, stop: threading.Event, interval: float) -> None:
    """Deliver until `stop` is set."""
    with ThreadPoolExecutor(BATCH, "webhook") as pool:
        while not stop.is_set():
            try:
                busy = deliver_due(engine, sender, pool) == BATCH
            except SQLAlchemyError as error:
                logger.warning("the database is not reachable: %s", error)
                busy = False
            if not busy:
                stop.wait(interval)
