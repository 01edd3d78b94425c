"""Quantities and money: nothing of one unit passes for another, and parts add up."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.planning.units import (
    Bytes,
    BytesPerSecond,
    Hours,
    Kilowatts,
    Money,
    Seconds,
    Tokens,
    TokensPerSecond,
    in_cents,
    total,
)


@pytest.mark.parametrize(
    "act", [lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a < b, lambda a, b: a / b]
)
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Bytes(1), Tokens(1)),
        (Seconds(1), Hours(1)),
        (Money(1), Money(1, "EUR")),
        (Money(1), Tokens(1)),
        (Tokens(1), Money(1)),
    ],
)
def test_two_units_never_mix(act, one, other):
    with pytest.raises(TypeError):
        act(one, other)


def test_what_is_of_one_unit_adds_compares_and_divides():
    assert Bytes(1) + Bytes(2) == Bytes(3)
    assert Bytes(6) / Bytes(2) == 3.0
    assert Bytes(6) / 2 == 3 * Bytes(1)
    assert Bytes.of_gib(2).value == 2**31
    assert Seconds(7200).hours == Hours(2)


def test_a_product_of_two_units_is_a_third():
    assert BytesPerSecond(10).time_of(Bytes(30)) == Seconds(3)
    assert TokensPerSecond(5).over(Seconds(4)) == Tokens(20)
    assert Kilowatts(3).over(Hours(2)).value == 6


def test_a_quantity_is_scaled_by_plain_numbers_alone():
    with pytest.raises(TypeError):
        Bytes(2) * Bytes(3)


def test_money_takes_no_float_but_by_name():
    with pytest.raises(TypeError):
        Money(0.1)

    assert Money.of(0.1) == Money("0.1")
    assert Money("0.1") + Money("0.2") == Money("0.3")
    assert Money(1) * 0.1 == Money("0.1")


@given(st.lists(st.decimals("0", "1e9", places=6), min_size=1, max_size=12))
def test_parts_in_cents_add_up_to_the_total_in_cents(amounts):
    parts = [Money(amount) for amount in amounts]

    rounded = in_cents(parts)

    assert sum(rounded) == total(parts).amount.quantize(Decimal("0.01"))
    assert all(abs(cents - part.amount) < Decimal("0.01") for cents, part in zip(rounded, parts, strict=True))
