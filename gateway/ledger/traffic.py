"""Traffic as the planning tools take it, summed by hour in one query."""

from fractions import Fraction
from typing import Any, cast

import msgspec
import sqlalchemy as sa

from gateway.catalogue import by_token, scaled
from gateway.clock import Clock
from gateway.config import Config
from gateway.ledger.database import Database
from gateway.ledger.period import PeriodError, moment
from gateway.ledger.price_book import PriceBook, UnknownPriceError
from gateway.ledger.schema import entries
from gateway.planning.contract import PlanError
from gateway.planning.cost.prices import api_prices
from gateway.planning.traffic import Hour, Traffic
from gateway.planning.units import Money
from gateway.values import PASSED_OVER, Price
from policies.contract import Size

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_DEFAULT_DAYS = 30
_UNANSWERED = ("failed", *sorted(PASSED_OVER))

_IN = (
    entries.c.input_tokens
    + entries.c.cached_input_tokens
    + entries.c.cache_write_tokens
    + entries.c.cache_write_1h_tokens
)
_OUT = entries.c.output_tokens + entries.c.reasoning_tokens
# Integer division means the same in both databases, their date functions do not.
_HOUR = entries.c.created_ms // sa.literal_column(str(_HOUR_MS), sa.BigInteger)


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """What every request would have gone to."""

    name: str
    price: Price
    batch_price: Price
    """Of what ran in a batch, at whatever upstream it did."""
    not_chats: tuple[str, ...] = ()
    """Models that do something else: the reference cannot stand in for them."""


class TrafficReader:
    """For tools that ask for the ledger. Synchronous: async callers run it in a thread."""

    def __init__(self, database: Database, config: Config, clock: Clock) -> None:
        self._database = database
        self._config = config
        self._clock = clock

    def read(
        self,
        *,
        tenant: str | None = None,
        from_: str | None = None,
        to: str | None = None,
        reference: str | None = None,
        days: int = _DEFAULT_DAYS,
    ) -> Traffic:
        """Of a tenant or the whole site; from the first entry on, and without dates the last `days`.

        Raises PlanError for what cannot be read as a date or is no model here, DatabaseUnavailableError.
        """
        now = self._clock.now_ms()
        since, until = _moment("from_", from_), _moment("to", to)
        to_ms = now if until is None else min(until, now)
        from_ms = to_ms - days * _DAY_MS if since is None else since
        if from_ms >= to_ms:
            raise PlanError("The period ends before it begins.", param="from_")
        wanted = reference or self._config.planning.reference
        return read_traffic(
            self._database,
            from_ms=from_ms,
            to_ms=to_ms,
            tenant=tenant,
            reference=self._reference(wanted) if wanted else None,
        )

    def _reference(self, name: str) -> Reference:
        """Of several upstreams with that model the cheapest: nobody would have paid more."""
        offers = {
            f"{upstream_name}/{model_name}": model
            for upstream_name, upstream in self._config.upstreams.items()
            for model_name, model in upstream.models.items()
        }
        chats = [id_ for id_, model in offers.items() if model.kind == "chat"]
        not_chats = tuple(sorted({id_.partition("/")[2] for id_ in offers if id_ not in chats}))
        book = PriceBook(self._database, self._clock)
        book.reload()
        prices: dict[str, Price] = {}
        for id_ in chats:
            if name in (id_, id_.partition("/")[2]):
                try:
                    prices[id_] = by_token(book.current(id_), offers[id_].tokens_per_s)
                except UnknownPriceError as exc:
                    raise PlanError(
                        f"The price book does not know {id_} yet: the gateway enters it when it starts.",
                        param="reference",
                    ) from exc
        if not prices:
            return _listed(name, sorted(chats), not_chats)
        cheapest = min(prices, key=lambda id_: prices[id_].input + prices[id_].output)
        return Reference(
            name=cheapest,
            price=prices[cheapest],
            batch_price=scaled(prices[cheapest], Fraction(offers[cheapest].batch_price_factor)),
            not_chats=not_chats,
        )


def _listed(name: str, chats: list[str], not_chats: tuple[str, ...]) -> Reference:
    """A model that is not served here, at its price in the planner's list."""
    listed = api_prices().get(name)
    if listed is None or listed.input.currency != "USD":
        raise PlanError(
            f"{name[:128]!r} is no chat model here, nor in the list of API prices; here are {', '.join(chats)}.",
            param="reference",
        )
    price = Price(
        version="",
        input=_pico(listed.input),
        cached_input=_pico(listed.cached_input),
        output=_pico(listed.output),
        reasoning=_pico(listed.output),
    )
    # Providers sell batches at half: to count them at the full price would make savings of it.
    return Reference(name=name, price=price, batch_price=scaled(price, Fraction(1, 2)), not_chats=not_chats)


