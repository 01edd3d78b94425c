"""Which rule drops a candidate, and what a caller is told when nothing is left."""

import pytest

from policies import constraints, document
from policies.contract import NoCandidateError
from tests.fixtures.routing import candidate, facts


def policy_with(rules: str):
    return document.parse(
        f"name: p\ndescription: d\nversion: 1\nobjective: {{kind: cheapest}}\nconstraints: {rules}",
        source="p.yaml",
    )


def rule_against(one, rules="{}", **about):
    with pytest.raises(NoCandidateError) as refused:
        policy_with(rules).decide(facts(**about), [one])
    return refused.value.dropped[0][1]


@pytest.mark.parametrize(
    ("one", "about", "rule"),
    [
        ({}, {"allowed_sizes": frozenset({"large"})}, "size"),
        (
            {"abilities": frozenset({"tools"})},
            {"needs": frozenset({"tools", "vision", "audio"})},
            "ability:audio",
        ),
        ({"context_window": 599}, {}, "context"),
        ({"context_window": 100}, {"output_tokens": None}, "context"),
        ({"max_output_tokens": 499}, {}, "output"),
        ({"worst_cost": 101}, {"budget": 100}, "budget"),
        ({"is_healthy": False}, {}, "health"),
    ],
)
def test_rules_that_always_hold(one, about, rule):
    assert rule_against(candidate(**one), **about) == rule


@pytest.mark.parametrize(
    ("one", "about"),
    [
        ({"context_window": 600}, {}),
        ({"context_window": 101}, {"output_tokens": None}),
        ({"max_output_tokens": 500}, {}),
        ({"worst_cost": 100}, {"budget": 100}),
    ],
)
def test_what_just_fits_is_allowed(one, about):
    assert policy_with("{}").decide(facts(**about), [candidate(**one)]).dropped == ()


@pytest.mark.parametrize(
    ("rules", "one", "rule"),
    [
        ("{sizes: [medium, large]}", {}, "sizes"),
        ("{models: {allow: ['llama-*']}}", {}, "models"),
        ("{models: {allow: ['*'], deny: ['sm?ll']}}", {}, "models"),
        ("{upstreams: {deny: [local, 'eu-*']}}", {}, "upstreams"),
        ("{min_p_good: 0.71}", {}, "min_p_good"),
        ("{min_p_good: 0}", {"p_good": float("nan")}, "min_p_good"),
        ("{max_expected_cost_usd: 0.000099999}", {}, "max_expected_cost_usd"),
    ],
)
def test_rules_of_a_document(rules, one, rule):
    assert rule_against(candidate(**one), rules) == rule


@pytest.mark.parametrize(
    "rules",
    [
        "{sizes: [small]}",
        "{models: {allow: [other, 'sm*'], deny: ['*xl']}}",
        "{upstreams: {allow: [local]}}",
        "{min_p_good: 0.7}",
        "{max_expected_cost_usd: 1e-4}",
    ],
)
def test_what_keeps_to_the_rules_of_a_document_is_allowed(rules):
    assert policy_with(rules).decide(facts(), [candidate("small")]).dropped == ()


def test_all_upstreams_down_fails_at_once_and_says_so():
    candidates = [candidate("small", is_healthy=False), candidate("large", is_healthy=False)]

    with pytest.raises(NoCandidateError) as refused:
        policy_with("{}").decide(facts(), candidates)

    assert constraints.decisive(refused.value.dropped) == constraints.HEALTH


def test_what_decided_is_the_rule_that_stopped_the_candidate_which_came_furthest():
    dropped = [("a", "ability:tools"), ("b", "budget"), ("c", "a plugin's own rule"), ("d", "size")]

    assert constraints.decisive(dropped) == "budget"
    assert constraints.decisive(dropped[:1]) == "ability:tools"
    assert constraints.decisive([]) is None
