"""Rows of API keys. Only digests are stored."""

from sqlalchemy import Connection, func, insert, select

from app.db.tables import api_keys
from app.domain.ids import new_id


def add(connection: Connection, name: str, sha256: bytes) -> str:
    """Store a key by its digest; returns its id."""
    row = insert(api_keys).values(id=new_id("key"), name=name, sha256=sha256)
    return str(connection.execute(row.returning(api_keys.c.id)).scalar_one())


def find(connection: Connection, sha256: bytes) -> str | None:
    """The id of the key with that digest."""
    query = select(api_keys.c.id).where(api_keys.c.sha256 == sha256)
    return connection.execute(query).scalar_one_or_none()


def count(connection: Connection) -> int:
    """How many keys there are."""
    return connection.execute(select(func.count()).select_from(api_keys)).scalar_one()
