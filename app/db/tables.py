"""The schema. Closed sets are text with CHECK constraints; phases and event types stay open.

All times are the database's own clock, so that leases never compare two machines' clocks.
"""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from app.domain.jobs import EventLevel, FailureKind, JobStatus

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _one_of(column: str, values: type[StrEnum]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(text(f"{column} IN ({listed})"), name=f"{column}_known")


def _now(name: str) -> Column[datetime]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())


jobs = Table(
    "jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("status", Text, nullable=False, server_default=JobStatus.QUEUED.value),
    Column("phase", Text),
    Column("progress", Float, nullable=False, server_default="0"),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("max_attempts", Integer, nullable=False),
    Column("spec", JSONB, nullable=False),
    Column("worker", Text),
    Column("lease_expires_at", DateTime(timezone=True)),
    Column("error_kind", Text),
    Column("error_code", Text),
    Column("error_message", Text),
    Column("result", JSONB),
    _now("created_at"),
    Column("started_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    _one_of("status", JobStatus),
    _one_of("error_kind", FailureKind),
    Index("ix_jobs_status_id", "status", "id"),
    Index(
        "ix_jobs_lease_expires_at",
        "lease_expires_at",
        postgresql_where=text("lease_expires_at IS NOT NULL"),
    ),
)

# One row per job that waits for a worker; removed by the claim. `sent_at` is null until the
# message was handed to the broker, and again when the broker turns out to have lost it.
outbox = Table(
    "outbox",
    metadata,
    Column("job_id", Text, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    _now("due_at"),
    Column("sent_at", DateTime(timezone=True)),
    Index("ix_outbox_due_at", "due_at", postgresql_where=text("sent_at IS NULL")),
)

events = Table(
    "events",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("job_id", Text, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("attempt", Integer, nullable=False),
    _now("at"),
    Column("level", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("data", JSONB, nullable=False),
    _one_of("level", EventLevel),
    Index("ix_events_job_id_id", "job_id", "id"),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("job_id", Text, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("path", Text, primary_key=True),
    Column("attempt", Integer, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("media_type", Text, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("sha256", LargeBinary, nullable=False, unique=True),
    _now("created_at"),
)
