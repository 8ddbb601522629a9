"""Indexes of the jobs and sweeps that have ended, of which the oldest may be deleted."""

import sqlalchemy as sa

from app.db.indexes import create_index, drop_index

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_index(
        "ix_jobs_ended",
        "jobs",
        ["finished_at"],
        postgresql_where=sa.text("finished_at IS NOT NULL AND sweep_id IS NULL"),
    )
    create_index(
        "ix_sweeps_finished_at",
        "sweeps",
        ["finished_at"],
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )


def downgrade() -> None:
    drop_index("ix_sweeps_finished_at", "sweeps")
    drop_index("ix_jobs_ended", "jobs")
