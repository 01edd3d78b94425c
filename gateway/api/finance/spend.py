"""Spend, from the ledger: sums by any dimensions as JSON or CSV, and the entries of one request."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

import anyio.to_thread
import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, QueryParameter

from gateway.api.operators import FOR_FINANCE
from gateway.errors import InvalidRequestError, NotFoundError
from gateway.ledger.contract import SpendQuery
from gateway.ledger.exports import as_csv, as_records, totals
from gateway.ledger.period import PeriodError, dimensions, moment
from gateway.ledger.store import SqlLedger
from gateway.money import usd


def finance_handlers(ledger: SqlLedger, catch_up: Callable[[], Awaitable[None]]) -> list[HTTPRouteHandler]:
    """`catch_up` brings what was answered before a question into the ledger."""

    @get("/finance/spend", opt=FOR_FINANCE)
    async def spend(
        by: FromQuery[str] = "tenant",
        from_: Annotated[str | None, QueryParameter(name="from")] = None,
        to: FromQuery[str | None] = None,
        tenant: FromQuery[str | None] = None,
        format_: Annotated[Literal["json", "csv"], QueryParameter(name="format")] = "json",
    ) -> Response[Any]:
        """`by`: comma list of tenant, user, key, model, upstream, size, tier, policy, outcome, day, month.
        `from` inclusive, `to` exclusive: 2026-11-01, or a time with its zone."""
        query = _query(by, from_, to, tenant)
        await catch_up()
        rows = await anyio.to_thread.run_sync(ledger.spend, query)
        if format_ == "csv":
            name = f"spend-{'-'.join(query.by)}.csv"
            return Response(
                as_csv(rows, query.by),
                media_type="text/csv",
                headers={"content-disposition": f'attachment; filename="{name}"'},
            )
        return Response({"by": query.by, "rows": as_records(rows), "total": totals(rows)})

    @get("/finance/requests/{request_id:str}", opt=FOR_FINANCE)
    async def entries(request_id: FromPath[str]) -> list[dict[str, Any]]:
        """One line per attempt that was billed, or may be."""
        await catch_up()
        found = await anyio.to_thread.run_sync(ledger.entries, request_id)
        if not found:
            raise NotFoundError(f"The ledger has no request {request_id[:64]!r}.", param="request_id")
        return [
            {**msgspec.structs.asdict(entry), "cost": usd(entry.cost), "suspense": usd(entry.suspense)}
            for entry in found
        ]

    return [spend, entries]


def _query(by: str, from_: str | None, to: str | None, tenant: str | None) -> SpendQuery:
    try:
        return SpendQuery(by=dimensions(by), from_ms=moment(from_), to_ms=moment(to), tenant=tenant)
    except PeriodError as exc:
        raise InvalidRequestError(str(exc)) from exc
