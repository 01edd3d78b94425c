"""What a token costs, from when on. Rows are dated and never changed: an entry keeps the version that priced it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import sqlalchemy as sa

from gateway.clock import Clock
from gateway.config import PriceConfig
from gateway.errors import ConfigError
from gateway.ledger.database import Database
from gateway.ledger.schema import prices
from gateway.money import nano_usd
from gateway.values import Price

_PICO_PER_TOKEN = Decimal(10**6)
"""One USD per million tokens is a million pico-dollars per token."""

FREE = PriceConfig(input=Decimal(0), output=Decimal(0), source="free")


class UnknownPriceError(Exception):
    """Nothing is known of the candidate's price: that is never zero."""


class PriceRow(msgspec.Struct, frozen=True, kw_only=True):
    candidate_id: str
    price: Price
    effective_ms: int
    source: str


class PriceBook:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._known: dict[str, list[PriceRow]] = {}

    def seed(self, configured: Mapping[str, PriceConfig | None]) -> None:
        """Bring in the file's prices, None being free. A new row only where the figures differ from today's."""
        now = self._clock.now_ms()
        with self._database.changing() as connection:
            for candidate_id, config in configured.items():
                rows = _rows(connection, candidate_id)
                current = _at(rows, now)
                wanted = _price(candidate_id, config or FREE, now, len(rows) + 1)
                if current is not None and _figures(current.price) == _figures(wanted):
                    continue
                source = (config or FREE).source
                _insert(
                    connection,
                    PriceRow(candidate_id=candidate_id, price=wanted, effective_ms=now, source=source),
                )
        self.reload()

    def reload(self) -> None:
        """Read today's prices and those to come."""
        now = self._clock.now_ms()
        with self._database.reading() as connection:
            rows = _rows(connection)
        by_candidate: dict[str, list[PriceRow]] = {}
        for row in rows:
            by_candidate.setdefault(row.candidate_id, []).append(row)
        self._known = {candidate_id: _from_now_on(known, now) for candidate_id, known in by_candidate.items()}

    def current(self, candidate_id: str) -> Price:
        """From memory. Raises UnknownPriceError."""
        row = _at(self._known.get(candidate_id, []), self._clock.now_ms())
        if row is None:
            raise UnknownPriceError(f"no price is known for {candidate_id}")
        return row.price

    def history(self, candidate_id: str | None = None) -> list[PriceRow]:
        """Oldest first."""
        with self._database.reading() as connection:
            return _rows(connection, candidate_id)


def _price(candidate_id: str, config: PriceConfig, effective_ms: int, number: int) -> Price:
    moment = datetime.fromtimestamp(effective_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    cached = config.input if config.cached_input is None else config.cached_input
    reasoning = config.output if config.reasoning is None else config.reasoning
    write = config.input if config.cache_write is None else config.cache_write
    write_1h = write if config.cache_write_1h is None else config.cache_write_1h
    return Price(
        version=f"{candidate_id}@{moment}#{number}",
        input=_pico(candidate_id, config.input),
        cached_input=_pico(candidate_id, cached),
        output=_pico(candidate_id, config.output),
        reasoning=_pico(candidate_id, reasoning),
        cache_write=_pico(candidate_id, write),
        cache_write_1h=_pico(candidate_id, write_1h),
        engine_hour=_nano(candidate_id, config.engine_hour),
    )


def _pico(candidate_id: str, usd_per_million: Decimal) -> int:
    pico = usd_per_million * _PICO_PER_TOKEN
    if pico < 0 or pico != pico.to_integral_value():
        raise ConfigError(
            f"{candidate_id}: a price of {usd_per_million} USD per million tokens cannot be kept exactly"
        )
    return int(pico)


def _nano(candidate_id: str, usd_per_hour: Decimal) -> int:
    try:
        return nano_usd(usd_per_hour)
    except ValueError as exc:
        raise ConfigError(
            f"{candidate_id}: a price of {usd_per_hour} USD per hour cannot be kept exactly"
        ) from exc


def _figures(price: Price) -> Price:
    """Without the version: what two rows are compared by."""
    return msgspec.structs.replace(price, version="")


def _at(rows: list[PriceRow], now_ms: int) -> PriceRow | None:
    """The last that has begun; rows stand in the order in which they take effect."""
    for row in reversed(rows):
        if row.effective_ms <= now_ms:
            return row
    return None


def _from_now_on(rows: list[PriceRow], now_ms: int) -> list[PriceRow]:
    current = _at(rows, now_ms)
    return rows if current is None else rows[rows.index(current) :]


def _rows(connection: sa.Connection, candidate_id: str | None = None) -> list[PriceRow]:
    query = sa.select(prices).order_by(prices.c.candidate_id, prices.c.effective_ms, prices.c.number)
    if candidate_id is not None:
        query = query.where(prices.c.candidate_id == candidate_id)
    return [
        PriceRow(
            candidate_id=row.candidate_id,
            price=Price(
                version=row.version,
                input=row.input,
                cached_input=row.cached_input,
                output=row.output,
                reasoning=row.reasoning,
                cache_write=-1 if row.cache_write is None else row.cache_write,
                cache_write_1h=-1 if row.cache_write_1h is None else row.cache_write_1h,
                engine_hour=row.engine_hour,
            ),
            effective_ms=row.effective_ms,
            source=row.source,
        )
        for row in connection.execute(query)
    ]


def _insert(connection: sa.Connection, row: PriceRow) -> None:
    connection.execute(
        sa.insert(prices).values(
            version=row.price.version,
            candidate_id=row.candidate_id,
            number=int(row.price.version.rpartition("#")[2]),
            effective_ms=row.effective_ms,
            input=row.price.input,
            cached_input=row.price.cached_input,
            output=row.price.output,
            reasoning=row.price.reasoning,
            cache_write=row.price.cache_write,
            cache_write_1h=row.price.cache_write_1h,
            engine_hour=row.price.engine_hour,
            source=row.source,
            created_ms=row.effective_ms,
        )
    )
