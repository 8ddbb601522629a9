"""Worker classes, and which of them a job goes to."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "jobs", sa.Column("worker_class", sa.Text(), server_default="cpu", nullable=False)
    )
    op.add_column("jobs", sa.Column("memory_bytes", sa.BigInteger(), nullable=True))
    op.create_table(
        "worker_classes",
        sa.Column("worker_class", sa.Text(), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
        sa.Column("cores", sa.Integer(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("devices", sa.Integer(), nullable=False),
        sa.Column("device_bytes", sa.BigInteger(), nullable=True),
        sa.Column("gflops", sa.Float(), nullable=False),
        sa.Column("disk_rate", sa.Float(), nullable=False),
        sa.Column(
            "seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("worker_class", name=op.f("pk_worker_classes")),
    )


def downgrade() -> None:
    op.drop_table("worker_classes")
    op.drop_column("jobs", "memory_bytes")
    op.drop_column("jobs", "worker_class")
