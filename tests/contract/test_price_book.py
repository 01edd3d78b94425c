"""Dated prices that stay as they were, on SQLite and on PostgreSQL."""

from decimal import Decimal

import pytest
import sqlalchemy as sa

from gateway.clock import ManualClock
from gateway.config import PriceConfig
from gateway.errors import ConfigError
from gateway.ledger.database import Database
from gateway.ledger.price_book import PriceBook, UnknownPriceError
from gateway.values import Usage, cost

OPENING = 1_795_255_200_000  # 2026-11-21T10:00:00Z


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(OPENING)


@pytest.fixture
def book(database: Database, clock: ManualClock) -> PriceBook:
    return PriceBook(database, clock)


def usd(amount_in: str, amount_out: str, **more: Decimal) -> PriceConfig:
    return PriceConfig(input=Decimal(amount_in), output=Decimal(amount_out), **more)


def test_dollars_per_million_tokens_become_pico_dollars_per_token(book):
    book.seed({"cloud/large": usd("2.5", "10", cached_input=Decimal("1.25"), reasoning=Decimal("0.000001"))})

    price = book.current("cloud/large")

    assert (price.input, price.cached_input, price.output, price.reasoning) == (
        2_500_000,
        1_250_000,
        10_000_000,
        1,
    )
    assert cost(Usage(input=1_000_000), price) == 2_500_000_000


def test_cached_input_and_reasoning_cost_what_input_and_output_cost_unless_said(book):
    book.seed({"cloud/large": usd("2", "8")})

    price = book.current("cloud/large")

    assert (price.cached_input, price.reasoning) == (2_000_000, 8_000_000)


def test_what_is_written_into_a_cache_costs_what_input_costs_unless_said(book):
    five_minutes, hour = Decimal("3.75"), Decimal(6)
    book.seed(
        {
            "cloud/plain": usd("3", "15"),
            "cloud/dearer": usd("3", "15", cache_write=five_minutes),
            "cloud/both": usd("3", "15", cache_write=five_minutes, cache_write_1h=hour),
        }
    )

    prices = [book.current(f"cloud/{name}") for name in ("plain", "dearer", "both")]

    assert [(price.cache_write, price.cache_write_1h) for price in prices] == [
        (3_000_000, 3_000_000),
        (3_750_000, 3_750_000),
        (3_750_000, 6_000_000),
    ]
    assert cost(Usage(cache_write=1000, cache_write_1h=1000), prices[2]) == 9_750_000


def test_an_engines_hour_is_kept_to_the_nano_dollar_and_dated_like_tokens(book, clock):
    book.seed({"local/big": usd("0", "0", engine_hour=Decimal("2.500001"))})
    first = book.current("local/big")
    clock.advance(60)

    book.seed({"local/big": usd("0", "0", engine_hour=Decimal("2.500001"))})
    same = book.current("local/big")
    book.seed({"local/big": usd("0", "0", engine_hour=Decimal(3))})

    assert first.engine_hour == 2_500_001_000
    assert same == first
    assert [row.price.engine_hour for row in book.history("local/big")] == [2_500_001_000, 3_000_000_000]


def test_a_row_older_than_the_price_of_cache_writes_bills_them_as_input(book, database, clock):
    with database.writing() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO prices (version, candidate_id, number, effective_ms, input, cached_input, output, "
                "reasoning, source, created_ms) VALUES ('c@t#1', 'c', 1, :at, 2000000, 2000000, 8000000, 8000000, 's', :at)"
            ),
            {"at": OPENING},
        )
    clock.advance(60)

    book.seed({"c": usd("2", "8")})
    old = book.current("c")
    book.seed({"c": usd("2", "8", cache_write=Decimal("2.5"))})

    assert (old.version, old.cache_write, old.cache_write_1h) == ("c@t#1", 2_000_000, 2_000_000)
    assert book.current("c").cache_write == 2_500_000


@pytest.mark.fault("M26")
def test_an_unknown_price_is_an_error_and_a_free_one_is_zero(book):
    book.seed({"local/small": None})

    assert cost(Usage(input=10**9), book.current("local/small")) == 0
    with pytest.raises(UnknownPriceError, match="cloud/large"):
        book.current("cloud/large")


@pytest.mark.fault("M25")
def test_a_changed_price_is_a_new_row_and_the_old_one_stays(book, clock):
    book.seed({"cloud/large": usd("2", "8")})
    pinned = book.current("cloud/large")
    clock.advance(3600)

    book.seed({"cloud/large": usd("3", "8")})

    assert pinned.version == "cloud/large@2026-11-21T10:00:00Z#1"
    assert book.current("cloud/large").version == "cloud/large@2026-11-21T11:00:00Z#2"
    assert [row.price.input for row in book.history("cloud/large")] == [2_000_000, 3_000_000]


def test_the_same_figures_are_no_new_row(book, clock):
    book.seed({"cloud/large": usd("2", "8"), "local/small": None})
    first = book.history()
    clock.advance(3600)

    book.seed({"cloud/large": usd("2.000000", "8.0", source="elsewhere"), "local/small": None})

    assert book.history() == first


def test_another_process_sees_it_after_reload(book, database, clock):
    other = PriceBook(database, clock)
    book.seed({"cloud/large": usd("2", "8")})

    other.reload()

    assert other.current("cloud/large") == book.current("cloud/large")


@pytest.mark.fault("M25")
def test_a_price_of_the_future_counts_from_its_moment_on(book, database, clock):
    book.seed({"cloud/large": usd("2", "8")})
    with database.writing() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO prices (version, candidate_id, number, effective_ms, input, cached_input, output, "
                "reasoning, source, created_ms) "
                "VALUES ('cloud/large@later#2', 'cloud/large', 2, :at, 1, 1, 1, 1, 'test', :at)"
            ),
            {"at": OPENING + 60_000},
        )
    book.reload()

    assert book.current("cloud/large").version.endswith("#1")
    clock.advance(60)
    assert book.current("cloud/large").version == "cloud/large@later#2"


def test_a_price_finer_than_a_pico_dollar_is_refused(book):
    with pytest.raises(ConfigError, match="cannot be kept exactly"):
        book.seed({"cloud/large": usd("0.0000001", "1")})
