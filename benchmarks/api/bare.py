"""The yardstick: one FastAPI handler, one INSERT, on the stack the service is built on."""

import os

from fastapi import FastAPI
from pydantic import BaseModel
from sqlalchemy import Column, Integer, MetaData, Table, insert
from sqlalchemy.dialects.postgresql import JSONB

from app.db.engine import make_engine

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
    engine = make_engine(os.environ["SECATEUR_DATABASE__URL"])
    metadata.create_all(engine)
    app = FastAPI()

    @app.post("/rows", status_code=202)
    def store(body: Body) -> Stored:
        with engine.begin() as connection:
            query = insert(rows).values(spec=body.model_dump()).returning(rows.c.id)
            return Stored(id=connection.execute(query).scalar_one())

    return app
