"""The tables as queries see them. The migrations make them; a test compares the two."""

import sqlalchemy as sa

metadata = sa.MetaData()

entries = sa.Table(
    "entries",
    metadata,
    sa.Column("request_id", sa.Text, primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("window", sa.Text, nullable=False),
    # `user` is a keyword in PostgreSQL: `SELECT user` would quietly answer with the name of the database's role.
    sa.Column("tenant_id", sa.Text, nullable=False),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("key_id", sa.Text, nullable=False),
    sa.Column("tier", sa.Text, nullable=False),
    sa.Column("requested", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("upstream", sa.Text, nullable=False),
    sa.Column("size", sa.Text, nullable=False),
    sa.Column("policy", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("complexity", sa.Double, nullable=False),
    sa.Column("price_version", sa.Text, nullable=False),
    sa.Column("input_tokens", sa.BigInteger, nullable=False),
    sa.Column("cached_input_tokens", sa.BigInteger, nullable=False),
    sa.Column("output_tokens", sa.BigInteger, nullable=False),
    sa.Column("reasoning_tokens", sa.BigInteger, nullable=False),
    sa.Column("cost", sa.BigInteger, nullable=False),
    sa.Column("suspense", sa.BigInteger, nullable=False),
    sa.Column("usage_source", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("is_stream", sa.Boolean, nullable=False),
    sa.Column("is_cache_hit", sa.Boolean, nullable=False),
    sa.Column("is_suspect", sa.Boolean, nullable=False),
    sa.Column("is_overrun", sa.Boolean, nullable=False),
    sa.Column("duration_ms", sa.BigInteger, nullable=False),
    sa.Column("first_token_ms", sa.BigInteger, nullable=True),
    sa.Column("cache_write_tokens", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("cache_write_1h_tokens", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("p_good", sa.Double, nullable=True),
    sa.Column("category", sa.Text, nullable=False, server_default=""),
    sa.Column("p_good_after", sa.Double, nullable=True),
    sa.Column("engine_us", sa.BigInteger, nullable=False, server_default="0"),
    sa.Index("entries_by_tenant_window", "tenant_id", "window"),
    sa.Index("entries_by_tenant_time", "tenant_id", "created_ms"),
    sa.Index("entries_by_time", "created_ms"),
)

tiers = sa.Table(
    "tiers",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("limits", sa.Text, nullable=False),
    sa.Column("sizes", sa.Text, nullable=False),
    sa.Column("default_output_tokens", sa.BigInteger, nullable=False),
    sa.Column("max_output_tokens", sa.BigInteger, nullable=False),
    sa.Column("max_choices", sa.Integer, nullable=False),
    sa.Column("is_edited", sa.Boolean, nullable=False),
)

tenants = sa.Table(
    "tenants",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("tier", sa.Text, sa.ForeignKey("tiers.name"), nullable=False),
    sa.Column("limits", sa.Text, nullable=False),
    sa.Column("is_active", sa.Boolean, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
)

users = sa.Table(
    "users",
    metadata,
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("limits", sa.Text, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
)

keys = sa.Table(
    "keys",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("tenant_id", sa.Text, nullable=False),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("limits", sa.Text, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("expires_ms", sa.BigInteger, nullable=True),
    sa.Column("revoked_ms", sa.BigInteger, nullable=True),
    sa.ForeignKeyConstraint(["tenant_id", "user_id"], ["users.tenant_id", "users.id"]),
    sa.Index("keys_by_tenant", "tenant_id", "user_id"),
)

operators = sa.Table(
    "operators",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("revoked_ms", sa.BigInteger, nullable=True),
)

prices = sa.Table(
    "prices",
    metadata,
    sa.Column("version", sa.Text, primary_key=True),
    sa.Column("candidate_id", sa.Text, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("effective_ms", sa.BigInteger, nullable=False),
    # Pico-dollars per token.
    sa.Column("input", sa.BigInteger, nullable=False),
    sa.Column("cached_input", sa.BigInteger, nullable=False),
    sa.Column("output", sa.BigInteger, nullable=False),
    sa.Column("reasoning", sa.BigInteger, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    # Null in rows older than the columns: as input, as cache_write.
    sa.Column("cache_write", sa.BigInteger, nullable=True),
    sa.Column("cache_write_1h", sa.BigInteger, nullable=True),
    # Nano-dollars.
    sa.Column("engine_hour", sa.BigInteger, nullable=False, server_default="0"),
    sa.UniqueConstraint("candidate_id", "number", name="prices_number"),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("before", sa.Text, nullable=True),
    sa.Column("after", sa.Text, nullable=True),
    sa.Index("audit_by_time", "at_ms"),
)

idempotency = sa.Table(
    "idempotency",
    metadata,
    sa.Column("tenant_id", sa.Text, primary_key=True),
    # SHA-256 of the caller's Idempotency-Key: it may hold anything, and need not be known here.
    sa.Column("key_digest", sa.Text, primary_key=True),
    sa.Column("fingerprint", sa.Text, nullable=False),
    # The request that holds the claim: whoever lost it to another must not close it.
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("lease_until_ms", sa.BigInteger, nullable=False),
    sa.Column("status", sa.Integer, nullable=True),
    sa.Column("content_type", sa.Text, nullable=True),
    sa.Column("body", sa.LargeBinary, nullable=True),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Index("idempotency_by_time", "created_ms"),
)

files = sa.Table(
    "files",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("tenant_id", sa.Text, nullable=False),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("filename", sa.Text, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    # While it is written, nobody sees it.
    sa.Column("is_whole", sa.Boolean, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("expires_ms", sa.BigInteger, nullable=False),
    sa.Index("files_by_tenant", "tenant_id", "id"),
    sa.Index("files_by_expiry", "expires_ms"),
)

file_chunks = sa.Table(
    "file_chunks",
    metadata,
    sa.Column("file_id", sa.Text, sa.ForeignKey("files.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
)

batches = sa.Table(
    "batches",
    metadata,
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
    # Why its lines stopped: decides the status in which it ends.
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
    # Grows each time one of its lines is taken: whoever waited longest is next.
    sa.Column("turn", sa.BigInteger, nullable=False),
    # The process that checks its input or writes its output, and until when it counts as alive.
    sa.Column("owner", sa.Text, nullable=True),
    sa.Column("lease_until_ms", sa.BigInteger, nullable=False),
    sa.Index("batches_by_tenant", "tenant_id", "id"),
    sa.Index("batches_by_status", "status"),
)

batch_lines = sa.Table(
    "batch_lines",
    metadata,
    sa.Column("batch_id", sa.Text, sa.ForeignKey("batches.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("custom_id", sa.Text, nullable=False),
    # The request as written; gone once it is answered.
    sa.Column("body", sa.LargeBinary, nullable=True),
    sa.Column("failures", sa.Integer, nullable=False),
    # When it may be taken: at once, after a pause, or when the lease of whoever runs it is over. Null: it is done.
    sa.Column("available_ms", sa.BigInteger, nullable=True),
    sa.Column("owner", sa.Text, nullable=True),
    sa.Column("request_id", sa.Text, nullable=True),
    sa.Column("status_code", sa.Integer, nullable=True),
    sa.Column("reply", sa.LargeBinary, nullable=True),
    sa.Index("batch_lines_available", "batch_id", "available_ms", "number"),
)

outcomes = sa.Table(
    "outcomes",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    # Empty where no tenant asked: a line of an evaluation.
    sa.Column("tenant_id", sa.Text, nullable=False),
    # Empty where no user judged.
    sa.Column("user_id", sa.Text, nullable=False),
    # The request's id. Where there was none: the name of an evaluation's item, or one of our making.
    sa.Column("subject", sa.Text, nullable=False),
    # `upstream/model`; empty where only the model is known.
    sa.Column("candidate_id", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("value", sa.Double, nullable=False),
    sa.Column("weight", sa.Double, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    # What was predicted before the answer.
    sa.Column("p_good", sa.Double, nullable=True),
    sa.Column("complexity", sa.Double, nullable=True),
    sa.Column("category", sa.Text, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("tenant_id", "subject", "model", "source", "user_id", name="outcomes_once"),
    sa.Index("outcomes_by_source", "tenant_id", "source", "created_ms"),
    sa.Index(
        "outcomes_by_voter",
        "tenant_id",
        "user_id",
        "created_ms",
        sqlite_where=sa.text("source = 'feedback'"),
        postgresql_where=sa.text("source = 'feedback'"),
    ),
    sa.Index("outcomes_by_time", "created_ms"),
)

marks = sa.Table(
    "marks",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
