"""Own ones for what is always needed, rented ones for the rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.planning.cost.hybrid import cheapest, paying_hours
from gateway.planning.units import Hours, Money

DAYS = 365 / 12
NEEDS = ((16 * DAYS, 2), (8 * DAYS, 6))
"""Hours of a month, and how many are needed in them."""
FIXED, HOURLY = Money(1_200), Money("4.10")
KNOWN = [9_976.67, 8_183.67, 6_390.67, 6_593.00, 6_795.33, 6_997.67, 7_200.00]

needs = st.lists(st.tuples(st.floats(1, 300), st.integers(0, 12)), min_size=1, max_size=6)
amounts = st.decimals("0.01", 10_000, places=2).map(Money)


def mix(several, fixed, hourly):
    def cost(own):
        return fixed * own + hourly * sum(hours * max(0, needed - own) for hours, needed in several)

    return cheapest(cost, range(max(needed for _, needed in several) + 1))


def test_each_mix_costs_what_is_known():
    found = mix(NEEDS, FIXED, HOURLY)

    assert [round(float(cost.amount), 2) for cost in found.costs.values()] == KNOWN
    assert found.own == 2


def test_mixes_agree_with_the_reference(golden):
    found = mix(NEEDS, FIXED, HOURLY)

    for own, cost in golden["hybrid"].items():
        assert float(found.costs[int(own)].amount) == pytest.approx(cost, abs=0.0051)
    assert paying_hours(FIXED, HOURLY).value == pytest.approx(golden["hybrid_threshold_h"])


def test_one_more_pays_from_the_known_hours_on():
    assert paying_hours(FIXED, HOURLY).value == pytest.approx(292.68, abs=0.005)


def test_nothing_beats_what_is_rented_for_nothing():
    assert paying_hours(FIXED, Money(0)) == Hours(float("inf"))
    assert mix(NEEDS, FIXED, Money(0)).own == 0


def test_among_equals_the_one_that_buys_least_is_taken():
    assert cheapest(lambda own: Money(5), (3, 1, 2)).own == 1


@given(needs, amounts, amounts)
def test_a_mix_is_never_dearer_than_renting_all_or_owning_all(several, fixed, hourly):
    found = mix(several, fixed, hourly)

    assert found.costs[found.own] <= min(found.costs[0], found.costs[max(found.costs)])


@given(needs, amounts, amounts)
def test_what_is_needed_longer_than_it_takes_to_pay_is_bought(several, fixed, hourly):
    """Up to the rounding of a float, where both cost the same."""
    found = mix(several, fixed, hourly)

    pays = paying_hours(fixed, hourly).value
    for number in range(1, max(found.costs) + 1):
        hours = sum(each for each, needed in several if needed >= number)
        if abs(hours - pays) > 1e-6 * pays:
            assert (number <= found.own) == (hours > pays)
