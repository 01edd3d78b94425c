"""P(good) after an answer: what may move it, which way, and how far."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.scoring.contract import Answer, AnswerSignals, Asked, Prompt
from gateway.scoring.deferral import UNTOLD, AnswerDeferral

DEFERRAL = AnswerDeferral()
LOOP = "so the price is the price of the price and " * 60

shares = st.floats(0, 1)
logprobs = st.floats(-50, 0)
signals_of = st.builds(
    AnswerSignals,
    finish_reason=st.sampled_from(["stop", "length", "tool_calls", "content_filter", ""]),
    answer_chars=st.integers(0, 10**7),
    mean_logprob=st.none() | logprobs,
    min_logprob=st.none() | logprobs,
    agreement=st.none() | shares,
    has_ceiling=st.booleans(),
    second_p_good=st.none() | shares,
    has_result=st.booleans(),
    is_looping=st.booleans(),
)
texts = st.text(max_size=200) | st.text("{}[]\"'`(A)B.,:1/0\\boxed answer is\n# 答案是我无法", max_size=200)
answers = st.builds(
    Answer,
    text=texts,
    finish_reason=st.sampled_from(["stop", "length", ""]),
    calls=st.lists(texts, max_size=2).map(tuple),
    logprobs=st.lists(logprobs, max_size=3).map(tuple),
)


def asked(user: str = "Which?", *, wants_json: bool = False, **fields: object) -> Asked:
    prompt = Prompt(
        system="", user=user, history="", turns=1, has_tools=False, has_images=False, wants_json=wants_json
    )
    return Asked(prompt=prompt, size="small", complexity=0.5, **fields)  # type: ignore[arg-type] # of a test


def said(text: str = "", *, finish_reason: str = "stop", **fields: object) -> Answer:
    return Answer(text=text, finish_reason=finish_reason, **fields)  # type: ignore[arg-type] # of a test


def after(prior: float, answer: Answer, second: Answer | None = None, where: Asked | None = None) -> float:
    return DEFERRAL.updated(prior, DEFERRAL.signals(where or asked(), answer, second))


@given(shares, signals_of)
def test_it_is_a_probability(prior: float, signals: AnswerSignals) -> None:
    assert 0 <= DEFERRAL.updated(prior, signals) <= 1


@given(shares, signals_of, st.sampled_from(["is_empty", "is_refusal", "is_valid_json"]))
def test_a_failed_answer_never_raises_it(prior: float, signals: AnswerSignals, failure: str) -> None:
    failed = msgspec.structs.replace(signals, **{failure: failure != "is_valid_json"})

    assert DEFERRAL.updated(prior, failed) <= prior


@given(shares, signals_of)
def test_what_was_cut_short_is_worth_no_more_than_the_same_had_it_ended(
    prior: float, signals: AnswerSignals
) -> None:
    ended = msgspec.structs.replace(signals, finish_reason="stop")
    cut = msgspec.structs.replace(signals, finish_reason="length")

    assert DEFERRAL.updated(prior, cut) <= DEFERRAL.updated(prior, ended) + 1e-12


@given(shares, signals_of, shares, shares)
def test_more_agreement_never_lowers_it(
    prior: float, signals: AnswerSignals, one: float, other: float
) -> None:
    less, more = (
        DEFERRAL.updated(prior, msgspec.structs.replace(signals, agreement=value))
        for value in sorted((one, other))
    )

    assert less <= more + 1e-12


@given(shares, signals_of, logprobs, logprobs)
def test_more_certainty_never_lowers_it(
    prior: float, signals: AnswerSignals, one: float, other: float
) -> None:
    less, more = (
        DEFERRAL.updated(prior, msgspec.structs.replace(signals, mean_logprob=value, agreement=None))
        for value in sorted((one, other))
    )

    assert less <= more + 1e-12


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99), signals_of)
def test_a_better_promise_is_never_worth_less(one: float, other: float, signals: AnswerSignals) -> None:
    less, more = sorted((one, other))

    assert DEFERRAL.updated(less, signals) <= DEFERRAL.updated(more, signals) + 1e-9


@given(shares, signals_of, st.booleans(), st.none() | shares)
def test_no_sign_whatever_lifts_it_over_its_ceiling(
    prior: float, signals: AnswerSignals, has_logprobs: bool, second: float | None
) -> None:
    possible = msgspec.structs.replace(
        signals,
        mean_logprob=signals.mean_logprob if has_logprobs else None,
        agreement=None if second is None else signals.agreement,
        second_p_good=second,
    )

    ceiling = DEFERRAL.ceiling(prior, has_logprobs=has_logprobs, second=second)

    assert DEFERRAL.updated(prior, possible) <= ceiling + 1e-12
    assert prior - 1e-12 <= ceiling <= 1


@given(st.floats(0.01, 0.99), shares)
def test_each_kind_of_sign_raises_the_ceiling(prior: float, second: float) -> None:
    own = DEFERRAL.ceiling(prior, has_logprobs=False, second=None)

    assert prior < own < DEFERRAL.ceiling(prior, has_logprobs=True, second=None)
    assert own <= DEFERRAL.ceiling(prior, has_logprobs=False, second=second)


def test_the_ceiling_can_be_reached() -> None:
    answer = said("(B)", logprobs=(-0.001,))

    assert after(0.6, answer, said("(B)"), asked(second_p_good=0.7)) == DEFERRAL.ceiling(
        0.6, has_logprobs=True, second=0.7
    )
    assert after(0.6, said("(B)")) == DEFERRAL.ceiling(0.6, has_logprobs=False, second=None)


@given(shares)
def test_without_any_sign_it_stays_as_it_was(prior: float) -> None:
    assert (
        after(prior, said("Some words that commit themselves to nothing in particular, at length.")) == prior
    )
    assert (
        DEFERRAL.updated(prior, AnswerSignals(finish_reason="stop", answer_chars=9, agreement=UNTOLD))
        == prior
    )


@given(
    texts, answers, st.none() | answers, st.booleans(), st.none() | st.dictionaries(texts, st.none() | texts)
)
def test_no_text_makes_it_raise(
    user: str, answer: Answer, second: Answer | None, wants_json: bool, schema: dict[str, object] | None
) -> None:
    signals = DEFERRAL.signals(asked(user, wants_json=wants_json, schema=schema), answer, second)

    assert 0 <= DEFERRAL.updated(0.7, signals) <= 1
    assert signals.agreement is None or 0 <= signals.agreement <= 1


def test_a_lone_surrogate_is_only_a_character() -> None:
    assert 0 <= after(0.7, said("\ud800" * 2000, finish_reason="length"), said("\udfff")) <= 1


@pytest.mark.parametrize("text", ["", "  \n\t", "\u200b", "\ufeff "])
def test_an_answer_of_nothing_is_hopeless(text: str) -> None:
    assert after(0.9, said(text)) <= 0.05


def test_an_answer_that_is_still_being_written_is_not_empty() -> None:
    assert after(0.9, said("", finish_reason="")) == 0.9


def test_a_tool_call_without_words_is_an_answer() -> None:
    assert after(0.9, said("", finish_reason="tool_calls", calls=('{"city": "Paris"}',))) == 0.9


def test_a_call_whose_arguments_are_broken_is_hopeless() -> None:
    assert after(0.9, said("", finish_reason="tool_calls", calls=('{"city": "Par',))) <= 0.05


def test_a_custom_tool_may_be_given_any_text() -> None:
    assert after(0.9, said("", finish_reason="tool_calls", calls=("SELECT 1", ""))) == 0.9


def test_the_upstream_s_own_word_that_the_model_declined_counts() -> None:
    assert after(0.9, said("No.", is_refusal=True)) <= 0.1


def test_an_answer_cut_short_by_the_house_is_worth_less() -> None:
    assert after(0.8, said("It begins", finish_reason="length")) < 0.5


def test_the_caller_s_own_ceiling_is_no_fault_of_the_answer() -> None:
    where = asked(has_ceiling=True)

    assert after(0.8, said("It begins", finish_reason="length"), where=where) == 0.8


def test_but_going_round_in_circles_up_to_it_is() -> None:
    where = asked(has_ceiling=True)

    assert after(0.8, said(LOOP, finish_reason="length"), where=where) < 0.5


@pytest.mark.parametrize(
    "text", ["Here you are: {}", "[1]", "3", "```json\n{}\n```", "{'a': 1}", '{"a": NaN}', "{" * 9999]
)
def test_what_is_no_json_object_is_hopeless_where_one_was_asked_for(text: str) -> None:
    assert after(0.9, said(text), where=asked(wants_json=True)) <= 0.05


SCHEMA = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string"},
        "age": {"type": ["integer", "null"]},
        "ok": {"type": "boolean"},
    },
}


@pytest.mark.parametrize(
    ("value", "is_valid"),
    [
        ({"name": "Ada"}, True),
        ({"name": "Ada", "age": None, "ok": True}, True),
        ({"name": "Ada", "other": 1}, True),
        ({}, False),
        ({"name": 3}, False),
        ({"name": "Ada", "age": True}, False),
        ({"name": "Ada", "ok": "yes"}, False),
        ([], False),
    ],
)
def test_a_schema_s_outermost_keys_and_types_are_looked_at(value: object, is_valid: bool) -> None:
    signals = DEFERRAL.signals(asked(wants_json=True, schema=SCHEMA), said(json.dumps(value)), None)

    assert signals.is_valid_json is is_valid


@pytest.mark.parametrize("schema", [{"type": "array"}, {"type": ["array", "object"]}, {}, {"type": "other"}])
def test_a_schema_may_ask_for_something_else_than_an_object(schema: dict[str, object]) -> None:
    signals = DEFERRAL.signals(asked(wants_json=True, schema=schema), said("[1]"), None)

    assert signals.is_valid_json is True


def test_a_second_answer_that_says_the_same_raises_it_and_another_lowers_it() -> None:
    first = said("6 times 7 is 42. The answer is (C).")

    same = after(0.6, first, said("(C)"))
    other = after(0.6, first, said("I get 48, so the answer is (D)."))

    assert same > 0.7
    assert other < 0.45


def test_agreement_with_a_better_model_says_more() -> None:
    first, second, third = said("The answer is 4."), said("The answer is 4."), said("The answer is 5.")
    weak, strong = asked(second_p_good=0.4), asked(second_p_good=0.9)

    assert after(0.6, first, second, strong) > after(0.6, first, second, weak)
    assert after(0.6, first, third, strong) < after(0.6, first, third, weak)


@pytest.mark.parametrize("second", ["", "I'm sorry, but I can't help with that."])
def test_a_second_that_says_nothing_changes_nothing(second: str) -> None:
    first = said("The answer is 4.")

    assert after(0.6, first, said(second)) == after(0.6, first)


def test_a_result_that_is_stated_is_worth_a_little_more_than_words() -> None:
    assert 0.6 < after(0.6, said("The answer is (B).")) < 0.65


def test_certainty_counts_where_the_answer_commits_itself() -> None:
    sure, unsure = (-0.01, -0.05), (-0.9, -1.4)

    assert after(0.6, said("Paris", logprobs=sure)) > 0.6 > after(0.6, said("Paris", logprobs=unsure))
    assert (
        after(0.6, said("Once upon a time there was a girl who loved long sentences.", logprobs=unsure))
        == 0.6
    )


def test_a_long_way_to_a_result_lowers_it_and_a_long_story_does_not() -> None:
    words = " ".join(f"word{n}" for n in range(300))

    assert after(0.6, said(f"{words} The answer is (B).")) < 0.6
    assert after(0.6, said(words)) == 0.6
