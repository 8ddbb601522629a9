"""Rows of the quarantine: items of maintenance loops that failed, until they succeed."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, exists, func, select
from sqlalchemy.dialects.postgresql import insert

from app.db.tables import quarantine
from app.domain.quarantine import Loop, Quarantined

_table = quarantine.c
# The pause doubles from the first to the last with every failure in a row.
FIRST, LAST = timedelta(seconds=5), timedelta(minutes=10)
# What was due for this long without being tried again does not exist any more.
FORGOTTEN = timedelta(hours=1)
_COUNTED = 10**9
_DOUBLINGS = 10  # more are never needed, and would overflow


def put(connection: Connection, loop: Loop, item: str, reason: str) -> None:
    """Set an item aside, for longer each time in a row."""
    new = insert(quarantine).values(
        loop=loop, item=item, reason=reason, failures=1, next_at=func.now() + FIRST
    )
    doubled = FIRST.total_seconds() * func.power(2, func.least(_table.failures, _DOUBLINGS))
    seconds = func.least(doubled, LAST.total_seconds())
    again = {
        "failures": func.least(_table.failures, _COUNTED) + 1,
        "reason": new.excluded.reason,
        "failed_at": func.now(),
        "next_at": func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds),
    }
    connection.execute(new.on_conflict_do_update(constraint=quarantine.primary_key, set_=again))


def remove(connection: Connection, loop: Loop, item: str) -> None:
    """Forget an item: it succeeded."""
    connection.execute(delete(quarantine).where(_table.loop == loop, _table.item == item))


def of_loop(connection: Connection, loop: Loop) -> Mapping[str, bool]:
    """The loop's items, and whether each still has to wait."""
    query = select(_table.item, (_table.next_at > func.now()).label("waits"))
    return {row.item: row.waits for row in connection.execute(query.where(_table.loop == loop))}


def waits(loop: Loop, column: ColumnElement[Any]) -> ColumnElement[bool]:
    """For a query of the loop's items: is the item of that id set aside for now?"""
    return exists().where(_table.loop == loop, _table.item == column, _table.next_at > func.now())


def counts(connection: Connection) -> dict[str, int]:
    """How many items of each loop are set aside."""
    query = select(_table.loop, func.count().label("items")).group_by(_table.loop)
    return {row.loop: row.items for row in connection.execute(query.order_by(_table.loop))}


def newest(connection: Connection, *, limit: int) -> Sequence[Quarantined]:
    """The items that failed last."""
    query = select(quarantine).order_by(_table.failed_at.desc()).limit(limit)
    return [Quarantined(**row) for row in connection.execute(query).mappings()]


def forget_gone(connection: Connection) -> None:
    """Remove items that no loop meets any more."""
    connection.execute(delete(quarantine).where(_table.next_at < func.now() - FORGOTTEN))
