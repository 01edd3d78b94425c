"""What a policy does when the queue is long: pass over, never drop."""

from dataclasses import replace

import pytest
from hypothesis import given, settings

from policies import document
from policies.cascade import Cascade
from policies.cheapest import Cheapest
from policies.composed import ComposedPolicy, Guards
from policies.contract import NoCandidateError
from policies.registry import Registry
from tests.fixtures.routing import any_candidates, any_facts, candidate, facts

REGISTRY = Registry.load(entry_points=False)
BURST, BROWNOUT = REGISTRY.get("burst"), REGISTRY.get("brownout")


def policy(**guards):
    return ComposedPolicy(name="p", objective=Cheapest(), guards=Guards(**guards))


def chosen(given_policy, *candidates, **about):
    return [one.model for one in given_policy.decide(facts(**about), candidates).candidates]


def local(queued, **changes):
    return candidate("medium", queued=queued, p_good=0.85, expected_cost=1, **changes)


CLOUD = candidate("cloud", upstream="cloud", p_good=0.97, expected_cost=100)


@pytest.mark.parametrize(
    ("queued", "first"), [(None, "medium"), (0.0, "medium"), (4.0, "medium"), (4.5, "cloud"), (5.0, "cloud")]
)
def test_burst_goes_to_the_cloud_when_more_than_four_wait_here_and_comes_back(queued, first):
    assert chosen(BURST, local(queued), CLOUD)[0] == first


def test_whom_it_passes_over_stands_in_and_the_reason_says_why():
    decision = BURST.decide(facts(), [local(23.0), CLOUD])

    assert [one.model for one in decision.candidates] == ["cloud", "medium"]
    assert decision.dropped == ()
    assert decision.reason == (
        "burst: cloud is the cheapest with P(good) 0.97 >= 0.8; passed over: medium (23 waiting)"
    )


@pytest.mark.parametrize(
    "about",
    [{"allowed_sizes": frozenset({"small", "medium"})}, {"budget": 99}, {"needs": frozenset({"seed"})}],
    ids=["plan", "budget", "ability"],
)
def test_who_may_not_use_the_cloud_waits_here(about):
    here = local(23.0, abilities=frozenset({"seed"}))

    assert chosen(BURST, here, CLOUD, **about) == ["medium"]


def test_sensitive_data_stays_here_however_long_the_line_is_and_fails_rather_than_leave():
    sensitive = document.parse(
        "name: s\ndescription: d\nversion: 1\nconstraints: {upstreams: {allow: [local]}}\n"
        "objective: {kind: cheapest}\nguards: {max_queued: 0}\n",
        source="s.yaml",
    )

    assert chosen(sensitive, local(1000.0), CLOUD) == ["medium"]
    with pytest.raises(NoCandidateError):
        sensitive.decide(facts(), [local(1000.0, is_healthy=False), CLOUD])


def test_a_line_of_a_batch_waits_here_because_nobody_waits_for_it():
    assert chosen(BURST, local(1000.0), CLOUD, is_background=True)[0] == "medium"


def test_where_everyone_has_a_line_the_objective_decides_as_ever():
    assert chosen(BURST, local(9.0), replace(CLOUD, queued=5.0)) == ["medium", "cloud"]


@pytest.mark.parametrize(
    ("medium", "large", "first"),
    [(0.0, 0.0, "medium"), (9.0, 0.0, "large"), (9.0, 9.0, "small"), (None, 9.0, "medium")],
)
def test_brownout_takes_a_larger_model_with_room_then_a_smaller_and_never_the_cloud(medium, large, first):
    candidates = [
        candidate("small", upstream="s", p_good=0.7, expected_cost=1, queued=0.0),
        candidate("medium", upstream="m", p_good=0.85, expected_cost=2, queued=medium),
        candidate("large", upstream="l", p_good=0.95, expected_cost=3, queued=large),
        CLOUD,
    ]

    decision = BROWNOUT.decide(facts(), candidates)

    assert decision.candidates[0].model == first
    assert all(one.model != "cloud" for one in decision.candidates)


@pytest.mark.parametrize(("kv_use", "first"), [(None, "medium"), (0.9, "medium"), (0.91, "cloud")])
def test_a_full_memory_is_a_reason_too(kv_use, first):
    assert chosen(policy(max_kv_use=0.9), local(0.0, kv_use=kv_use), CLOUD)[0] == first


def test_a_cascade_climbs_over_those_that_have_room_and_the_others_stand_in():
    cascade = ComposedPolicy(name="c", objective=Cascade(), guards=Guards(max_queued=4, max_attempts=3))
    small = candidate("small", p_good=0.7, expected_cost=1, queued=9.0)
    large = candidate("large", p_good=0.95, expected_cost=10, queued=0.0)

    decision = cascade.decide(facts(), [small, large, CLOUD])

    assert [one.model for one in decision.candidates] == ["large", "cloud", "small"]
    assert decision.acceptance.thresholds == (0.8,)


def test_without_the_guard_nobody_looks_at_queues():
    assert chosen(policy(), local(1e9, kv_use=1.0), CLOUD)[0] == "medium"


@settings(deadline=None)
@given(given_facts=any_facts, candidates=any_candidates)
def test_the_guard_changes_the_order_and_nothing_else(given_facts, candidates):
    def outcome(guards):
        try:
            decided = policy(max_attempts=10, **guards).decide(given_facts, candidates)
        except NoCandidateError as error:
            return set(error.dropped)
        return set(decided.dropped), set(decided.candidates)

    assert outcome({"max_queued": 4, "max_kv_use": 0.5}) == outcome({})
