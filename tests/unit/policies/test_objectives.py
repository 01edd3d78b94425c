"""Which candidate each objective puts first, and which one falls back."""

import math
from statistics import mean

import pytest

from policies.registry import Registry
from tests.fixtures.routing import candidate, facts, one_of_each_size

REGISTRY = Registry.load(entry_points=False)
THRESHOLD = REGISTRY.get("threshold")
ADEQUATE = REGISTRY.get("cheapest_adequate")


def chosen(policy, candidates, **about):
    return [one.id.removeprefix("local/") for one in policy.decide(facts(**about), candidates).candidates]


@pytest.mark.parametrize(
    ("complexity", "size"),
    [
        (0.0, "small"),
        (math.nextafter(0.3, 0), "small"),
        (0.3, "medium"),
        (0.5, "medium"),
        (math.nextafter(0.7, 0), "medium"),
        (0.7, "large"),
        (1.0, "large"),
    ],
)
def test_threshold_puts_a_complexity_on_the_border_into_the_larger_size(complexity, size):
    decision = THRESHOLD.decide(facts(complexity=complexity), one_of_each_size())

    assert decision.candidates[0].size == size
    assert decision.reason == f"threshold: complexity {complexity:.2f} wants {size}"


def test_threshold_under_even_complexity_costs_490_000_nano_dollars_at_83_5_percent():
    everywhere = [(step + 0.5) / 1000 for step in range(1000)]

    first = [THRESHOLD.decide(facts(complexity=c), one_of_each_size()).candidates[0] for c in everywhere]

    assert mean(one.expected_cost for one in first) == 490_000
    assert mean(one.p_good for one in first) == pytest.approx(0.835)


@pytest.mark.parametrize(
    ("available", "served"),
    [
        ("medium large cloud", "medium large"),
        ("small large cloud", "large cloud"),
        ("small cloud", "cloud small"),
        ("small", "small"),
    ],
)
def test_threshold_takes_the_next_larger_size_and_only_then_the_nearest_smaller(available, served):
    assert (
        chosen(THRESHOLD, [candidate(size) for size in available.split()], complexity=0.5) == served.split()
    )


def test_threshold_names_the_wanted_size_when_another_serves():
    candidates = [candidate("small"), candidate("large", is_healthy=False), candidate("cloud")]

    decision = THRESHOLD.decide(facts(complexity=0.82), candidates)

    assert decision.reason == "threshold: complexity 0.82 wants large; cloud is the nearest allowed"
    assert decision.dropped == (("local/large", "health"),)


def test_inside_a_size_the_cheapest_wins_then_the_less_busy_then_the_first_by_id():
    dear = candidate("dear", size="medium", expected_cost=2)
    busy = candidate("busy", size="medium", expected_cost=1, in_flight=3)
    idle_b = candidate("b", size="medium", expected_cost=1)
    idle_a = candidate("a", size="medium", expected_cost=1)

    assert chosen(THRESHOLD, [dear, busy, idle_b, idle_a]) == ["a", "b"]
    assert chosen(THRESHOLD, [dear, busy]) == ["busy", "dear"]


def test_cheapest_adequate_takes_the_cheapest_that_reaches_the_target():
    decision = ADEQUATE.decide(facts(), one_of_each_size())

    assert [one.model for one in decision.candidates] == ["medium", "large"]
    assert decision.reason == "cheapest_adequate: medium is the cheapest with P(good) 0.85 >= 0.8"


def test_cheapest_adequate_counts_a_candidate_exactly_at_the_target():
    assert (
        chosen(ADEQUATE, [candidate("large", p_good=0.9), candidate("small", p_good=0.8, expected_cost=1)])[0]
        == "small"
    )


def test_cheapest_adequate_takes_the_most_promising_when_none_reaches_the_target():
    candidates = [
        candidate("small", p_good=0.2),
        candidate("large", p_good=0.6),
        candidate("cloud", p_good=math.nan),
    ]

    decision = ADEQUATE.decide(facts(), candidates)

    assert [one.model for one in decision.candidates] == ["large", "small"]
    assert decision.reason == "cheapest_adequate: none reaches P(good) 0.8; large is the best with 0.60"


def test_a_named_model_is_served_by_its_cheapest_upstream_and_by_no_other_model():
    candidates = [
        candidate("m", upstream="dear", size="large", expected_cost=9),
        candidate("m", upstream="fair", size="large", expected_cost=5),
        candidate("m", upstream="down", size="large", expected_cost=1, is_healthy=False),
        candidate("other", size="large", expected_cost=0),
    ]

    decision = REGISTRY.named.decide(facts(requested="m", is_degraded=True), candidates)

    assert [one.id for one in decision.candidates] == ["fair/m", "dear/m"]
    assert decision.reason == "named: the caller asked for m; fair is its cheapest upstream"
    assert set(decision.dropped) == {("down/m", "health"), ("local/other", "model")}
