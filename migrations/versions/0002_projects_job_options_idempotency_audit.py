"""Projects, key scopes, job options, stored answers, audit log.

What exists already belongs to the default project.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _add_project(table: str) -> None:
    column = sa.Column("project_id", sa.Text(), nullable=False, server_default="prj_default")
    op.add_column(table, column)
    op.alter_column(table, "project_id", server_default=None)


def upgrade() -> None:
    op.create_table(
        "projects",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "limits", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False
        ),
        sa.Column("artifact_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
        sa.UniqueConstraint("name", name=op.f("uq_projects_name")),
    )
    op.execute("INSERT INTO projects (id, name) VALUES ('prj_default', 'default')")
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column(
            "at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_audit_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index("ix_audit_project_id_id", "audit", ["project_id", "id"], unique=False)
    op.create_table(
        "idempotency",
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("answer", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_idempotency_project_id")
        ),
        sa.PrimaryKeyConstraint("project_id", "key", name=op.f("pk_idempotency")),
    )
    op.create_index("ix_idempotency_created_at", "idempotency", ["created_at"], unique=False)
    _add_project("api_keys")
    op.add_column("api_keys", sa.Column("scope", sa.Text(), server_default="admin", nullable=False))
    op.add_column("api_keys", sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("api_keys", sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("api_keys", sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True))
    op.create_check_constraint(
        op.f("ck_api_keys_scope_known"), "api_keys", "scope IN ('read', 'submit', 'admin')"
    )
    op.create_index("ix_api_keys_project_id", "api_keys", ["project_id"], unique=False)
    op.create_foreign_key(
        op.f("fk_api_keys_project_id"), "api_keys", "projects", ["project_id"], ["id"]
    )
    _add_project("jobs")
    op.add_column("jobs", sa.Column("version", sa.Integer(), server_default="1", nullable=False))
    op.add_column("jobs", sa.Column("eta", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        "jobs",
        sa.Column(
            "request", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False
        ),
    )
    op.add_column("jobs", sa.Column("source_id", sa.Text(), nullable=True))
    op.add_column(
        "jobs", sa.Column("priority", sa.SmallInteger(), server_default="0", nullable=False)
    )
    op.add_column(
        "jobs",
        sa.Column(
            "labels", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False
        ),
    )
    op.add_column(
        "jobs",
        sa.Column(
            "metadata", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False
        ),
    )
    op.add_column("jobs", sa.Column("max_runtime", sa.Integer(), nullable=True))
    op.add_column("jobs", sa.Column("max_pending", sa.Integer(), nullable=True))
    op.add_column("jobs", sa.Column("deadline", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        "jobs", sa.Column("attempt_started_at", sa.DateTime(timezone=True), nullable=True)
    )
    op.drop_index(op.f("ix_jobs_status_id"), table_name="jobs")
    op.create_index(
        "ix_jobs_deadline",
        "jobs",
        ["deadline"],
        unique=False,
        postgresql_where=sa.text("deadline IS NOT NULL"),
    )
    op.create_index("ix_jobs_labels", "jobs", ["labels"], unique=False, postgresql_using="gin")
    op.create_index("ix_jobs_project_id_id", "jobs", ["project_id", "id"], unique=False)
    op.create_index(
        "ix_jobs_project_id_status_id", "jobs", ["project_id", "status", "id"], unique=False
    )
    op.create_foreign_key(op.f("fk_jobs_project_id"), "jobs", "projects", ["project_id"], ["id"])
    _add_project("outbox")
    op.add_column(
        "outbox", sa.Column("priority", sa.SmallInteger(), server_default="0", nullable=False)
    )
    op.create_index(
        "ix_outbox_priority", "outbox", [sa.literal_column("priority DESC"), "due_at"], unique=False
    )
    op.create_index("ix_outbox_project_id", "outbox", ["project_id"], unique=False)
    op.create_foreign_key(
        op.f("fk_outbox_project_id"), "outbox", "projects", ["project_id"], ["id"]
    )


def downgrade() -> None:
    op.drop_constraint(op.f("fk_outbox_project_id"), "outbox", type_="foreignkey")
    op.drop_index("ix_outbox_project_id", table_name="outbox")
    op.drop_index("ix_outbox_priority", table_name="outbox")
    op.drop_column("outbox", "priority")
    op.drop_column("outbox", "project_id")
    op.drop_constraint(op.f("fk_jobs_project_id"), "jobs", type_="foreignkey")
    op.drop_index("ix_jobs_project_id_status_id", table_name="jobs")
    op.drop_index("ix_jobs_project_id_id", table_name="jobs")
    op.drop_index("ix_jobs_labels", table_name="jobs", postgresql_using="gin")
    op.drop_index(
        "ix_jobs_deadline", table_name="jobs", postgresql_where=sa.text("deadline IS NOT NULL")
    )
    op.create_index(op.f("ix_jobs_status_id"), "jobs", ["status", "id"], unique=False)
    op.drop_column("jobs", "attempt_started_at")
    op.drop_column("jobs", "deadline")
    op.drop_column("jobs", "max_pending")
    op.drop_column("jobs", "max_runtime")
    op.drop_column("jobs", "metadata")
    op.drop_column("jobs", "labels")
    op.drop_column("jobs", "priority")
    op.drop_column("jobs", "source_id")
    op.drop_column("jobs", "request")
    op.drop_column("jobs", "eta")
    op.drop_column("jobs", "version")
    op.drop_column("jobs", "project_id")
    op.drop_constraint(op.f("fk_api_keys_project_id"), "api_keys", type_="foreignkey")
    op.drop_index("ix_api_keys_project_id", table_name="api_keys")
    op.drop_column("api_keys", "revoked_at")
    op.drop_column("api_keys", "last_used_at")
    op.drop_column("api_keys", "expires_at")
    op.drop_constraint(op.f("ck_api_keys_scope_known"), "api_keys")
    op.drop_column("api_keys", "scope")
    op.drop_column("api_keys", "project_id")
    op.drop_index("ix_idempotency_created_at", table_name="idempotency")
    op.drop_table("idempotency")
    op.drop_index("ix_audit_project_id_id", table_name="audit")
    op.drop_table("audit")
    op.drop_table("projects")
