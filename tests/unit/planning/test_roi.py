"""When what saves money has paid for itself: from figures, and from traffic."""

import random
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.planning.contract import NEVER, Context, PlanError
from gateway.planning.payoff import payback
from gateway.planning.payoff.roi import RoiInputs, plan, returned
from gateway.planning.traffic import Hour, Traffic
from gateway.planning.units import Money
from gateway.values import NanoUSD

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
NOV_21 = 1_795_219_200_000
TODAY = Context(today="2026-11-21")
USD: NanoUSD = 10**9

amounts = st.decimals("0.01", 10**6, places=2)
rates = st.floats(0, 1)


def values(answer):
    return {line.key: line.value for line in answer.lines}


def asked(**inputs):
    return values(plan(RoiInputs(**{"cost": Decimal(0)} | inputs), TODAY))


def hour(day, **changes):
    """At noon, so many days before the end."""
    usual = {
        "model": "small", "upstream": "local", "size": "small", "requests": 10, "input_tokens": 1000,
        "cached_input_tokens": 0, "output_tokens": 100, "cost": 1 * USD, "reference_cost": 4 * USD,
    }  # fmt: skip
    return Hour(start_ms=NOV_21 - day * DAY_MS + 12 * HOUR_MS, **(usual | changes))


def traffic(hours, *, days, cached=()):
    return Traffic(
        from_ms=NOV_21 - days * DAY_MS, to_ms=NOV_21, tenant=None, hours=tuple(hours), cached=tuple(cached),
        reference_model="far/large",
    )  # fmt: skip


def measured(traffic, **inputs):
    context = Context(today="2026-11-21", traffic=traffic)
    return plan(RoiInputs(**{"cost": Decimal(100), "from_ledger": True} | inputs), context)


@pytest.mark.parametrize(
    ("cost", "saving", "months", "known"),
    [
        (2000, 1000, 24, {"payback_months": 2.0, "npv": 19_670.85}),
        (28_000, 14_000, 12, {"payback_months": 2.0, "roi": 5.0, "npv": 131_243.12}),
    ],
)
def test_a_project_has_the_known_return(cost, saving, months, known):
    found = asked(cost=Decimal(cost), saving_month=Decimal(saving), months=months)

    assert {name: float(found[name]) for name in known} == pytest.approx(known, rel=1e-9)


def test_the_return_is_as_the_reference_arithmetic_says(golden):
    found = asked(cost=Decimal(28_000), saving_month=Decimal(14_000))

    assert found["payback_months"] == golden["roi"]["seed"]
    assert found["roi"] == golden["roi"]["roi12"]
    assert float(found["npv"]) == golden["roi"]["npv12"]


@pytest.mark.parametrize("run_cost", [1000, 1500])
def test_what_costs_as_much_as_it_saves_never_pays(run_cost):
    found = asked(cost=Decimal(2000), saving_month=Decimal(1000), run_cost_month=Decimal(run_cost))

    assert found["payback_months"] == found["discounted_payback_months"] == NEVER


def test_interest_may_eat_the_saving():
    found = asked(cost=Decimal(10_000), saving_month=Decimal(50), rate=0.10)

    assert found["payback_months"] == 200
    assert found["discounted_payback_months"] == NEVER


def test_what_costs_nothing_pays_at_once_and_has_no_return_on_its_cost():
    answer = plan(RoiInputs(cost=Decimal(0), saving_month=Decimal(5)), TODAY)

    assert values(answer)["payback_months"] == 0
    assert values(answer)["roi"] is None
    assert answer.headline.startswith("It pays at once")


def test_without_a_saving_there_is_nothing_to_tell():
    with pytest.raises(PlanError) as refused:
        asked()

    assert refused.value.param == "saving_month"


@given(cost=amounts, net=amounts, rate=rates)
def test_at_the_payback_what_was_saved_is_what_it_cost(cost, net, rate):
    found = returned(Money(cost), Money(net), months=12, rate=rate)

    assert found.payback * float(net) == pytest.approx(float(cost))
    step = rate / 12
    if found.discounted != float("inf") and step > 1e-6:
        worth = float(net) * (1 - (1 + step) ** -found.discounted) / step
        assert worth == pytest.approx(float(cost), rel=1e-6)
    assert found.discounted >= found.payback * (1 - 1e-9)


@given(cost=amounts, net=st.decimals(-(10**6), 10**6, places=2))
def test_it_never_pays_just_where_nothing_is_saved(cost, net):
    assert (payback.months(Money(cost), Money(net)) == float("inf")) == (net <= 0)


