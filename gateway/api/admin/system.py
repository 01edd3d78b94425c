"""What the gateway runs on, for admins: upstreams and their health, prices and their history, the audit."""

from typing import Annotated, Any

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery, QueryParameter

from gateway.ledger.accounts import Accounts
from gateway.ledger.price_book import PriceBook
from gateway.ledger.views import iso
from gateway.upstreams.member import Member
from gateway.upstreams.pool import UpstreamPool

_LAST_ID = 2**63 - 1


def system_handlers(pool: UpstreamPool, prices: PriceBook, accounts: Accounts) -> list[HTTPRouteHandler]:
    @get("/admin/upstreams")
    async def list_upstreams() -> list[dict[str, Any]]:
        return [_upstream(pool.member(name)) for name in pool.names()]

    @get("/admin/prices", sync_to_thread=True)
    def list_prices(candidate: FromQuery[str | None] = None) -> list[dict[str, Any]]:
        """Every row that ever held, oldest first; figures in pico-dollars per token (USD per million, times 10^6), those
        of engines in nano-dollars per hour (USD, times 10^9)."""
        return [
            {
                "candidate": row.candidate_id,
                "version": row.price.version,
                "effective_at": iso(row.effective_ms),
                "input": row.price.input,
                "cached_input": row.price.cached_input,
                "output": row.price.output,
                "reasoning": row.price.reasoning,
                "cache_write": row.price.cache_write,
                "cache_write_1h": row.price.cache_write_1h,
                "engine_hour": row.price.engine_hour,
                "source": row.source,
            }
            for row in prices.history(candidate)
        ]

    @get("/admin/audit", sync_to_thread=True)
    def list_audit(
        limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 100,
        before: Annotated[int | None, QueryParameter(ge=1, le=_LAST_ID)] = None,
    ) -> list[dict[str, Any]]:
        return [
            {
                "id": record.id,
                "at": iso(record.at_ms),
                "actor": record.actor,
                "action": record.action,
                "subject": record.subject,
                "before": record.before,
                "after": record.after,
            }
            for record in accounts.audit(limit=limit, before_id=before)
        ]

    return [list_upstreams, list_prices, list_audit]


def _upstream(member: Member) -> dict[str, Any]:
    is_healthy, in_flight = member.health()
    return {
        "name": member.name,
        "is_healthy": is_healthy,
        "in_flight": in_flight,
        "trouble": member.trouble,
        "endpoints": [
            {
                "name": one.name,
                "is_healthy": one.is_healthy,
                "in_flight": one.in_flight,
                "load": None if one.load is None else msgspec.to_builtins(one.load),
            }
            for one in member.endpoints
        ],
    }
