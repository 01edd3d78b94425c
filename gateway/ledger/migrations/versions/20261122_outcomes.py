"""What was predicted of each answer before it was there, and what became of it."""

import sqlalchemy as sa
from alembic import op

revision = "20261122_outcomes"
down_revision = "20261121_batches"

_SOURCES = ("feedback", "deferral", "judge", "evaluation")


def upgrade() -> None:
    # Without checks: what somebody owes is not refused for a prediction that makes no sense.
    op.add_column("entries", sa.Column("p_good", sa.Double, nullable=True))
    op.add_column("entries", sa.Column("category", sa.Text, nullable=False, server_default=""))
    op.add_column("entries", sa.Column("p_good_after", sa.Double, nullable=True))
    _make_outcomes()


def _make_outcomes() -> None:
    op.create_table(
        "outcomes",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("candidate_id", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("value", sa.Double, nullable=False),
        sa.Column("weight", sa.Double, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("p_good", sa.Double, nullable=True),
        sa.Column("complexity", sa.Double, nullable=True),
        sa.Column("category", sa.Text, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("tenant_id", "subject", "model", "source", "user_id", name="outcomes_once"),
        sa.CheckConstraint(f"source IN {_SOURCES}", name="outcomes_source"),
        sa.CheckConstraint("value BETWEEN 0 AND 1", name="outcomes_value"),
        sa.CheckConstraint("weight BETWEEN 0 AND 100", name="outcomes_weight"),
        sa.CheckConstraint("p_good BETWEEN 0 AND 1", name="outcomes_p_good"),
        sa.CheckConstraint("complexity BETWEEN 0 AND 1", name="outcomes_complexity"),
    )
    op.create_index("outcomes_by_source", "outcomes", ["tenant_id", "source", "created_ms"])
    is_vote = sa.text("source = 'feedback'")
    op.create_index(
        "outcomes_by_voter",
        "outcomes",
        ["tenant_id", "user_id", "created_ms"],
        sqlite_where=is_vote,
        postgresql_where=is_vote,
    )
    op.create_index("outcomes_by_time", "outcomes", ["created_ms"])
