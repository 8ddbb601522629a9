"""Indexes in the order of the list of jobs, for every filter it has."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("method", "model"):
        computed = sa.Computed(f"spec ->> '{name}'", persisted=True)
        op.add_column("jobs", sa.Column(name, sa.Text(), computed, nullable=True))
        op.create_index(f"ix_jobs_project_id_{name}_id", "jobs", ["project_id", name, "id"])
    op.drop_index("ix_jobs_labels", table_name="jobs")
    op.create_table(
        "labels",
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_labels_job_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("project_id", "key", "value", "job_id", name=op.f("pk_labels")),
    )
    op.create_index("ix_labels_job_id", "labels", ["job_id"])
    op.execute(
        "INSERT INTO labels (project_id, key, value, job_id) "
        "SELECT project_id, key, value, id FROM jobs, jsonb_each_text(labels)"
    )


def downgrade() -> None:
    op.drop_table("labels")
    op.create_index("ix_jobs_labels", "jobs", ["labels"], postgresql_using="gin")
    for name in ("model", "method"):
        op.drop_index(f"ix_jobs_project_id_{name}_id", table_name="jobs")
        op.drop_column("jobs", name)
