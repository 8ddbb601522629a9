"""The queue by worker class, so that a claim passes over no job of another one."""

import sqlalchemy as sa

from app.db.indexes import create_index, drop_index

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_index(
        "ix_outbox_worker_class", "outbox", ["worker_class", sa.text("priority DESC"), "due_at"]
    )
    drop_index("ix_outbox_priority", "outbox")


def downgrade() -> None:
    create_index("ix_outbox_priority", "outbox", [sa.text("priority DESC"), "due_at"])
    drop_index("ix_outbox_worker_class", "outbox")
