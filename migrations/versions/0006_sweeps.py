"""Sweeps; event logs of jobs and sweeps alike."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STATUSES = "'queued', 'running', 'cancelling', 'succeeded', 'failed', 'cancelled'"


def upgrade() -> None:
    op.create_table(
        "sweeps",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="queued", nullable=False),
        sa.Column("request", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "labels", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False
        ),
        sa.Column(
            "metadata", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False
        ),
        sa.Column("best_id", sa.Text(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(f"status IN ({STATUSES})", name=op.f("ck_sweeps_status_known")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_sweeps_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sweeps")),
    )
    op.create_index("ix_sweeps_project_id_id", "sweeps", ["project_id", "id"], unique=False)
    op.add_column("jobs", sa.Column("sweep_id", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("leader_id", sa.Text(), nullable=True))
    op.create_foreign_key(op.f("fk_jobs_sweep_id"), "jobs", "sweeps", ["sweep_id"], ["id"])
    op.create_index(
        "ix_jobs_sweep_id_id",
        "jobs",
        ["sweep_id", "id"],
        unique=False,
        postgresql_where=sa.text("sweep_id IS NOT NULL"),
    )
    op.drop_constraint(op.f("fk_events_job_id"), "events", type_="foreignkey")
    op.alter_column("events", "job_id", new_column_name="subject_id")
    op.execute("ALTER INDEX ix_events_job_id_id RENAME TO ix_events_subject_id_id")


def downgrade() -> None:
    op.execute("DELETE FROM events WHERE subject_id IN (SELECT id FROM sweeps)")
    op.execute("ALTER INDEX ix_events_subject_id_id RENAME TO ix_events_job_id_id")
    op.alter_column("events", "subject_id", new_column_name="job_id")
    op.create_foreign_key(
        op.f("fk_events_job_id"), "events", "jobs", ["job_id"], ["id"], ondelete="CASCADE"
    )
    op.drop_index(
        "ix_jobs_sweep_id_id",
        table_name="jobs",
        postgresql_where=sa.text("sweep_id IS NOT NULL"),
    )
    op.drop_constraint(op.f("fk_jobs_sweep_id"), "jobs", type_="foreignkey")
    op.drop_column("jobs", "leader_id")
    op.drop_column("jobs", "sweep_id")
    op.drop_index("ix_sweeps_project_id_id", table_name="sweeps")
    op.drop_table("sweeps")
