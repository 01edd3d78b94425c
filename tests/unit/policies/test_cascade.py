"""Which models a cascade asks, in which order, and when it is none."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import document
from policies.cascade import Cascade
from policies.composed import ComposedPolicy, Guards
from policies.contract import NoCandidateError
from policies.document import PolicyError
from policies.registry import Registry
from tests.fixtures.routing import any_candidates, any_facts, candidate, facts, one_of_each_size

LIBRARY = Registry.load(entry_points=False).get("cascade")
ADEQUATE = Registry.load(entry_points=False).get("cheapest_adequate")


def cascade(**settings):
    return ComposedPolicy(name="c", objective=Cascade(**settings), guards=Guards(max_attempts=5))


def steps(policy, candidates, **about):
    """The models that are asked as steps: those whose answers are weighed, and the one after them."""
    decision = policy.decide(facts(**about), candidates)
    weighed = len(decision.acceptance.thresholds) if decision.acceptance else 0
    return " ".join(one.model for one in decision.candidates[: weighed + 1])


def test_the_cheapest_is_weighed_first_and_the_cheapest_adequate_beyond_it_comes_last():
    decision = LIBRARY.decide(facts(), one_of_each_size())

    assert [one.model for one in decision.candidates] == ["small", "medium"]
    assert decision.acceptance.thresholds == (0.8,)
    assert decision.acceptance.seconds == (None,)
    assert decision.reason == (
        "cascade: small first, with P(good) 0.70; if its answer does not reach 0.8, medium with 0.85"
    )


def test_if_none_reaches_the_mark_the_most_promising_comes_last():
    assert steps(cascade(accept=0.99), one_of_each_size()) == "small cloud"


@pytest.mark.parametrize(
    ("most", "asked"), [(2, "small large"), (3, "small medium large"), (5, "small medium large")]
)
def test_so_many_models_are_asked_at_most(most, asked):
    candidates = [one for one in one_of_each_size() if one.model != "cloud"]

    assert steps(cascade(accept=0.9, max_steps=most), candidates) == asked


@pytest.mark.parametrize(("p_good", "asked"), [(0.2, "small large"), (0.19, "large")])
def test_a_model_that_promises_too_little_is_not_tried(p_good, asked):
    candidates = [
        candidate("small", expected_cost=1, p_good=p_good),
        candidate("large", expected_cost=100, p_good=0.95),
    ]

    assert steps(cascade(skip_below=0.2), candidates) == asked


def can_reach(**ceilings):
    """Facts that tell for each model how good its answer may be found at most; others as good as can be."""
    return lambda one, **_: ceilings.get(one.model, 1.0)


@pytest.mark.parametrize(("at_most", "asked"), [(0.8, "small medium"), (0.79, "medium large")])
def test_a_model_that_no_sign_of_its_answer_could_bring_to_the_mark_is_no_step(at_most, asked):
    assert steps(cascade(), one_of_each_size(), ceiling=can_reach(small=at_most)) == asked


def test_if_no_cheap_model_could_reach_the_mark_the_last_is_asked_at_once_and_the_reason_says_so():
    about = facts(ceiling=can_reach(small=0.75, medium=0.89))

    decision = cascade(accept=0.95).decide(about, one_of_each_size()[:3])

    assert decision.acceptance is None
    assert [one.model for one in decision.candidates] == ["large", "medium", "small"]
    assert decision.reason == (
        "c: large is the cheapest with P(good) 0.95 >= 0.95; "
        "could not reach 0.95: small (at most 0.75), medium (at most 0.89)"
    )


def test_the_reason_of_what_is_left_of_a_cascade_says_who_was_left_out():
    about = facts(ceiling=can_reach(small=0.75))

    assert cascade().decide(about, one_of_each_size()).reason == (
        "c: medium first, with P(good) 0.85; if its answer does not reach 0.8, large with 0.95; "
        "could not reach 0.8: small (at most 0.75)"
    )


@pytest.mark.parametrize(("at_most", "asked"), [(0.97, "small cloud"), (0.96, "cloud")])
def test_where_nobody_promises_the_mark_an_answer_may_still_be_served_that_is_found_as_good_as_the_last(
    at_most, asked
):
    ceiling = can_reach(small=at_most, medium=0.9, large=0.9)

    assert steps(cascade(accept=0.99), one_of_each_size(), ceiling=ceiling) == asked


def test_the_last_is_asked_whatever_its_answer_could_show():
    assert steps(cascade(), one_of_each_size(), ceiling=lambda *_, **__: 0.0) == "medium"


def test_who_promises_too_little_by_the_policy_itself_is_not_called_out_of_reach():
    about = facts(ceiling=can_reach(small=0.3))

    reason = cascade(skip_below=0.75).decide(about, one_of_each_size()).reason

    assert reason == "c: medium first, with P(good) 0.85; if its answer does not reach 0.8, large with 0.95"


@pytest.mark.parametrize("logprobs", [True, False])
@pytest.mark.parametrize(
    ("wanted", "second"), [(None, None), ("same", "small"), ("medium", "medium"), ("absent", None)]
)
def test_what_could_be_reached_is_by_the_signs_that_this_policy_lets_an_answer_show(wanted, second, logprobs):
    asked = {}

    def ceiling(one, *, second, asks_logprobs):
        asked[one.model] = (second.model if second else None, asks_logprobs)
        return 1.0

    cascade(second_sample=wanted, logprobs=logprobs).decide(facts(ceiling=ceiling), one_of_each_size())

    assert asked["small"] == (second, logprobs)


@pytest.mark.parametrize(
    ("budget", "asked"), [(1_400_000, "medium large"), (1_399_999, "large"), (999_999, "medium")]
)
def test_a_short_budget_shortens_what_is_left_as_ever(budget, asked):
    policy, ceiling = cascade(accept=0.9), can_reach(small=0.8)

    assert steps(policy, one_of_each_size(), budget=budget, ceiling=ceiling) == asked


@pytest.mark.parametrize(("cost", "asked"), [(70, "small large"), (71, "large")])
def test_a_try_that_costs_more_than_it_is_expected_to_save_is_not_made(cost, asked):
    candidates = [
        candidate("small", expected_cost=cost, p_good=0.7),
        candidate("large", expected_cost=100, p_good=0.95),
    ]

    assert steps(cascade(), candidates) == asked


def test_a_dearer_model_that_promises_no_more_is_no_step():
    candidates = [
        candidate("small", expected_cost=1, p_good=0.7),
        candidate("worse", size="medium", expected_cost=5, p_good=0.6),
        candidate("equal", size="medium", expected_cost=5, p_good=0.7),
    ]

    decision = cascade().decide(facts(), candidates)

    assert decision.acceptance is None
    assert decision.candidates[0].model == "small"


@pytest.mark.parametrize(("budget", "asked"), [(500, "small medium"), (499, "medium"), (399, "small")])
def test_a_budget_without_room_for_both_pays_for_one(budget, asked):
    candidates = [
        candidate("small", expected_cost=100, p_good=0.7),
        candidate("medium", expected_cost=400, p_good=0.85),
    ]

    assert steps(cascade(), candidates, budget=budget) == asked


def test_a_budget_without_room_for_three_pays_for_two():
    candidates = [one for one in one_of_each_size() if one.model != "cloud"]

    assert steps(cascade(accept=0.9, max_steps=3), candidates, budget=1_499_999) == "small large"


def test_a_single_step_is_what_cheapest_adequate_would_do():
    candidates = [
        candidate("small", p_good=0.9),
        candidate("dear", size="cloud", p_good=0.9, expected_cost=10**6),
    ]

    decision, plain = LIBRARY.decide(facts(), candidates), ADEQUATE.decide(facts(), candidates)

    assert decision.candidates == plain.candidates
    assert decision.acceptance is None


@pytest.mark.parametrize(
    ("wanted", "asked"), [(None, None), ("same", "local/small"), ("medium", "local/medium"), ("absent", None)]
)
def test_a_second_sample_comes_from_whom_the_policy_names_if_it_may_be_used(wanted, asked):
    decision = cascade(second_sample=wanted, accept=0.9).decide(facts(), one_of_each_size())

    [second] = decision.acceptance.seconds
    assert (second.id if second else None) == asked


@pytest.mark.fault("S17")
def test_a_second_sample_never_comes_from_a_model_that_a_rule_forbids():
    candidates = [*one_of_each_size(), candidate("ill", size="small", is_healthy=False)]

    decision = cascade(second_sample="ill").decide(facts(), candidates)

    assert decision.acceptance.seconds == (None,)


@pytest.mark.parametrize(
    ("settings", "calls"), [({}, 2), ({"max_steps": 3}, 3), ({"second_sample": "same", "max_steps": 3}, 5)]
)
def test_money_is_held_for_every_answer_that_may_be_asked_for(settings, calls):
    assert cascade(**settings).max_calls == calls


def test_other_policies_ask_for_one_answer():
    assert ADEQUATE.max_calls == 1


@settings(deadline=None, max_examples=200)
@given(given_facts=any_facts, candidates=any_candidates, reach=st.floats(0, 1))
def test_whatever_the_candidates_the_steps_rise_in_price_and_promise_and_fit_what_is_held(
    given_facts, candidates, reach
):
    given_facts = replace(given_facts, ceiling=lambda one, **_: min(1.0, one.p_good + reach))
    policy = cascade(max_steps=3, skip_below=0.0, second_sample="a")
    try:
        decision = policy.decide(given_facts, candidates)
    except NoCandidateError:
        return

    if decision.acceptance is None:
        return
    weighed = len(decision.acceptance.thresholds)
    asked = decision.candidates[: weighed + 1]
    assert 1 <= weighed <= 2
    assert len(asked) == weighed + 1
    assert [one.expected_cost for one in asked] == sorted(one.expected_cost for one in asked)
    promises = [one.p_good if 0 <= one.p_good <= 1 else 0 for one in asked]
    assert promises == sorted(set(promises))
    assert sum(one.worst_cost for one in asked) <= given_facts.budget
    for promise, one in zip(promises[:-1], asked, strict=False):
        assert given_facts.ceiling(one) >= min(0.8, promises[-1]) or promise == 0


DOCUMENT = """\
name: mine
description: d
version: 1
objective:
  kind: cascade
  accept: 0.9
  skip_below: 0
  max_steps: 3
  second_sample: org/tiny
  logprobs: false
  stream_wait_s: 3
