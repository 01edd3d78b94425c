"""What the ledger adds to a break-even: which models would move, and what to buy for them."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.planning.contract import NEVER, Context, PlanError
from gateway.planning.payoff.breakeven import plan
from gateway.planning.payoff.breakeven_inputs import BreakevenInputs
from gateway.planning.traffic import Hour, Traffic

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
NOV_21 = 1_795_219_200_000
USD = 10**9
DAYS = 30
SERVER = {
    "server_gpus": 1, "server_price": Decimal(72_000), "kw_max": 0.0, "maintenance": 0.0, "own_fte": 0.0,
    "utilisation": 1.0, "tok_s": 1000.0, "gpu_price": Decimal(2),
}  # fmt: skip
"""1,200 a month each, all of it their price, for 3.6 million tokens an hour."""


def hour(day, at, *, servers=1.0, cost=4.10, **changes):
    """As many tokens as so many servers take in an hour; `cost` is of those of one."""
    usual = {"model": "large", "upstream": "far", "size": "large", "requests": 3600, "cached_input_tokens": 0}
    return Hour(
        start_ms=NOV_21 - (day + 1) * DAY_MS + at * HOUR_MS,
        input_tokens=round(2_400_000 * servers),
        output_tokens=round(1_200_000 * servers),
        cost=round(cost * servers * USD),
        **(usual | changes),
    )


def day_and_night(day, **changes):
    """Six servers' worth from 9 to 17, and two in other hours."""
    return [hour(day, at, servers=6 if 9 <= at < 17 else 2, **changes) for at in range(24)]


def month(**changes):
    return [one for day in range(DAYS) for one in day_and_night(day, **changes)]


def answered(hours, *, tenant=None, **inputs):
    traffic = Traffic(from_ms=NOV_21 - DAYS * DAY_MS, to_ms=NOV_21, tenant=tenant, hours=tuple(hours))
    context = Context(today="2026-11-21", traffic=traffic)
    return plan(BreakevenInputs(**(SERVER | {"from_ledger": True} | inputs)), context)


def lines(answer):
    return {line.key: line.value for line in answer.lines}


def rows(answer, key):
    (found,) = [table.rows for table in answer.tables if table.key == key]
    return found


def test_two_servers_pay_where_a_third_would_be_busy_for_too_few_hours():
    """All by the API 9,976.67 a month; two servers avoid 5,986.00 of it and cost 2,400."""
    answer = answered(month())

    found = lines(answer)
    assert found["spent_month"] == Decimal("9976.67")
    assert (found["servers"], found["servers_price"], found["saved_month"]) == (
        2,
        Decimal(144_000),
        Decimal("5986.00"),
    )
    assert found["servers_payback_months"] == pytest.approx(144_000 / 5_986)
    steps = rows(answer, "servers_one_by_one")
    assert [(step["server"], round(step["busy_h"], 2), step["pays"]) for step in steps] == [
        (1, 730.0, True),
        (2, 730.0, True),
        (3, 243.33, False),
    ]
    assert steps[0]["needed_h"] == pytest.approx(292.6829, abs=1e-4)


def test_days_that_are_all_alike_leave_no_doubt():
    found = lines(answered(month()))

    assert found["saved_month_low"] == found["saved_month_high"] == found["saved_month"]
    assert found["servers_payback_months_early"] == found["servers_payback_months_late"]


def test_days_that_differ_give_the_payback_two_ends():
    hours = [one for day in range(DAYS) for one in (day_and_night(day) if day % 3 else [])]

    found = lines(answered(hours))

    assert found["saved_month_low"] < found["saved_month"] < found["saved_month_high"]
    assert (
        found["servers_payback_months_early"]
        < found["servers_payback_months"]
        < found["servers_payback_months_late"]
    )


def test_idle_and_busy_hours_are_told():
    found = lines(answered([hour(day, at) for day in range(DAYS) for at in range(6)]))

    assert found["idle_percent"] == pytest.approx(75)
    assert found["busiest_tok_s"] == pytest.approx(1000)
    assert found["mean_tok_s"] == pytest.approx(250)
    assert found["mtok_month"] == pytest.approx(3.6 * 6 * 365 / 12)


def test_the_mix_and_the_price_are_those_that_were_paid():
    answer = answered(month())

    assert lines(answer)["api_blended"] == Decimal("1.138889")
    told = {each.name: each.value for each in answer.assumptions}
    assert told["traffic of"] == "the whole site"
    assert told["period from"] == "2026-10-22 00:00"


def test_people_are_paid_once_however_many_servers_there_are():
    """3,586 are left for people: 35,000 a year are less, and 48,000 more."""
    few = lines(answered(month(), own_fte=1.0, fte_price=Decimal(35_000)))
    many = answered(month(), own_fte=1.0, fte_price=Decimal(48_000))

    assert few["servers"] == 2
    assert (lines(many)["servers"], lines(many)["servers_payback_months"]) == (0, NEVER)
    assert "never pay" in many.headline
    assert "people" in many.headline


def test_traffic_that_costs_less_than_a_server_stays():
    answer = answered([hour(day, 12, servers=0.1) for day in range(DAYS)])

    assert lines(answer)["servers"] == 0
    assert rows(answer, "models")[0]["moves_percent"] == 0
    assert rows(answer, "buy")[0]["price_usd"] == 0
    assert "never pay: the first would avoid USD 12.47 a month" in answer.headline


def test_each_model_is_told_with_what_would_move():
    """The small one is free, and stays where it is."""
    hours = [*month(), *month(model="small", upstream="local", size="small", cost=0.0)]

    large, small = rows(answered(hours), "models")

    assert (large["model"], large["own_model"], large["spend_usd"]) == (
        "large",
        "llama-3-8b",
        Decimal("9976.67"),
    )
    assert large["moves_percent"] == pytest.approx(60)
    assert (small["model"], small["own_model"], small["moves_percent"]) == ("small", None, 0)


