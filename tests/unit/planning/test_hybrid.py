"""Own replicas for what is always needed, rented ones for the rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.planning.hybrid import Need, hours_needed, mix, paying_hours
from gateway.planning.units import Hours, Money

DAYS = 365 / 12
NEEDS = (Need(hours=Hours(16 * DAYS), replicas=2), Need(hours=Hours(8 * DAYS), replicas=6))
FIXED, HOURLY = Money(1_200), Money("4.10")
KNOWN = [9_976.67, 8_183.67, 6_390.67, 6_593.00, 6_795.33, 6_997.67, 7_200.00]

needs = st.lists(
    st.builds(Need, hours=st.floats(1, 300).map(Hours), replicas=st.integers(0, 12)), min_size=1, max_size=6
)
amounts = st.decimals("0.01", 10_000, places=2).map(Money)


def test_each_mix_costs_what_is_known():
    found = mix(NEEDS, fixed=FIXED, hourly=HOURLY)

    assert [round(float(cost.amount), 2) for cost in found.costs.values()] == KNOWN
    assert found.own == 2


def test_mixes_agree_with_the_reference(golden):
    found = mix(NEEDS, fixed=FIXED, hourly=HOURLY)

    for own, cost in golden["hybrid"].items():
        assert float(found.costs[int(own)].amount) == pytest.approx(cost, abs=0.0051)
    assert paying_hours(FIXED, HOURLY).value == pytest.approx(golden["hybrid_threshold_h"])


def test_a_replica_pays_from_the_known_hours_on():
    assert paying_hours(FIXED, HOURLY).value == pytest.approx(292.68, abs=0.005)
    assert hours_needed(NEEDS, 2).value == pytest.approx(730)
    assert hours_needed(NEEDS, 3).value == pytest.approx(243.33, abs=0.005)


def test_nothing_beats_what_is_rented_for_nothing():
    assert paying_hours(FIXED, Money(0)) == Hours(float("inf"))
    assert mix(NEEDS, fixed=FIXED, hourly=Money(0)).own == 0


@given(needs, amounts, amounts)
def test_a_mix_is_never_dearer_than_renting_all_or_owning_all(several, fixed, hourly):
    found = mix(several, fixed=fixed, hourly=hourly)

    most = max(found.costs)
    assert found.costs[found.own] <= min(found.costs[0], found.costs[most])


@given(needs, amounts, amounts)
def test_a_replica_is_bought_if_it_is_needed_longer_than_it_takes_to_pay(several, fixed, hourly):
    """Up to the rounding of a float, where both cost the same."""
    found = mix(several, fixed=fixed, hourly=hourly)

    pays = paying_hours(fixed, hourly).value
    for replica in range(1, max(found.costs) + 1):
        needed = hours_needed(several, replica).value
        if abs(needed - pays) > 1e-6 * pays:
            assert (replica <= found.own) == (needed > pays)
