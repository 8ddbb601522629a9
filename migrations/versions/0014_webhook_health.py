"""Since when a webhook endpoint fails; what is due, by endpoint."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_DUE = sa.text("next_at IS NOT NULL")


def upgrade() -> None:
    for name in ("failing_since", "failed_at"):
        op.add_column("webhooks", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    op.add_column("webhooks", sa.Column("last_error", sa.Text(), nullable=True))
    op.create_index(
        "ix_deliveries_endpoint_id_next_at",
        "deliveries",
        ["endpoint_id", "next_at"],
        postgresql_where=_DUE,
    )
    op.drop_index("ix_deliveries_next_at", table_name="deliveries")


def downgrade() -> None:
    op.create_index("ix_deliveries_next_at", "deliveries", ["next_at"], postgresql_where=_DUE)
    op.drop_index("ix_deliveries_endpoint_id_next_at", table_name="deliveries")
    for name in ("last_error", "failed_at", "failing_since"):
        op.drop_column("webhooks", name)
