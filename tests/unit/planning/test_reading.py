"""Inputs as a person types them and as an app sends them."""

from decimal import Decimal
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.planning.contract import Inputs, PlanError, asked
from gateway.planning.reading import from_json, from_text
from tests.fixtures.planning import Boxes, flag


def typed(**given: Any) -> Boxes:
    return from_text(Boxes, given, flag)


def sent(**given: Any) -> Boxes:
    return from_json(Boxes, given, lambda name: f"`{name}`")


def test_what_is_left_out_is_the_default() -> None:
    assert typed() == sent() == Boxes()


def test_an_input_of_every_kind_is_read_from_text_and_from_json() -> None:
    expected = Boxes(
        boxes=1000,
        price=Decimal("0.1"),
        util=0.5,
        colour="blue",
        label="fragile",
        weights=(1.5, 2.0),
        max_weight=30.0,
        is_heavy=True,
        from_="2026-11-01",
    )

    from_person = typed(
        boxes="1e3", price="0.1", util=".5", colour="blue", label="fragile", weights=["1.5", "2"], max_weight="30",
        is_heavy=True, **{"from": "2026-11-01"},
    )  # fmt: skip
    from_app = sent(
        boxes=1000, price=0.1, util=0.5, colour="blue", label="fragile", weights=[1.5, 2], max_weight=30,
        is_heavy=True, **{"from": "2026-11-01"},
    )  # fmt: skip

    assert from_person == from_app == expected
    assert sent(price="0.10").price == Decimal("0.10")
    assert sent(max_weight=None, label=None) == Boxes()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"util": "1.5"}, "--util must be above 0 and at most 1 (share), and is 1.5."),
        ({"util": "0"}, "--util must be above 0 and at most 1 (share), and is 0."),
        ({"util": "nan"}, "--util must be a finite number, and is nan."),
        ({"util": "-Infinity"}, "--util must be a finite number, and is -Infinity."),
        ({"util": "1e-400"}, "--util must be 0, or of a size between 1e-15 and 1e+18, and is 1e-400."),
        ({"util": "much"}, "--util must be a number (share), and is much."),
        ({"util": ""}, "--util must be a number (share), and is empty."),
        ({"boxes": "2.5"}, "--boxes must be a whole number, and is 2.5."),
        ({"boxes": "-1"}, "--boxes must be at least 1 (boxes), and is -1."),
        ({"boxes": "1e999999"}, "--boxes must be 0, or of a size between 1e-15 and 1e+18, and is 1e999999."),
        ({"price": "-0.01"}, "--price must be at least 0 (USD/box), and is -0.01."),
        ({"price": "sNaN"}, "--price must be a finite number, and is sNaN."),
        ({"colour": "bleu"}, "--colour must be one of red, blue, and is bleu. Did you mean blue?"),
        ({"label": " "}, "--label must not be empty."),
        ({"weights": ["1", "-2"]}, "--weights must be at least 0 (kg), and is -2."),
        ({"utl": "1"}, "There is no input --utl. Did you mean --util?"),
        ({"label\x1b[2J": "x"}, "There is no input --label?[2J. Did you mean --label?"),
    ],
)
def test_what_is_wrong_is_named_with_what_would_do(given: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError) as refused:
        typed(**given)

    assert refused.value.message == message


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"boxes": "3"}, "`boxes` must be a whole number (boxes), and is 3."),
        ({"boxes": True}, "`boxes` must be a whole number (boxes), and is true."),
        ({"boxes": None}, "`boxes` must be a whole number (boxes), and is null."),
        ({"boxes": 10**5000}, "`boxes` must be 0, or of a size between 1e-15 and 1e+18, and is 1.00e+5000."),
        ({"util": 1e308}, "`util` must be above 0 and at most 1 (share), and is 1e308."),
        ({"price": []}, "`price` must be a number (USD/box), and is []."),
        ({"price": "ten"}, "`price` must be a number (USD/box), and is ten."),
        ({"label": 7}, "`label` must be a text, and is 7."),
        ({"colour": {"a": 1}}, '`colour` must be a text, and is {"a":1}.'),
        ({"is_heavy": 1}, "`is_heavy` must be true or false, and is 1."),
        ({"weights": 3}, "`weights` must be a list, and is 3."),
        ({"weights": "3"}, "`weights` must be a list, and is 3."),
        ({"from_": "x"}, "There is no input `from_`. Did you mean `from`?"),
    ],
)
def test_what_an_app_sends_wrong_is_named_too(given: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError) as refused:
        sent(**given)

    assert refused.value.message == message
    assert refused.value.param == next(iter(given))


class Shares(Inputs, frozen=True):
    share: Annotated[Decimal, asked("of it", ge=0.1, le=0.3)] = Decimal("0.2")


def test_a_bound_is_the_decimal_that_was_written() -> None:
    """As a float 0.1 is a little more, and 0.3 a little less."""
    ends = [from_text(Shares, {"share": end}, flag).share for end in ("0.1", "0.3")]

    assert ends == [Decimal("0.1"), Decimal("0.3")]


@given(st.decimals(min_value=0, max_value=10**17, places=6))
def test_money_is_read_exactly(price: Decimal) -> None:
    assert typed(price=str(price)).price == price


@given(st.text(max_size=50))
def test_any_text_is_a_number_in_its_bounds_or_refused_in_one_line(text: str) -> None:
    try:
        util = typed(util=text).util
    except PlanError as exc:
        refused = exc.message
        util = 1
    else:
        refused = ""

    assert 0 < util <= 1
    assert "\n" not in refused
