"""When two answers say the same."""

# ruff: noqa: RUF001 - Chinese has punctuation of its own

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.scoring.agreement import agreement, result
from gateway.scoring.contract import Answer
from gateway.scoring.deferral import UNTOLD


def said(text: str, *calls: str) -> Answer:
    return Answer(text=text, finish_reason="stop", calls=calls)


def agree(one: str, other: str) -> float:
    return agreement(said(one), said(other))


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("The slope is 6, which is option 3. The answer is (C).", "C"),
        ("**Answer: B**", "B"),
        ("Answer: (D) Paris", "D"),
        ("The correct option is **A**.", "A"),
        ("The answer is not listed, but the closest answer is (J).", "J"),
        ("First I thought the answer is (A). On reflection the answer is (B).", "B"),
        ("The answer is A, C.", "AC"),
        ("Final Answer:\nThe answer is `D. 50 units`.", "D"),
        ("C", "C"),
        ("c", "c"),
        ("(B)", "B"),
        ("A dog.", "a dog"),
        ("The answer is 42.", 42.0),
        ("So the total is $1,234.50.\n#### 1,234.5", 1234.5),
        (r"Thus \boxed{-3}", -3.0),
        (r"We get $\boxed{\text{B}}$", "text b"),
        ("The answer is 1/4.", 0.25),
        ("The answer is approximately 3.14", 3.14),
        ("答案是B。", "B"),
        ("答案：42", 42.0),
        ("综上所述，故选 C。", "C"),
        ("因此，答案应该是 12。", 12.0),
        ("Paris", "paris"),
        ("To answer this question we need some words, and a few more of them.", None),
        ("Once upon a time there was a river that nobody had ever crossed.", None),
        ("", None),
    ],
)
def test_the_result_that_an_answer_states_is_found(text: str, stated: object) -> None:
    assert result(text) == stated


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The answer is (C).", "C"),
        ("After some work, the answer is 1,000.", r"\boxed{1000}"),
        ("The answer is 3.14", "The answer is 3.1416"),
        ("答案是B", "The answer is B."),
        ("Paris", "paris."),
        ('{"a": 1, "b": 2}', '{"b":2,"a":1}'),
        ("```python\nprint(1)\n```", "Here it is:\n```py\nprint( 1 )\n```"),
        ("", ""),
    ],
)
def test_answers_that_say_the_same_agree(one: str, other: str) -> None:
    assert agree(one, other) == agree(other, one) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The answer is (C).", "The answer is (D)."),
        ("The answer is 1998.", "The answer is 1999."),
        ("The answer is 3.14", "The answer is 3.4"),
        ("Paris", "London"),
        ("答案是A", "答案是B"),
    ],
)
def test_answers_that_say_something_else_do_not(one: str, other: str) -> None:
    assert agree(one, other) == agree(other, one) == 0


def test_a_short_answer_is_found_in_the_end_of_a_long_one() -> None:
    long = "France has been a unitary state for a long time, and since the tenth century its capital has been Paris."

    assert agree("Paris", long) > UNTOLD > agree("Lyon", long)
    assert (
        agree("The answer is 12.", "Anna has seven apples and buys five more of them, which makes 12.")
        > UNTOLD
    )


def test_words_alone_prove_little_either_way() -> None:
    one = "The committee met in the spring and decided to build a bridge across the river for walkers."
    like = "In the spring the committee met and decided that a bridge for walkers be built across the river."
    unlike = "Sorting needs a pivot, two partitions, and a recursion that stops when one element is left."

    assert 0.2 <= agree(one, unlike) < UNTOLD < agree(one, like) <= 0.7


def test_tool_calls_agree_if_their_arguments_do() -> None:
    assert agreement(said("", '{"a": 1, "b": 2}'), said("", '{"b": 2, "a": 1}')) == 1
    assert agreement(said("", '{"a": 1}'), said("", '{"a": 2}')) == 0
    assert agreement(said("", '{"a": 1}'), said("It is sunny.")) == 0


texts = st.text(max_size=300) | st.text("(AB).1,2/3e-{}\\boxed answer is:\n#`答案是故选", max_size=200)


@given(texts, texts)
def test_it_is_a_share_for_any_texts_and_the_same_both_ways(one: str, other: str) -> None:
    assert 0 <= agree(one, other) <= 1
    assert agree(one, other) == pytest.approx(agree(other, one))


@given(texts)
def test_every_answer_agrees_with_itself(text: str) -> None:
    assert agree(text, text) == 1


def test_a_long_answer_costs_no_more_than_its_ends() -> None:
    huge = "the answer is \\boxed{" * 200_000

    assert 0 <= agree(huge, huge[1:]) <= 1
