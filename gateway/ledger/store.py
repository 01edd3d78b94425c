"""The ledger in SQL: entries go in once and for ever, sums come out. Money is nano-dollars, times are UTC."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from gateway.ledger import outcomes
from gateway.ledger.contract import Dimension, SpendQuery, SpendRow
from gateway.ledger.database import Database, DatabaseUnavailableError, RowRefusedError
from gateway.ledger.judged import deferral_outcomes
from gateway.ledger.schema import entries
from gateway.values import Entry, ScopeKind, Spent

_DAY_MS = 86_400_000
_IDS_PER_QUERY = 500

_DIMENSIONS: dict[Dimension, sa.ColumnElement[Any]] = {
    "tenant": entries.c.tenant_id,
    "user": entries.c.user_id,
    "key": entries.c.key_id,
    "model": entries.c.model,
    "upstream": entries.c.upstream,
    "size": entries.c.size,
    "tier": entries.c.tier,
    "policy": entries.c.policy,
    "outcome": entries.c.outcome,
    # Days since 1970: integer division means the same in both databases, their date functions do not.
    "day": entries.c.created_ms.op("/")(sa.literal_column(str(_DAY_MS))),
    # The month that pays, so that a month's report says what its budget was charged.
    "month": entries.c.window,
}

_SUMS: dict[str, sa.ColumnElement[Any]] = {
    "requests": sa.func.count(entries.c.request_id.distinct()),
    "cache_hits": sa.func.sum(sa.case((entries.c.is_cache_hit, 1), else_=0)),
    "input_tokens": sa.func.sum(entries.c.input_tokens),
    "cached_input_tokens": sa.func.sum(entries.c.cached_input_tokens),
    "cache_write_tokens": sa.func.sum(entries.c.cache_write_tokens),
    "cache_write_1h_tokens": sa.func.sum(entries.c.cache_write_1h_tokens),
    "output_tokens": sa.func.sum(entries.c.output_tokens),
    "reasoning_tokens": sa.func.sum(entries.c.reasoning_tokens),
    "engine_us": sa.func.sum(entries.c.engine_us),
    "cost": sa.func.sum(entries.c.cost),
    "suspense": sa.func.sum(entries.c.suspense),
    "estimated_cost": sa.func.sum(sa.case((entries.c.usage_source != "reported", entries.c.cost), else_=0)),
}


class SqlLedger:
    """Implements `contract.LedgerStore`. Its calls raise DatabaseUnavailableError."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Bound by position and without SQLAlchemy's per-value work: a third of the CPU per row.
        mark = "%s" if database.is_postgres else "?"
        names = ", ".join(f'"{column.name}"' for column in entries.columns)
        marks = ", ".join(mark for _ in entries.columns)
        self._insert = f"INSERT INTO entries ({names}) VALUES ({marks}) ON CONFLICT DO NOTHING"  # noqa: S608 - our own columns' names

    def post(self, entries: list[Entry]) -> int:
        """Insert, ignoring those that are there; how many were new. What a cascade thought of answers becomes outcomes
        with them. Raises RowRefusedError, having posted nothing, if one of them holds a value that the database will
        not take."""
        if not entries:
            return 0
        # The table's columns stand in the order of Entry's fields; a test compares them.
        rows = [msgspec.structs.astuple(entry) for entry in entries]
        try:
            with self._database.writing() as connection:
                outcomes.add(connection, deferral_outcomes(entries))
                return connection.exec_driver_sql(self._insert, rows).rowcount
        except (OverflowError, UnicodeEncodeError) as exc:
            raise RowRefusedError(str(exc)) from exc

    def posted(self, request_ids: Iterable[str]) -> set[str]:
        """Which of them the ledger holds. A request's entries are posted together or not at all."""
        wanted = list(request_ids)
        found: set[str] = set()
        with self._database.reading() as connection:
            for start in range(0, len(wanted), _IDS_PER_QUERY):
                some = wanted[start : start + _IDS_PER_QUERY]
                query = sa.select(entries.c.request_id).where(entries.c.request_id.in_(some)).distinct()
                found.update(connection.scalars(query))
        return found

    def entries(self, request_id: str) -> list[Entry]:
        query = sa.select(entries).where(entries.c.request_id == request_id).order_by(entries.c.attempt)
        with self._database.reading() as connection:
            return [entry_from(row) for row in connection.execute(query)]

    def spent(self, tenant: str, window: str) -> dict[tuple[ScopeKind, str], Spent]:
        query = (
            sa.select(entries.c.user_id, entries.c.key_id, _SUMS["requests"], _SUMS["cost"])
            .where(entries.c.tenant_id == tenant, entries.c.window == window)
            .group_by(entries.c.user_id, entries.c.key_id)
        )
        totals: dict[tuple[ScopeKind, str], Spent] = {}
        with self._database.reading() as connection:
            for user, key, requests, cost in connection.execute(query):
                scopes: tuple[tuple[ScopeKind, str], ...] = (("tenant", tenant), ("user", user), ("key", key))
                for scope in scopes:
                    before = totals.get(scope, Spent(requests=0, cost=0))
                    totals[scope] = Spent(requests=before.requests + requests, cost=before.cost + int(cost))
        return totals

    def spend(self, query: SpendQuery) -> list[SpendRow]:
        """Sums by any dimensions, ordered by them. `month` is the billing month; a day is that of `created_ms`."""
        groups = [_DIMENSIONS[dimension].label(f"by_{dimension}") for dimension in query.by]
        statement = sa.select(*groups, *_SUMS.values()).where(*_conditions(query))
        if groups:
            statement = statement.group_by(*groups).order_by(*groups)
        with self._database.reading() as connection:
            return [_spend_row(query.by, tuple(row)) for row in connection.execute(statement)]


def entry_from(row: sa.Row[*tuple[Any, ...]]) -> Entry:
    """Of all columns of the table."""
    return Entry(**dict(zip(Entry.__struct_fields__, row, strict=True)))


class SpentReader:
    """What the limiter asks when its counters are lost: this process's entries first go into the ledger."""

    def __init__(
        self, ledger: SqlLedger, flush: Callable[[], Awaitable[None]], *, unavailable: type[Exception]
    ) -> None:
        """Raises `unavailable`, an exception of the limiter's, when the ledger cannot tell."""
        self._ledger = ledger
        self._flush = flush
        self._unavailable = unavailable

    async def spent(self, tenant: str, window: str) -> dict[tuple[ScopeKind, str], Spent]:
        try:
            await self._flush()
            return await asyncio.to_thread(self._ledger.spent, tenant, window)
        except DatabaseUnavailableError as exc:
            raise self._unavailable(f"the ledger cannot say what was spent: {exc}") from exc


def _conditions(query: SpendQuery) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    if query.tenant is not None:
        conditions.append(entries.c.tenant_id == query.tenant)
    if query.from_ms is not None:
        conditions.append(entries.c.created_ms >= query.from_ms)
    if query.to_ms is not None:
        conditions.append(entries.c.created_ms < query.to_ms)
    return conditions


def _spend_row(by: tuple[Dimension, ...], row: tuple[Any, ...]) -> SpendRow:
    group: dict[str, str] = {
        name: _day(value) if name == "day" else str(value) for name, value in zip(by, row, strict=False)
    }
    # PostgreSQL sums bigints as exact decimals, and an empty table has no sum.
    sums = {name: int(value or 0) for name, value in zip(_SUMS, row[len(by) :], strict=True)}
    return SpendRow(group=group, **sums)


def _day(number: int) -> str:
    return datetime.fromtimestamp(int(number) * _DAY_MS / 1000, UTC).date().isoformat()
