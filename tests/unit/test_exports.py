"""Spend as JSON and CSV: exact money, and nothing that a spreadsheet would run."""

import csv
import io
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger.contract import SpendRow
from gateway.ledger.exports import as_csv, as_records, totals
from gateway.ledger.period import PeriodError, dimensions, moment
from gateway.money import nano_usd, usd


def row(cost: int = 0, *, engine_us: int = 0, **group: str) -> SpendRow:
    return SpendRow(
        group=group,
        requests=1,
        cache_hits=0,
        input_tokens=2,
        cached_input_tokens=0,
        cache_write_tokens=0,
        cache_write_1h_tokens=0,
        output_tokens=3,
        reasoning_tokens=0,
        engine_us=engine_us,
        cost=cost,
        suspense=0,
        estimated_cost=0,
    )


@given(st.integers(min_value=-(2**63), max_value=2**63))
def test_money_survives_the_way_to_text_and_back(nano: int) -> None:
    assert nano_usd(Decimal(usd(nano))) == nano


@given(st.lists(st.integers(min_value=0, max_value=10**15)))
def test_the_total_is_the_sum_of_the_rows_to_the_last_digit(costs: list[int]) -> None:
    rows = [row(cost) for cost in costs]

    shown = sum((Decimal(record["cost_usd"]) for record in as_records(rows)), Decimal(0))

    assert Decimal(totals(rows)["cost_usd"]) == shown


@given(st.lists(st.integers(min_value=0, max_value=10**15)))
def test_the_engine_seconds_of_the_rows_add_up_to_the_last_digit(spans: list[int]) -> None:
    rows = [row(engine_us=span) for span in spans]

    shown = sum((Decimal(record["engine_seconds"]) for record in as_records(rows)), Decimal(0))

    assert Decimal(totals(rows)["engine_seconds"]) == shown == Decimal(sum(spans)).scaleb(-6)


@pytest.mark.parametrize("evil", ["=1+1", "+1", "-1", "@x", "\tx"])
def test_a_name_that_looks_like_a_formula_is_text_in_csv(evil: str) -> None:
    [line] = csv.DictReader(io.StringIO(as_csv([row(tenant=evil)], ("tenant",))))

    assert line["tenant"] == f"'{evil}"


def test_csv_without_rows_still_has_its_header() -> None:
    assert as_csv([], ("tenant", "day")).startswith("tenant,day,requests,")


def test_dimensions_and_dates_are_read_or_refused_with_what_is_expected() -> None:
    assert dimensions(" tenant, model,tenant ") == ("tenant", "model")
    assert moment("2026-11-01") == moment("2026-11-01T00:00:00Z") == 1_793_491_200_000
    for wrong in ("colour", ""):
        with pytest.raises(PeriodError, match="tenant, user, key"):
            dimensions(wrong)
    for wrong in ("yesterday", "2026-13-01", "2026-11-01T00:00:00"):
        with pytest.raises(PeriodError):
            moment(wrong)
