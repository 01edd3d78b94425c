"""What became of answers, for admins: listed, summed up, and taken in from judges and measurements."""

import asyncio
from typing import Annotated, Any

from litestar import Request, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery, QueryParameter

from gateway.api.operators import actor_of
from gateway.errors import InvalidRequestError
from gateway.ledger.outcome_import import MOST_LINES, Imported, LinesError, OutcomeImport, read_lines
from gateway.ledger.outcome_views import outcome_view, summary_view
from gateway.ledger.outcomes import OutcomeQuery, Outcomes
from gateway.ledger.period import PeriodError, moment
from gateway.values import OutcomeSource

_LAST_ID = 2**63 - 1
_TOLD = 100
"""Refused lines that an answer names."""


def outcome_handlers(outcomes: Outcomes, import_: OutcomeImport) -> list[HTTPRouteHandler]:
    @get("/admin/outcomes", sync_to_thread=True)
    def list_outcomes(
        tenant: FromQuery[str | None] = None,
        model: FromQuery[str | None] = None,
        source: FromQuery[OutcomeSource | None] = None,
        since: FromQuery[str | None] = None,
        limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 100,
        before: Annotated[int | None, QueryParameter(ge=1, le=_LAST_ID)] = None,
    ) -> list[dict[str, Any]]:
        """Newest first; `before` is the last id of the page before. `since`: 2026-11-01, or a time with its zone."""
        query = _query(tenant, model, source, since)
        return [outcome_view(one) for one in outcomes.page(query, limit=limit, before_id=before)]

    @get("/admin/outcomes/summary", sync_to_thread=True)
    def list_summary(
        tenant: FromQuery[str | None] = None,
        model: FromQuery[str | None] = None,
        source: FromQuery[OutcomeSource | None] = None,
        since: FromQuery[str | None] = None,
    ) -> list[dict[str, Any]]:
        """By model and category: how many, their mean value, and the mean of what was predicted."""
        return [summary_view(row) for row in outcomes.summary(_query(tenant, model, source, since))]

    @post("/admin/outcomes", status_code=200)
    async def import_outcomes(request: Request[Any, Any, Any]) -> dict[str, Any]:
        """A JSON array, or JSON objects one a line: `value` (0 to 1) with a `request_id`, or with the `model` that was
        measured."""
        raw = await request.body()
        return _told(await asyncio.to_thread(_imported, import_, raw, actor_of(request)))

    return [list_outcomes, list_summary, import_outcomes]


def _query(
    tenant: str | None, model: str | None, source: OutcomeSource | None, since: str | None
) -> OutcomeQuery:
    for param, text in (("tenant", tenant), ("model", model)):
        if text is not None and not text.isprintable():
            raise InvalidRequestError("Nothing can be called so.", param=param)
    try:
        return OutcomeQuery(tenant=tenant, model=model, source=source, since_ms=moment(since))
    except PeriodError as exc:
        raise InvalidRequestError(str(exc), param="since") from exc


def _imported(import_: OutcomeImport, raw: bytes, actor: str) -> Imported:
    try:
        lines = read_lines(raw)
    except LinesError as exc:
        raise InvalidRequestError(f"{exc}.") from exc
    if not 0 < len(lines) <= MOST_LINES:
        raise InvalidRequestError(f"Send 1 to {MOST_LINES} lines at a time, not {len(lines)}.")
    return import_(lines, actor=actor)


def _told(done: Imported) -> dict[str, Any]:
    return {
        "recorded": done.recorded,
        "refused": len(done.refused),
        "reasons": [{"line": one.line, "reason": one.reason} for one in done.refused[:_TOLD]],
    }
