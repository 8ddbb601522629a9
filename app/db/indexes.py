"""Indexes of tables that are in use: built and dropped by migrations while others write."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from alembic import op
from sqlalchemy import TextClause, text

_BROKEN = text(
    "SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass(:name) AND NOT indisvalid)"
)


def create_index(
    name: str, table: str, columns: Sequence[str | TextClause], **options: Any
) -> None:
    """Build an index, if it is not there, while the table is read and written.

    PostgreSQL allows it in no transaction, so a migration does nothing else: broken off, it can
    be run again. An index that was not finished is kept up and never read; it is built anew.
    """
    with _for_as_long_as_it_takes():
        if op.get_bind().execute(_BROKEN, {"name": name}).scalar_one():
            _drop(name, table)
        op.create_index(
            name, table, columns, postgresql_concurrently=True, if_not_exists=True, **options
        )


def drop_index(name: str, table: str) -> None:
    """Drop an index, if it is there, while the table is read and written."""
    with _for_as_long_as_it_takes():
        _drop(name, table)


def _drop(name: str, table: str) -> None:
    op.drop_index(name, table_name=table, postgresql_concurrently=True, if_exists=True)


@contextmanager
def _for_as_long_as_it_takes() -> Iterator[None]:
    """Outside of a transaction; who waits here has nobody else wait."""
    with op.get_context().autocommit_block():
        op.execute("SET statement_timeout = 0")
        op.execute("SET lock_timeout = 0")
        try:
            yield
        finally:
            op.execute("RESET statement_timeout")
            op.execute("RESET lock_timeout")