def test_the_ledgers_saving_is_the_baseline_less_what_was_spent():
    """Thirty days; each spends 1 where the reference had cost 4, and the cache spares another 2."""
    found = traffic(
        [hour(day) for day in range(1, 31)],
        days=30,
        cached=[hour(day, cost=0, reference_cost=2 * USD) for day in range(1, 31)],
    )

    lines = values(measured(found))

    month = Decimal(365) / 12
    assert float(lines["baseline_month"]) == pytest.approx(float(6 * month), abs=0.005)
    assert float(lines["spent_month"]) == pytest.approx(float(month), abs=0.005)
    assert float(lines["saved_by_routing_month"]) == pytest.approx(float(3 * month), abs=0.005)
    assert float(lines["saved_by_cache_month"]) == pytest.approx(float(2 * month), abs=0.005)
    assert lines["saved_share"] == pytest.approx(500 / 6)
    assert lines["payback_months"] == pytest.approx(100 / float(5 * month))


@given(costs=st.lists(st.tuples(st.integers(0, 10**10), st.integers(0, 10**10)), min_size=1, max_size=8))
def test_what_was_spent_and_saved_adds_up_to_the_baseline_to_the_cent(costs):
    hours = [hour(day, cost=cost, reference_cost=reference) for day, (cost, reference) in enumerate(costs, 1)]
    hits = [hour(1, cost=0, reference_cost=costs[0][1] // 3)]

    lines = values(measured(traffic(hours, days=8, cached=hits)))

    saved = lines["saved_by_routing_month"] + lines["saved_by_cache_month"]
    assert lines["spent_month"] + saved == lines["baseline_month"]
    assert saved == lines["saving_month"]


def test_days_that_are_all_alike_leave_no_doubt():
    lines = values(measured(traffic([hour(day) for day in range(1, 31)], days=30)))

    assert lines["saving_month_low"] == lines["saving_month_high"] == lines["saving_month"]


def test_days_that_differ_give_a_band_and_a_payback_with_two_ends():
    found = traffic([hour(day, reference_cost=(3 + day % 3) * USD) for day in range(1, 31)], days=30)

    lines = values(measured(found))

    assert lines["saving_month_low"] < lines["saving_month"] < lines["saving_month_high"]
    assert lines["payback_months_early"] < lines["payback_months"] < lines["payback_months_late"]


def test_the_band_holds_four_months_of_five():
    """Days of chance alone: thirty are seen, and the sum of thirty more is compared with the band."""

    chance = random.Random(11)
    held = 0
    for _ in range(200):
        days = [chance.gauss(100, 30) for _ in range(60)]
        found = traffic(
            [hour(day, reference_cost=0, cost=-round(days[day - 1] * USD)) for day in range(1, 31)], days=30
        )
        lines = values(measured(found))
        held += lines["saving_month_low"] <= sum(days[30:]) * 365 / 12 / 30 <= lines["saving_month_high"]

    assert 145 <= held <= 178


def test_less_than_a_week_has_no_band_and_says_so():
    answer = measured(traffic([hour(1), hour(2)], days=3))

    assert "saving_month_low" not in values(answer)
    assert any("72 hours" in warning for warning in answer.warnings)


def test_own_models_are_free_in_the_ledger_and_not_in_life():
    answer = measured(traffic([hour(day, cost=0) for day in range(1, 31)], days=30))

    assert any("small" in warning and "run_cost_month" in warning for warning in answer.warnings)


def test_a_saving_needs_a_reference():
    found = traffic([hour(1)], days=30)

    with pytest.raises(PlanError) as refused:
        measured(Traffic(from_ms=found.from_ms, to_ms=found.to_ms, tenant=None, hours=found.hours))

    assert refused.value.param == "reference"


def test_a_ledger_with_nothing_in_it_is_refused():
    with pytest.raises(PlanError, match="nothing of the site from 2026-10-22 00:00 to 2026-11-21 00:00 UTC"):
        measured(traffic([], days=30))


def test_the_diagram_marks_when_it_is_paid():
    found = plan(RoiInputs(cost=Decimal(28_000), saving_month=Decimal(14_000)), TODAY)

    assert found.plot is not None
    assert (found.plot.series[0].y[0], found.plot.series[0].y[2]) == (-28_000, 0)
    assert [(mark.x, mark.y) for mark in found.plot.marks if mark.x is not None] == [(2.0, 0.0)]
