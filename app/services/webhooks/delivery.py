"""Delivers webhooks; a thread of the maintenance process, so that slow receivers delay no job."""

import asyncio
import logging
import threading
from asyncio import FIRST_COMPLETED
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from app.db import webhooks
from app.db.engine import AWAY
from app.domain.quarantine import Loop
from app.domain.webhooks import Candidate, Dispatch, Receipt, Shares, choose
from app.services.quarantine import Guard, guarded
from app.services.webhooks.lineage import Lineage
from app.services.webhooks.service import settle
from app.telemetry.metrics import maintenance
from app.webhooks.sender import Sender

logger = logging.getLogger("secateur.webhooks")

POLL = 0.1  # seconds after which an end is noticed at the latest


class Deliverer:
    """Attempts what is due, each project and each endpoint within its share."""

    def __init__(
        self,
        engine: Engine,
        sender: Sender,
        *,
        patience: timedelta = timedelta(days=5),
        shares: Shares | None = None,
        lineage: Lineage | None = None,
    ) -> None:
        """Begin nothing yet.

        Args:
            engine: the database.
            sender: makes the attempts.
            patience: an endpoint that failed for this long is disabled.
            shares: how many attempts may be under way.
            lineage: the receiver of the installation's own.
        """
        self._engine, self._sender = engine, sender
        self._patience, self._shares = patience, shares or Shares()
        self._lineage = lineage or Lineage()
        self._guard = Guard(engine, passing=AWAY)
        self._held: dict[asyncio.Task[None], Candidate] = {}
        self._unsettled: dict[str, Dispatch] = {}

    @property
    def busy(self) -> set[asyncio.Task[None]]:
        """The attempts under way."""
        return set(self._held)

    async def begin_due(self) -> int:
        """Begin attempts at what is due, as far as shares allow; returns how many."""
        due = await asyncio.to_thread(self._take, list(self._held.values()))
        for candidate, dispatch in due:
            self._unsettled[dispatch.id] = dispatch
            task = asyncio.create_task(self._attempt(dispatch))
            self._held[task] = candidate
            task.add_done_callback(self._held.pop)
        return len(due)

    async def close(self) -> None:
        """Break off what is under way; it is delivered again later, under the same id."""
        tasks = self.busy
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if left := list(self._unsettled.values()):
            try:
                with self._engine.begin() as connection:
                    webhooks.release_deliveries(connection, left)
            except SQLAlchemyError as error:
                logger.warning("the database is not reachable, their leases run out: %s", error)
            logger.info("%d deliveries that were under way are made again later", len(left))

    def _take(self, held: Sequence[Candidate]) -> list[tuple[Candidate, Dispatch]]:
        def take() -> list[tuple[Candidate, Dispatch]]:
            with self._engine.begin() as connection:
                due = choose(webhooks.due_deliveries(connection, self._shares), held, self._shares)
                taken = [(each, self._taken(connection, each.id)) for each in due]
            return [(each, dispatch) for each, dispatch in taken if dispatch is not None]

        return self._guard.round(Loop.DELIVER, take) or []

    def _taken(self, connection: Connection, delivery_id: str) -> Dispatch | None:
        take = partial(self._take_one, connection, delivery_id)
        return guarded(connection, Loop.DELIVER, delivery_id, take, AWAY)

    def _take_one(self, connection: Connection, delivery_id: str) -> Dispatch | None:
        dispatch = webhooks.take_delivery(connection, delivery_id)
        if dispatch is None or not dispatch.own:
            return dispatch
        return self._lineage.translated(connection, dispatch)

    async def _attempt(self, dispatch: Dispatch) -> None:
        addresses = self._sender.look_up(dispatch.url, trusted=dispatch.own)
        try:
            with maintenance.DELIVERY_SECONDS.time():
                receipt = await self._sender.send(dispatch, addresses)
            await asyncio.to_thread(self._settle, dispatch, receipt)
        except Exception as error:  # noqa: BLE001  whatever it is, the others go on
            await asyncio.to_thread(self._set_aside, dispatch, error)
        self._unsettled.pop(dispatch.id)
        # A thread that still resolves the name counts for the share.
        await asyncio.wait({addresses})

    def _settle(self, dispatch: Dispatch, receipt: Receipt) -> None:
        with self._engine.begin() as connection:
            state = settle(connection, dispatch, receipt, self._patience)
        if dispatch.own and not receipt.accepted:  # no page of a project shows it
            logger.warning("lineage %s is %s: %s", dispatch.id, state, receipt.reason)
        maintenance.DELIVERIES.labels("gone" if receipt.gone else state).inc()

    def _set_aside(self, dispatch: Dispatch, error: Exception) -> None:
        """Note what no receiver can be blamed for; the lease of the attempt runs out by itself."""
        try:
            self._guard.set_aside(Loop.DELIVER, dispatch.id, error)
        except SQLAlchemyError as away:
            logger.warning("the database is not reachable: %s", away)


async def _run(
    deliverer: Deliverer, sender: Sender, stop: threading.Event, interval: float
) -> None:
    pause = asyncio.get_running_loop().time
    async with sender:
        look_at = pause()
        while not stop.is_set():
            if pause() >= look_at:
                look_at = pause() + (0 if await _begin(deliverer) else interval)
            busy = deliverer.busy
            if not busy:
                await asyncio.sleep(POLL)
                continue
            done, _ = await asyncio.wait(busy, timeout=POLL, return_when=FIRST_COMPLETED)
            if done:
                look_at = pause()
        await deliverer.close()


async def _begin(deliverer: Deliverer) -> int:
    try:
        return await deliverer.begin_due()
    except AWAY as error:
        logger.warning("the database is not reachable: %s", error)
    except Exception:  # whatever it is, webhooks go on with the next look
        logger.exception("deliveries cannot be looked up")
    return 0


def run(deliverer: Deliverer, sender: Sender, stop: threading.Event, interval: float) -> None:
    """Deliver until `stop` is set."""
    asyncio.run(_run(deliverer, sender, stop, interval))
