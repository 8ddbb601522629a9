"""The schema. Closed sets are text with CHECK constraints; phases and event types stay open.

All times are the database's own clock, so that leases never compare two machines' clocks.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    Computed,
    DateTime,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    func,
    literal_column,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from app.domain.jobs import EventLevel, FailureKind, JobStatus
from app.domain.projects import Scope
from app.domain.publications import PublicationState
from app.domain.sweeps import SweepStatus
from app.domain.webhooks import DeliveryState

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


projects = Table(
    "projects",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("limits", JSONB, nullable=False, server_default="{}"),
    Column("artifact_bytes", BigInteger, nullable=False, server_default="0"),
    _now("created_at"),
)


def _project() -> Column[str]:
    return Column("project_id", Text, ForeignKey("projects.id"), nullable=False)


sweeps = Table(
    "sweeps",
    metadata,
    Column("id", Text, primary_key=True),
    _project(),
    Column("status", Text, nullable=False, server_default=SweepStatus.QUEUED.value),
    Column("request", JSONB, nullable=False),
    Column("labels", JSONB, nullable=False, server_default="{}"),
    Column("metadata", JSONB, nullable=False, server_default="{}"),
    Column("best_id", Text),
    _now("created_at"),
    Column("finished_at", DateTime(timezone=True)),
    _one_of("status", SweepStatus),
    Index("ix_sweeps_project_id_id", "project_id", "id"),
    Index("ix_sweeps_finished_at", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Text, primary_key=True),
    _project(),
    Column("version", Integer, nullable=False, server_default="1"),
    Column("status", Text, nullable=False, server_default=JobStatus.QUEUED.value),
    Column("phase", Text),
    Column("progress", Float, nullable=False, server_default="0"),
    Column("eta", DateTime(timezone=True)),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("fruitless", Integer, nullable=False, server_default="0"),
    Column("max_attempts", Integer, nullable=False),
    Column("spec", JSONB, nullable=False),
    # For the list: taken out of the specification, so that filters have an index in its order.
    Column("method", Text, Computed("spec ->> 'method'", persisted=True)),
    Column("model", Text, Computed("spec ->> 'model'", persisted=True)),
    Column("request", JSONB, nullable=False, server_default="{}"),
    # Request id and W3C trace context of the request that made the job.
    Column("origin", JSONB, nullable=False, server_default="{}"),
    Column("source_id", Text),
    Column("sweep_id", Text, ForeignKey("sweeps.id")),
    # The member of the sweep that measures on the dense model what this one uses again.
    Column("leader_id", Text),
    Column("priority", SmallInteger, nullable=False, server_default="0"),
    Column("labels", JSONB, nullable=False, server_default="{}"),
    Column("metadata", JSONB, nullable=False, server_default="{}"),
    Column("max_runtime", Integer),
    Column("max_pending", Integer),
    # The workers that may claim it, and what they must have; null where that is not known.
    Column("worker_class", Text, nullable=False, server_default="cpu"),
    Column("memory_bytes", BigInteger),
    Column("worker", Text),
    Column("lease_expires_at", DateTime(timezone=True)),
    # The end of the pending time until the first start, of the run time from then on.
    Column("deadline", DateTime(timezone=True)),
    Column("error_kind", Text),
    Column("error_code", Text),
    Column("error_message", Text),
    Column("result", JSONB),
    _now("created_at"),
    Column("started_at", DateTime(timezone=True)),
    Column("attempt_started_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    Column("files_expired_at", DateTime(timezone=True)),
    _one_of("status", JobStatus),
    _one_of("error_kind", FailureKind),
    Index("ix_jobs_project_id_id", "project_id", "id"),
    Index("ix_jobs_project_id_status_id", "project_id", "status", "id"),
    Index("ix_jobs_project_id_method_id", "project_id", "method", "id"),
    Index("ix_jobs_project_id_model_id", "project_id", "model", "id"),
    Index("ix_jobs_sweep_id_id", "sweep_id", "id", postgresql_where=text("sweep_id IS NOT NULL")),
    # Few, however many have ended.
    Index(
        "ix_jobs_unfinished",
        "model",
        postgresql_ops={"model": "text_pattern_ops"},
        postgresql_where=text("finished_at IS NULL"),
    ),
    # Those that may have files: without a result there are none.
    Index(
        "ix_jobs_finished_at",
        "finished_at",
        postgresql_where=text("files_expired_at IS NULL AND result IS NOT NULL"),
    ),
    # Whatever has ended, for those that are deleted for their age.
    Index(
        "ix_jobs_ended",
        "finished_at",
        postgresql_where=text("finished_at IS NOT NULL AND sweep_id IS NULL"),
    ),
    Index("ix_jobs_deadline", "deadline", postgresql_where=text("deadline IS NOT NULL")),
    Index(
        "ix_jobs_lease_expires_at",
        "lease_expires_at",
        postgresql_where=text("lease_expires_at IS NOT NULL"),
    ),
)

# `latest` is the last number given to a version, so that none is given twice.
models = Table(
    "models",
    metadata,
    Column("project_id", Text, ForeignKey("projects.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("latest", Integer, nullable=False, server_default="1"),
    _now("created_at"),
)

# No ON DELETE: a job that is a version of a model cannot be deleted.
model_versions = Table(
    "model_versions",
    metadata,
    Column("project_id", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("job_id", Text, ForeignKey("jobs.id"), nullable=False),
    _now("created_at"),
    ForeignKeyConstraint(["project_id", "name"], ["models.project_id", "models.name"]),
    Index("ix_model_versions_job_id", "job_id"),
)

# Parts of what a running job measures; see app/domain/shards.py.
shards = Table(
    "shards",
    metadata,
    Column("job_id", Text, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("attempt", Integer, nullable=False),
    Column("spec", JSONB, nullable=False),
    Column("part", JSONB, nullable=False),
    Column("worker", Text),
    Column("taken_at", DateTime(timezone=True)),
    Column("scores", JSONB(none_as_null=True)),
)

worker_classes = Table(
    "worker_classes",
    metadata,
    Column("worker_class", Text, primary_key=True),
    Column("memory_bytes", BigInteger, nullable=False),
    Column("cores", Integer, nullable=False),
    Column("device", Text, nullable=False),
    Column("devices", Integer, nullable=False),
    Column("device_bytes", BigInteger),
    Column("gflops", Float, nullable=False),
    Column("disk_rate", Float, nullable=False),
    Column("libraries", ARRAY(Text), nullable=False, server_default="{}"),
    Column("tasks", ARRAY(Text), nullable=False, server_default="{}"),
    _now("seen_at"),
    _now("measured_at"),
)

# Worker processes, each while it lives; one that is killed stays until it was silent for an hour.
workers = Table(
    "workers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("worker_class", Text, nullable=False),
    Column("device", Text, nullable=False),
    Column("devices", Integer, nullable=False),
    Column("device_bytes", BigInteger),
    Column("memory_bytes", BigInteger, nullable=False),
    Column("cores", Integer, nullable=False),
    Column("versions", JSONB, nullable=False),
    _now("started_at"),
    _now("seen_at"),
)

# A job's labels once more, in the order of a list that is filtered by one.
labels = Table(
    "labels",
    metadata,
    Column("project_id", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    Column("job_id", Text, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Index("ix_labels_job_id", "job_id"),
)

datasets = Table(
    "datasets",
    metadata,
    Column("project_id", Text, ForeignKey("projects.id"), primary_key=True),
    Column("id", Text, primary_key=True),
    _now("created_at"),
)

# One row per job that waits for a worker; removed by the claim. `sent_at` is null until the
# message was handed to the broker, and again when the broker turns out to have lost it. A job
# that waits for its leader is due in infinity.
outbox = Table(
    "outbox",
    metadata,
    Column("job_id", Text, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    _project(),
    Column("priority", SmallInteger, nullable=False, server_default="0"),
    _now("due_at"),
    Column("sent_at", DateTime(timezone=True)),
    Column("warned_at", DateTime(timezone=True)),
    # The job's, so that a claim passes over no job of another class; null where a version before
    # wrote the row.
    Column("worker_class", Text),
    Index("ix_outbox_worker_class", "worker_class", text("priority DESC"), "due_at"),
    Index("ix_outbox_project_id", "project_id"),
    Index("ix_outbox_due_at", "due_at", postgresql_where=text("sent_at IS NULL")),
)
# The latest time that this database has told, in one row.
clock = Table(
    "clock",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("latest", DateTime(timezone=True), nullable=False),
)

# When a job is due that waits for its leader.
NEVER: ColumnElement[Any] = literal_column("'infinity'::timestamptz")

events = Table(
    "events",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    # A job or a sweep.
    Column("subject_id", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    _now("at"),
    Column("level", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("data", JSONB, nullable=False),
    _one_of("level", EventLevel),
    Index("ix_events_subject_id_id", "subject_id", "id"),
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
    _project(),
    Column("name", Text, nullable=False),
    Column("scope", Text, nullable=False, server_default=Scope.ADMIN.value),
    Column("sha256", LargeBinary, nullable=False, unique=True),
    _now("created_at"),
    Column("expires_at", DateTime(timezone=True)),
    Column("last_used_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
    _one_of("scope", Scope),
    Index("ix_api_keys_project_id", "project_id"),
)

# Answers to requests that came with an Idempotency-Key, written in the transaction of the change
# itself: where there is an answer there is its effect, and the other way round.
idempotency = Table(
    "idempotency",
    metadata,
    Column("project_id", Text, ForeignKey("projects.id"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("answer", JSONB, nullable=False),
    _now("created_at"),
    Index("ix_idempotency_created_at", "created_at"),
)

audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("project_id", Text, ForeignKey("projects.id"), nullable=False),
    Column("key_id", Text, nullable=False),
    _now("at"),
    Column("action", Text, nullable=False),
    Column("target", Text, nullable=False),
    Index("ix_audit_project_id_id", "project_id", "id"),
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", Text, primary_key=True),
    # Null: the installation's own endpoint, which is told of the jobs of all projects.
    Column("project_id", Text, ForeignKey("projects.id")),
    Column("url", Text, nullable=False),
    Column("events", ARRAY(Text), nullable=False),
    Column("enabled", Boolean, nullable=False, server_default="true"),
    Column("disabled_reason", Text),
    # Since when every attempt has failed, the last one, and why.
    Column("failing_since", DateTime(timezone=True)),
    Column("failed_at", DateTime(timezone=True)),
    Column("last_error", Text),
    # Signing needs the secrets themselves. The old one signs along until `old_secret_until`.
    Column("secret", Text, nullable=False),
    Column("old_secret", Text),
    Column("old_secret_until", DateTime(timezone=True)),
    _now("created_at"),
    Index("ix_webhooks_project_id", "project_id"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Text, primary_key=True),
    Column("endpoint_id", Text, ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
    Column("event", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    Column("state", Text, nullable=False, server_default=DeliveryState.PENDING.value),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("next_at", DateTime(timezone=True), server_default=func.now()),
    Column("last_status", Integer),
    Column("last_error", Text),
    _now("created_at"),
    _one_of("state", DeliveryState),
    Index(
        "ix_deliveries_endpoint_id_next_at",
        "endpoint_id",
        "next_at",
        postgresql_where=text("next_at IS NOT NULL"),
    ),
    Index("ix_deliveries_endpoint_id_id", "endpoint_id", "id"),
)

# The queue of publications and their log in one; `next_at` is null once nothing follows.
publications = Table(
    "publications",
    metadata,
    Column("id", Text, primary_key=True),
    Column("job_id", Text, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("destination", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("state", Text, nullable=False, server_default=PublicationState.PENDING.value),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("next_at", DateTime(timezone=True), server_default=func.now()),
    Column("url", Text),
    Column("last_error", Text),
    _now("created_at"),
    _one_of("state", PublicationState),
    Index("ix_publications_job_id_id", "job_id", "id"),
    Index("ix_publications_next_at", "next_at", postgresql_where=text("next_at IS NOT NULL")),
)

# Items that a loop of maintenance has failed on, until they succeed.
quarantine = Table(
    "quarantine",
    metadata,
    Column("loop", Text, primary_key=True),
    Column("item", Text, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    _now("failed_at"),
    Column("next_at", DateTime(timezone=True), nullable=False),
)
