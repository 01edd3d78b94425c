"""What every policy keeps to, whatever it prefers. The author of a plugin adds it to `POLICIES` and runs this."""

import pytest
from hypothesis import given, settings

from policies.contract import Candidate, Decision, Facts, NoCandidateError, Policy
from policies.registry import Registry
from tests.fixtures.routing import any_candidates, any_facts, candidate, facts, one_of_each_size

_REGISTRY = Registry.load(entry_points=False)
POLICIES = [*(_REGISTRY.get(name) for name in _REGISTRY.names), _REGISTRY.named]

_examples = settings(deadline=None, max_examples=60)  # no deadline: a busy machine is not a fault

pytestmark = pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)


def _decide(policy: Policy, given_facts: Facts, candidates: list[Candidate]) -> Decision | NoCandidateError:
    try:
        return policy.decide(given_facts, candidates)
    except NoCandidateError as error:
        return error


def _may_serve(given_facts: Facts, one: Candidate) -> bool:
    """The rules that always hold, said once more in other words."""
    return all(
        (
            one.size in given_facts.allowed_sizes,
            all(need in one.abilities for need in given_facts.needs),
            one.context_window - given_facts.input_tokens >= (given_facts.output_tokens or 1),
            one.max_output_tokens >= (given_facts.output_tokens or 0),
            one.worst_cost <= given_facts.budget,
            one.is_healthy,
        )
    )


@_examples
@given(given_facts=any_facts, candidates=any_candidates)
def test_chosen_are_some_of_the_given_each_once_and_at_most_two(policy, given_facts, candidates):
    decision = _decide(policy, given_facts, candidates)

    chosen = decision.candidates if isinstance(decision, Decision) else ()
    assert len(set(chosen)) == len(chosen) <= 2
    assert all(one in candidates for one in chosen)
    assert isinstance(decision, NoCandidateError) or chosen


@pytest.mark.fault("S17")
@_examples
@given(given_facts=any_facts, candidates=any_candidates)
def test_no_candidate_is_chosen_that_a_rule_forbids(policy, given_facts, candidates):
    decision = _decide(policy, given_facts, candidates)

    chosen = decision.candidates if isinstance(decision, Decision) else ()
    assert all(_may_serve(given_facts, one) for one in chosen)


@_examples
@given(given_facts=any_facts, candidates=any_candidates)
def test_every_candidate_that_may_not_be_used_is_reported_once_with_its_rule(policy, given_facts, candidates):
    decision = _decide(policy, given_facts, candidates)

    reported = [candidate_id for candidate_id, rule in decision.dropped if rule]
    forbidden = {one.id for one in candidates if not _may_serve(given_facts, one)}
    assert len(set(reported)) == len(reported) == len(decision.dropped)
    assert forbidden <= set(reported) <= {one.id for one in candidates}


@_examples
@given(given_facts=any_facts, candidates=any_candidates)
def test_the_same_facts_give_the_same_decision_in_whatever_order_they_come(policy, given_facts, candidates):
    first = _decide(policy, given_facts, candidates)
    second = _decide(policy, given_facts, candidates[::-1])

    assert set(first.dropped) == set(second.dropped)
    assert getattr(first, "candidates", None) == getattr(second, "candidates", None)
    assert getattr(first, "reason", None) == getattr(second, "reason", None)


@pytest.mark.parametrize("complexity", [0.0, 0.5, 1.0, float("nan")])
def test_the_reason_is_one_readable_line_that_begins_with_the_policy(policy, complexity):
    decision = policy.decide(facts(requested="large", complexity=complexity), one_of_each_size())

    assert decision.policy == policy.name
    assert decision.reason.startswith(f"{policy.name}: ")
    assert decision.reason.isprintable()
    assert len(decision.reason) < 200


@pytest.mark.fault("S16")
@pytest.mark.parametrize(
    "failed",
    [{"is_degraded": True, "complexity": 0.99}, {"complexity": float("nan")}, {"complexity": float("inf")}],
    ids=["degraded", "nan", "inf"],
)
def test_a_failed_score_never_buys_a_dear_model(policy, failed):
    candidates = [candidate("m", upstream=str(size), size=size, expected_cost=cost) for size, cost in _PRICED]

    decision = policy.decide(facts(requested="m", **failed), candidates)

    assert [one.expected_cost for one in decision.candidates] == [1, 2]


_PRICED = (("cloud", 4), ("large", 3), ("medium", 2), ("small", 1))
