"""What plain rules make of an answer."""

import pytest

from gateway.scoring.contract import Answer, Asked, Prompt
from gateway.scoring.rules import RuleDeferral

RULES = RuleDeferral()


def worth(answer: Answer, second: Answer | None = None, *, wants_json=False, has_ceiling=False) -> float:
    prompt = Prompt(
        system="", user="Hello", history="", turns=1, has_tools=False, has_images=False, wants_json=wants_json
    )
    asked = Asked(prompt=prompt, size="small", complexity=0.5, has_ceiling=has_ceiling)
    return RULES.updated(0.7, RULES.signals(asked, answer, second))


def said(text="Paris", finish_reason="stop", **more) -> Answer:
    return Answer(text=text, finish_reason=finish_reason, **more)


def test_an_answer_that_says_nothing_of_itself_changes_nothing():
    assert worth(said()) == pytest.approx(0.7)


@pytest.mark.parametrize(
    "answer", [said(" "), said(is_refusal=True), said("", calls=('{"city": ',), finish_reason="tool_calls")]
)
def test_nothing_a_refusal_and_a_broken_call_are_worth_nothing(answer):
    assert worth(answer) == 0.02


@pytest.mark.parametrize(("text", "is_worth_it"), [('{"a": 1}', True), ("Sure! {", False)])
def test_json_that_was_asked_for_has_to_be_json(text, is_worth_it):
    assert (worth(said(text), wants_json=True) > 0.5) is is_worth_it
    assert worth(said(text)) == pytest.approx(0.7)


@pytest.mark.parametrize("has_ceiling", [False, True])
def test_an_answer_cut_short_is_worth_less_unless_the_caller_wanted_it_short(has_ceiling):
    value = worth(said(finish_reason="length"), has_ceiling=has_ceiling)

    assert (value < 0.7) is not has_ceiling


def test_sure_words_are_worth_more_than_unsure_ones():
    assert worth(said(logprobs=(-0.01, -0.02))) > 0.7 > worth(said(logprobs=(-2.0, -0.5)))


def test_an_answer_that_comes_twice_is_worth_more():
    assert worth(said(), said("It is Paris")) < worth(said(), said())
    assert worth(said(), said("Rome")) < 0.7 < worth(said(), said())
