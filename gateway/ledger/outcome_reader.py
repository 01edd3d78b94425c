"""Outcomes as calibration and training read them: newest first, in bounds that no tenant can use up alone."""

from collections.abc import Sequence
from typing import get_args

import sqlalchemy as sa

from gateway.ledger.database import Database
from gateway.ledger.schema import outcomes
from gateway.values import OutcomeRow, OutcomeSource

_SOURCES: tuple[OutcomeSource, ...] = get_args(OutcomeSource)

# From one tenant to the next in the index: SELECT DISTINCT would read all of it.
_TENANTS = sa.text("""
    WITH RECURSIVE known(tenant) AS (
        SELECT min(tenant_id) FROM outcomes
        UNION ALL
        SELECT (SELECT min(tenant_id) FROM outcomes WHERE tenant_id > known.tenant) FROM known
        WHERE known.tenant IS NOT NULL
    )
    SELECT tenant FROM known WHERE tenant IS NOT NULL
""")
_FIELDS = {"tenant_id": "tenant", "user_id": "user", "candidate_id": "candidate"}
_COLUMNS = tuple(
    column
    for column in outcomes.columns
    if _FIELDS.get(column.name, column.name) in OutcomeRow.__struct_fields__
)
_NAMES = tuple(_FIELDS.get(column.name, column.name) for column in _COLUMNS)
_NEWEST = (
    sa.select(*_COLUMNS)
    .where(
        outcomes.c.tenant_id == sa.bindparam("tenant"),
        outcomes.c.source == sa.bindparam("source"),
        outcomes.c.created_ms >= sa.bindparam("since_ms"),
        outcomes.c.weight > 0,
    )
    .order_by(outcomes.c.created_ms.desc(), outcomes.c.id.desc())
    .limit(sa.bindparam("share"))
)


class OutcomesReader:
    """Its call raises DatabaseUnavailableError."""

    def __init__(self, database: Database, *, max_rows: int = 100_000) -> None:
        self._database = database
        self._max_rows = max_rows

    def rows(self, since_ms: int, tenant: str | None = None) -> Sequence[OutcomeRow]:
        """What has been told since then and has a weight, of one tenant or of all.

        At most `max_rows` (or one for each tenant and source): the newest of each tenant and source, with equal shares,
        so that neither a busy tenant nor a cascade that judges every answer pushes out what others said.
        """
        with self._database.reading() as connection:
            tenants = [tenant] if tenant is not None else list(connection.scalars(_TENANTS))
            share = max(1, self._max_rows // (len(tenants) * len(_SOURCES) or 1))
            found: list[OutcomeRow] = []
            for one in tenants:
                for source in _SOURCES:
                    asked = {"tenant": one, "source": source, "since_ms": since_ms, "share": share}
                    rows = connection.execute(_NEWEST, asked)
                    found += [OutcomeRow(**dict(zip(_NAMES, row, strict=True))) for row in rows]
        return found