def test_a_model_alone_pays_from_a_load_or_never():
    """At 1.139 per million tokens 1,200 are reached by 1,053.66M of the 2,628M that a server takes."""
    cheap = month(model="cheap", cost=1.0)

    dear, cheap = rows(answered([*month(), *cheap]), "models")

    assert dear["alone_mtok"] == pytest.approx(1_053.66, abs=0.005)
    assert cheap["alone_mtok"] == NEVER


def test_sizes_are_told_one_by_one():
    hours = [*month(), *month(model="mini", size="medium", cost=1.0)]

    sizes = rows(answered(hours), "sizes")

    assert [(row["size"], row["spend_usd"]) for row in sizes] == [
        ("large", Decimal("9976.67")),
        ("medium", Decimal("2433.33")),
    ]


def test_only_what_is_named_is_replaced_and_by_what():
    hours = [*month(), *month(model="mini", size="medium", cost=1.0)]

    answer = answered(hours, tok_s=None, own=("medium=2000",))

    (bought,) = rows(answer, "buy")
    assert (bought["own_model"], bought["replaces"]) == ("2000", "far/mini")
    assert lines(answer)["spent_month"] == Decimal("2433.33")
    assert [row["own_model"] for row in rows(answer, "models")] == [None, "2000"]


def test_a_name_with_its_upstream_counts_before_a_model_and_a_size():
    hours = [*month(), *month(upstream="farther"), *month(model="other")]

    answer = answered(hours, own=("large=1000", "other=2000", "farther/large=3000"))

    assert {row["own_model"]: row["replaces"] for row in rows(answer, "buy")} == {
        "1000": "far/large",
        "2000": "far/other",
        "3000": "farther/large",
    }


def test_own_models_of_several_sizes_have_servers_of_their_own():
    hours = [*month(), *month(model="mini", size="medium", cost=2.05)]

    answer = answered(hours, own=("large=1000", "medium=2000"))

    assert [(row["own_model"], row["servers"]) for row in rows(answer, "buy")] == [("1000", 2), ("2000", 1)]
    assert lines(answer)["servers"] == 3


def test_without_saying_what_may_be_replaced_that_is_taken_for_granted_and_told():
    assert any("Taken for granted" in warning for warning in answered(month()).warnings)
    assert not any(
        "Taken for granted" in warning for warning in answered(month(), own=("large=1000",)).warnings
    )


def test_a_server_that_is_too_large_for_the_traffic_is_remarked():
    answer = answered([hour(day, at, servers=0.9, cost=40.0) for day in range(DAYS) for at in range(24)])

    assert lines(answer)["servers"] == 1
    assert any("does not fill one server" in warning for warning in answer.warnings)


@pytest.mark.parametrize("own", [("mini=1000",), ("large",), ("=1000",), ("large=0",), ("large=nobody-1b",)])
def test_a_replacement_that_is_none_is_refused(own):
    with pytest.raises(PlanError) as refused:
        answered(month(), own=own, tok_s=None)

    assert refused.value.param in ("own", "model")


def test_free_traffic_has_nothing_to_save():
    with pytest.raises(PlanError, match="nothing to save"):
        answered(month(cost=0.0))


def test_a_ledger_that_was_not_read_or_is_empty_is_refused():
    with pytest.raises(PlanError, match="nothing of the tenant 'acme'"):
        answered([], tenant="acme")
    with pytest.raises(PlanError, match="not read"):
        plan(BreakevenInputs(from_ledger=True), Context(today="2026-11-21"))


def test_three_days_have_no_band():
    traffic = Traffic(
        from_ms=NOV_21 - 3 * DAY_MS, to_ms=NOV_21, tenant=None, hours=tuple(one for day in range(3) for one in day_and_night(day))
    )  # fmt: skip
    answer = plan(BreakevenInputs(**SERVER, from_ledger=True), Context(today="2026-11-21", traffic=traffic))

    assert lines(answer)["spent_month"] == Decimal("9976.67")
    assert "spent_month_low" not in lines(answer)
    assert any("no band" in warning for warning in answer.warnings)


def test_the_diagrams_show_the_measured_load_and_when_servers_are_paid_for():
    load, months = answered(month()).plot, answered(month(), diagram="months").plot

    assert load is not None
    assert [mark.x for mark in load.marks if mark.text == "measured"] == [pytest.approx(8_760)]
    assert months is not None
    assert months.marks[0].x == pytest.approx(144_000 / 5_986)


loads = st.lists(st.floats(0.01, 8), min_size=24, max_size=24)


@given(loads=loads, cost=st.floats(0.1, 20))
def test_what_is_spent_is_what_servers_avoid_and_what_is_left(loads, cost):
    """To the cent: by the parts of the table, and by the month's lines."""
    hours = [hour(day, at, servers=need, cost=cost) for day in range(8) for at, need in enumerate(loads)]

    answer = answered(hours)

    (model,) = rows(answer, "models")
    (bought,) = rows(answer, "buy")
    assert model["moves_percent"] <= 100 + 1e-9
    moved = float(model["spend_usd"]) * model["moves_percent"] / 100
    assert float(bought["avoided_usd"]) == pytest.approx(moved, abs=0.02)


@given(cost=st.floats(0.5, 10), dearer=st.floats(0, 10))
def test_dearer_traffic_is_moved_to_no_fewer_servers(cost, dearer):
    few = lines(answered(day_and_night(1, cost=cost)))["servers"]

    assert lines(answered(day_and_night(1, cost=cost + dearer)))["servers"] >= few
