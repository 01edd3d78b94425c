"""How many own servers pay when the rest is paid by use."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.planning.cost import hybrid
from gateway.planning.payoff import replicas
from gateway.planning.payoff.replicas import Busy
from gateway.planning.traffic import Hour, Traffic
from gateway.planning.units import DAYS_PER_MONTH, HOURS_PER_MONTH, Hours, Money, TokensPerSecond

FIXED = Money(1200)
HOURLY = Money("4.10")
DAY = ((16, 2.0), (8, 6.0))
HOUR_MS = 3_600_000

needs = st.lists(st.tuples(st.floats(0.5, 24), st.floats(0.01, 40)), min_size=1, max_size=6)
amounts = st.decimals("0.01", 10_000, places=2).map(Money)


def busy(day, hourly=HOURLY):
    """Hours of a day that are alike, with how many servers they need."""
    return [
        Busy(hours=Hours(hours * DAYS_PER_MONTH), need=need, spend=hourly * (hours * DAYS_PER_MONTH * need))
        for hours, need in day
    ]


def cost(found, fixed, own):
    """Of so many own ones and the rest by use."""
    left = sum(float(each.spend.amount) * max(0.0, 1 - own / each.need) for each in found)
    return float(fixed.amount) * own + left


def test_replicas_pay_as_long_as_they_are_busy_for_long_enough():
    """1,200 a month against 4.10 an hour: from 292.68 hours on."""
    steps = replicas.shown(busy(DAY), FIXED)

    assert [(step.number, round(step.busy.value, 2), step.pays) for step in steps] == [
        (1, 730.0, True),
        (2, 730.0, True),
        (3, 243.33, False),
    ]
    assert hybrid.paying_hours(FIXED, HOURLY).value == pytest.approx(292.68292682926827)


def test_the_cost_with_each_number_of_own_replicas_is_as_known(golden):
    known = {0: 9976.67, 1: 8183.67, 2: 6390.67, 3: 6593.00, 4: 6795.33, 5: 6997.67, 6: 7200.00}

    found = {own: round(cost(busy(DAY), FIXED, own), 2) for own in known}

    assert found == known == {int(own): value for own, value in golden["hybrid"].items()}
    assert min(found, key=lambda own: found[own]) == replicas.paying(busy(DAY), FIXED)


@given(day=needs, fixed=amounts, hourly=amounts)
def test_the_number_that_pays_is_that_of_the_cheapest_mix(day, fixed, hourly):
    found = busy(day, hourly)

    own = replicas.paying(found, fixed)

    most = int(max(need for _, need in day)) + 1
    mix = hybrid.cheapest(lambda each: Money.of(cost(found, fixed, each)), range(most + 1))
    assert cost(found, fixed, own) == pytest.approx(cost(found, fixed, mix.own), rel=1e-9)


@given(day=needs, fixed=amounts, dearer=amounts)
def test_dearer_servers_are_bought_in_no_larger_number(day, fixed, dearer):
    assert replicas.paying(busy(day), fixed + dearer) <= replicas.paying(busy(day), fixed)


def test_a_huge_need_is_counted_at_once():
    found = [Busy(hours=Hours(HOURS_PER_MONTH), need=10.0**9, spend=Money(10**13))]

    assert replicas.paying(found, FIXED) == 10**9


def test_what_is_never_asked_buys_nothing():
    assert replicas.paying([], FIXED) == 0
    assert [step.pays for step in replicas.shown([], FIXED)] == [False]


def hour(start, tokens, cost):
    return Hour(
        start_ms=start * HOUR_MS, model="m", upstream="u", size="large", requests=1, input_tokens=tokens,
        cached_input_tokens=0, output_tokens=0, cost=cost,
    )  # fmt: skip


def test_own_tokens_that_cost_more_than_the_api_save_nothing():
    """A million tokens for 2 USD in one hour and for 1 USD in another; own ones cost 1.50."""
    hours = [hour(0, 1_000_000, 2 * 10**9), hour(1, 1_000_000, 10**9)]

    assert replicas.worth(hours, Money("1.5")) == {0: pytest.approx(0.5e9), HOUR_MS: 0.0}


def test_a_server_that_is_too_small_takes_its_share_of_the_hour():
    hours = [hour(0, 7_200_000, 4 * 10**9)]
    server = TokensPerSecond(1000)

    assert replicas.needs(hours, server) == {0: 2.0}
    assert replicas.avoided_by(1, hours, server, Money(0)) == {0: 2e9}


def test_traffic_is_told_as_hours_of_a_month():
    hours = (hour(0, 3_600_000, 10**9),)
    traffic = Traffic(from_ms=0, to_ms=73 * HOUR_MS, tenant=None, hours=hours)

    (found,) = replicas.busy_hours(traffic, hours, TokensPerSecond(1000), Money(0))

    assert (found.hours, found.need, found.spend) == (Hours(10), 1.0, Money(10))
