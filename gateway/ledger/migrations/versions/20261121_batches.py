"""Files and batches: requests that wait for a quiet moment, and what came of them."""

import sqlalchemy as sa
from alembic import op

revision = "20261121_batches"
down_revision = "20261121_cache_writes"

_STATUSES = (
    "validating",
    "failed",
    "in_progress",
    "finalizing",
    "completed",
    "expired",
    "cancelling",
    "cancelled",
)


def upgrade() -> None:
    _make_files()
    _make_batches()
    _make_lines()


def _make_files() -> None:
    op.create_table(
        "files",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("filename", sa.Text, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("is_whole", sa.Boolean, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("expires_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("files_by_tenant", "files", ["tenant_id", "id"])
    op.create_index("files_by_expiry", "files", ["expires_ms"])
    op.create_table(
        "file_chunks",
        sa.Column("file_id", sa.Text, sa.ForeignKey("files.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )


def _make_batches() -> None:
    names = ", ".join(f"'{status}'" for status in _STATUSES)
    op.create_table(
        "batches",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("endpoint", sa.Text, nullable=False),
        sa.Column("input_file_id", sa.Text, nullable=False),
        sa.Column("output_file_id", sa.Text, nullable=True),
        sa.Column("error_file_id", sa.Text, nullable=True),
        sa.Column("output_ttl_s", sa.BigInteger, nullable=True),
        sa.Column("metadata", sa.Text, nullable=True),
        sa.Column("model", sa.Text, nullable=True),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("ending", sa.Text, nullable=True),
        sa.Column("errors", sa.Text, nullable=True),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("expires_ms", sa.BigInteger, nullable=False),
        sa.Column("in_progress_ms", sa.BigInteger, nullable=True),
        sa.Column("cancelling_ms", sa.BigInteger, nullable=True),
        sa.Column("finalizing_ms", sa.BigInteger, nullable=True),
        sa.Column("ended_ms", sa.BigInteger, nullable=True),
        sa.Column("total", sa.Integer, nullable=False),
        sa.Column("completed", sa.Integer, nullable=False),
        sa.Column("failed", sa.Integer, nullable=False),
        sa.Column("input_tokens", sa.BigInteger, nullable=False),
        sa.Column("cached_input_tokens", sa.BigInteger, nullable=False),
        sa.Column("output_tokens", sa.BigInteger, nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger, nullable=False),
        sa.Column("turn", sa.BigInteger, nullable=False),
        sa.Column("owner", sa.Text, nullable=True),
        sa.Column("lease_until_ms", sa.BigInteger, nullable=False),
        sa.CheckConstraint(f"status IN ({names})", name="batches_status"),
        sa.CheckConstraint("completed + failed <= total", name="batches_counts"),
    )
    op.create_index("batches_by_tenant", "batches", ["tenant_id", "id"])
    op.create_index("batches_by_status", "batches", ["status"])


def _make_lines() -> None:
    op.create_table(
        "batch_lines",
        sa.Column("batch_id", sa.Text, sa.ForeignKey("batches.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("custom_id", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=True),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("available_ms", sa.BigInteger, nullable=True),
        sa.Column("owner", sa.Text, nullable=True),
        sa.Column("request_id", sa.Text, nullable=True),
        sa.Column("status_code", sa.Integer, nullable=True),
        sa.Column("reply", sa.LargeBinary, nullable=True),
    )
    op.create_index("batch_lines_available", "batch_lines", ["batch_id", "available_ms", "number"])