def _pico(usd_per_million: Money) -> int:
    return round(usd_per_million.amount * 10**6)


def read_traffic(
    database: Database,
    *,
    from_ms: int,
    to_ms: int,
    tenant: str | None = None,
    reference: Reference | None = None,
) -> Traffic:
    """`to_ms` is exclusive. Before the first entry there was nothing to measure: the period begins in its hour.

    Raises DatabaseUnavailableError.
    """
    whose = [] if tenant is None else [entries.c.tenant_id == tenant]
    rows: list[sa.Row[*tuple[Any, ...]]] = []
    with database.reading() as connection:
        first = connection.scalar(sa.select(sa.func.min(entries.c.created_ms)).where(*whose))
        begins_ms = to_ms if first is None else first // _HOUR_MS * _HOUR_MS
        if begins_ms < to_ms:
            from_ms = max(from_ms, begins_ms)
        # A day at a time: a statement may take ten seconds, and a year of a busy site takes longer.
        for day_ms in range(max(from_ms, begins_ms) // _DAY_MS * _DAY_MS, to_ms, _DAY_MS):
            between = (max(from_ms, day_ms), min(to_ms, day_ms + _DAY_MS))
            rows += connection.execute(_sums(between, reference).where(*whose))
    return Traffic(
        from_ms=from_ms,
        to_ms=to_ms,
        tenant=tenant,
        hours=tuple(_hour(row) for row in rows if not row.is_cache_hit),
        cached=tuple(_hour(row) for row in rows if row.is_cache_hit),
        reference_model=reference.name if reference else None,
    )


def _sums(between: tuple[int, int], reference: Reference | None) -> sa.Select[*tuple[Any, ...]]:
    groups = (_HOUR, entries.c.model, entries.c.upstream, entries.c.size, entries.c.is_cache_hit)
    sums = [sa.func.sum(one) for one in (_IN, entries.c.cached_input_tokens, _OUT, entries.c.cost)]
    reference_cost = sa.func.sum(_reference_cost(reference)) if reference else sa.null()
    return (
        sa.select(*groups, sa.func.count(), *sums, reference_cost)
        .where(
            entries.c.created_ms >= between[0],
            entries.c.created_ms < between[1],
            entries.c.outcome != "failed",
        )
        .group_by(*groups)
        .order_by(*groups)
    )


def _reference_cost(reference: Reference) -> sa.ColumnElement[int]:
    """Of one entry, rounded up to a whole nano-dollar as entries are."""
    return sa.case(
        (entries.c.outcome.in_(_UNANSWERED), 0),
        (entries.c.model.in_(reference.not_chats), entries.c.cost),
        (entries.c.price_version.like("%#%*%"), _priced(reference.batch_price)),
        else_=_priced(reference.price),
    )


def _priced(price: Price) -> sa.ColumnElement[int]:
    by_class = {
        entries.c.input_tokens: price.input,
        entries.c.cached_input_tokens: price.cached_input,
        entries.c.cache_write_tokens: price.cache_write,
        entries.c.cache_write_1h_tokens: price.cache_write_1h,
        entries.c.output_tokens: price.output,
        entries.c.reasoning_tokens: price.reasoning,
    }
    pico = sum(
        (tokens * sa.literal(pico, sa.BigInteger) for tokens, pico in by_class.items()), start=sa.literal(999)
    )
    return pico // sa.literal_column("1000", sa.BigInteger)


def _hour(row: sa.Row[*tuple[Any, ...]]) -> Hour:
    start, model, upstream, size, _, *sums, reference = tuple(row)
    # PostgreSQL sums bigints as exact decimals.
    requests, taken_in, cached, given_out, cost = (int(one) for one in sums)
    return Hour(
        start_ms=int(start) * _HOUR_MS,
        model=model,
        upstream=upstream,
        size=cast("Size", size),
        requests=requests,
        input_tokens=taken_in,
        cached_input_tokens=cached,
        output_tokens=given_out,
        cost=cost,
        reference_cost=None if reference is None else int(reference),
    )


def _moment(param: str, text: str | None) -> int | None:
    try:
        return moment(text)
    except PeriodError as exc:
        raise PlanError(str(exc), param=param) from exc
