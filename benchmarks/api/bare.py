"""The yardstick: one FastAPI handler, one INSERT, on SQLAlchemy's engine as it comes.

The engine asks whether a connection is still good before it is used (`pool_pre_ping`), as
SQLAlchemy's documentation advises where a database may be restarted: the service survives that too.
"""

import os

from fastapi import FastAPI
from pydantic import BaseModel
from sqlalchemy import Column, Integer, MetaData, Table, create_engine, insert
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()
rows = Table(
    "bare", metadata, Column("id", Integer, primary_key=True), Column("spec", JSONB, nullable=False)
)


class Body(BaseModel):
    """What the client sends to the service, too."""

    model: str
    method: str
    sparsity: float


class Stored(BaseModel):
    """What it hears."""

    id: int


def create_app() -> FastAPI:
    """The app; the table is made at once."""
    url = os.environ["SECATEUR_DATABASE__URL"]
    engine = create_engine(url, pool_size=20, max_overflow=0, pool_pre_ping=True)
    metadata.create_all(engine)
    app = FastAPI()

    @app.post("/rows", status_code=202)
    def store(body: Body) -> Stored:
        with engine.begin() as connection:
            query = insert(rows).values(spec=body.model_dump()).returning(rows.c.id)
            return Stored(id=connection.execute(query).scalar_one())

    return app
