"""What was written into an upstream's prompt cache, and what that costs."""

from alembic import op

revision = "20261121_cache_writes"
down_revision = "20261121_idempotency"


def upgrade() -> None:
    # In SQL, because SQLite takes a column's check only in the statement that adds it. Rows stay as they were written:
    # a null price means the same as a price that was left out.
    for name in ("cache_write_tokens", "cache_write_1h_tokens"):
        op.execute(f"ALTER TABLE entries ADD COLUMN {name} BIGINT NOT NULL DEFAULT 0 CHECK ({name} >= 0)")
    for name in ("cache_write", "cache_write_1h"):
        op.execute(f"ALTER TABLE prices ADD COLUMN {name} BIGINT CHECK ({name} >= 0)")
