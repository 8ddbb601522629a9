"""Data sets on the wire."""

from dataclasses import asdict
from typing import Self

from pydantic import BaseModel, Field

from app.uploads.ingest import Ingested


class DatasetOut(BaseModel):
    """An uploaded data set. It never changes: other content has another id."""

    id: str = Field(description="what jobs name in calibration.set and evaluation.set")
    fields: list[str] = Field(description="of every row")
    rows: int
    images: int = Field(description="different ones")
    bytes: int
    blank: int = Field(description="rows that say nothing and were skipped when it was stored")

    @classmethod
    def of(cls, ingested: Ingested) -> Self:
        """The wire form."""
        return cls(**asdict(ingested))


class DatasetPage(BaseModel):
    """Data sets, by id."""

    datasets: list[DatasetOut]
    next_cursor: str | None
