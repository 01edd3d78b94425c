"""The time of workers' engines, and its price."""

from alembic import op

revision = "20261123_engine_time"
down_revision = "20261122_outcomes"


def upgrade() -> None:
    # In SQL, because SQLite takes a column's check only in the statement that adds it.
    for table, name in (("entries", "engine_us"), ("prices", "engine_hour")):
        op.execute(f"ALTER TABLE {table} ADD COLUMN {name} BIGINT NOT NULL DEFAULT 0 CHECK ({name} >= 0)")
