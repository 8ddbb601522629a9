"""The worker class of each waiting job's message."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("outbox", sa.Column("worker_class", sa.Text(), nullable=True))
    op.execute("UPDATE outbox SET worker_class = jobs.worker_class FROM jobs WHERE id = job_id")


def downgrade() -> None:
    op.drop_column("outbox", "worker_class")
