"""An endpoint of the installation's own, which belongs to no project."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.alter_column("webhooks", "project_id", existing_type=sa.Text(), nullable=True)


def downgrade() -> None:
    op.execute("DELETE FROM webhooks WHERE project_id IS NULL")
    op.alter_column("webhooks", "project_id", existing_type=sa.Text(), nullable=False)