guards:
  max_attempts: 3
"""


def test_a_document_says_it_all():
    policy = document.parse(DOCUMENT, source="mine.yaml")

    assert policy.objective == Cascade(
        accept=0.9, skip_below=0, max_steps=3, second_sample="org/tiny", logprobs=False, stream_wait_s=3
    )


def test_a_document_may_leave_all_of_it_out():
    policy = document.parse(
        "name: a\ndescription: d\nversion: 1\nobjective: {kind: cascade}\n", source="a.yaml"
    )

    assert policy.objective == Cascade()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("accept: 0.9", "accept: 90", "objective.accept: expected a number between 0 and 1"),
        ("max_steps: 3", "max_steps: 1", "objective.max_steps: expected a whole number between 2 and 5"),
        ("max_steps: 3", "max_steps: 4", "objective.max_steps: expected no more than `guards.max_attempts`"),
        ("org/tiny", "true", "objective.second_sample: expected text of 1 to 200 characters"),
        ("logprobs: false", "logprobs: 1", "objective.logprobs: expected true or false"),
        ("stream_wait_s: 3", "stream_wait_s: 0", "objective.stream_wait_s: expected a whole number between 1 and 600"),
    ],
)  # fmt: skip
def test_the_message_names_the_place_and_what_was_expected(old, new, message):
    with pytest.raises(PolicyError) as refused:
        document.parse(DOCUMENT.replace(old, new), source="mine.yaml")

    assert str(refused.value) == f"mine.yaml: {message}"
