"""Indexes of the jobs that have not ended, and of those that retention has still to look at."""

import sqlalchemy as sa

from app.db.indexes import create_index, drop_index

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_index(
        "ix_jobs_unfinished",
        "jobs",
        ["model"],
        postgresql_ops={"model": "text_pattern_ops"},
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    create_index(
        "ix_jobs_finished_at",
        "jobs",
        ["finished_at"],
        postgresql_where=sa.text("files_expired_at IS NULL AND result IS NOT NULL"),
    )


def downgrade() -> None:
    drop_index("ix_jobs_finished_at", "jobs")
    drop_index("ix_jobs_unfinished", "jobs")
