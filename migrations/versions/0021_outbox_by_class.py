"""The queue by worker class, so that a claim passes over no job of another one."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("outbox", sa.Column("worker_class", sa.Text(), nullable=True))
    op.execute("UPDATE outbox SET worker_class = jobs.worker_class FROM jobs WHERE id = job_id")
    columns = ["worker_class", sa.text("priority DESC"), "due_at"]
    op.create_index("ix_outbox_worker_class", "outbox", columns)
    op.drop_index("ix_outbox_priority", table_name="outbox")


def downgrade() -> None:
    op.create_index("ix_outbox_priority", "outbox", [sa.text("priority DESC"), "due_at"])
    op.drop_index("ix_outbox_worker_class", table_name="outbox")
    op.drop_column("outbox", "worker_class")
