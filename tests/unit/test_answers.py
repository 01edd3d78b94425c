"""What is read out of an answer before it is weighed."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.answers import of_events, of_reply
from gateway.scoring.contract import Answer
from gateway.upstreams.chunks import Chunks
from gateway.upstreams.contract import Reply
from gateway.upstreams.normalise import Head, mend_whole
from gateway.upstreams.transport import NOT_JSON

HEAD = Head("1", 1, "m")


def read(choice: dict[str, Any], form: Any = "chat") -> Answer:
    body = {"choices": [choice]}
    mend_whole(form, body, HEAD)
    [answer] = of_reply(Reply(body=body, usage=None, finish_reasons=(), text=""), form)
    return answer


def read_stream(*choices: dict[str, Any], form: Any = "chat") -> list[Answer]:
    chunks = Chunks(form, HEAD)
    events = []
    for choice in choices:
        with suppress(*NOT_JSON):  # such an event is given up before it comes this far
            events.append(chunks.read(json.dumps({"choices": [choice]}).encode()))
    return of_events([event for event in events if event is not None], form)


def test_text_and_refusal_are_what_the_caller_reads_and_thinking_is_not() -> None:
    answer = read({"message": {"content": "No.", "refusal": "I may not.", "reasoning_content": "Hm"}})

    assert (answer.text, answer.is_refusal, answer.finish_reason) == ("No.I may not.", True, "stop")


def test_an_answer_that_the_upstream_has_filtered_is_a_refusal() -> None:
    assert read({"message": {"content": ""}, "finish_reason": "content_filter"}).is_refusal


@pytest.mark.parametrize("place", [{}, {"index": 0}, {"index": [1]}])
def test_every_call_is_read_by_itself_whatever_place_it_claims(place: dict[str, Any]) -> None:
    calls = [
        {"function": {"name": "a", "arguments": "{}"}, **place},
        {"type": "custom", "custom": {"name": "b", "input": "SELECT 1"}, **place},
    ]

    assert read({"message": {"tool_calls": calls}}).calls == ("{}", "SELECT 1")


def test_the_call_of_a_legacy_function_is_one_too() -> None:
    assert read({"message": {"function_call": {"name": "a", "arguments": "{"}}}).calls == ("{",)


def test_log_probabilities_are_read_in_both_forms_and_nonsense_among_them_is_not() -> None:
    told = {"content": [{"logprob": -1}, {"logprob": None}, "?", {"logprob": -0.5}]}

    assert read({"message": {}, "logprobs": told}).logprobs == (-1.0, -0.5)
    legacy = {"text": "a", "logprobs": {"token_logprobs": [None, -2.0]}}
    assert read(legacy, "completions").logprobs == (-2.0,)


def test_a_stream_is_put_together_from_its_pieces_choice_by_choice() -> None:
    first, second = read_stream(
        {"index": 0, "delta": {"content": "Pa"}},
        {"index": 1, "delta": {"tool_calls": [{"index": 0, "function": {"name": "a", "arguments": "{"}}]}},
        {"index": 0, "delta": {"content": "ris"}, "finish_reason": "stop"},
        {"index": 1, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]}},
    )

    assert (first.text, first.finish_reason) == ("Paris", "stop")
    assert (second.calls, second.finish_reason) == (("{}",), "")


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
_named = st.dictionaries(
    st.sampled_from(
        ["content", "refusal", "tool_calls", "function_call", "function", "index", "arguments", "logprob"]
    ),
    _json,
    max_size=4,
)
_choices = st.fixed_dictionaries(
    {},
    optional={
        "index": st.integers(0, 2) | _json,
        "message": _named | _json,
        "delta": _named | st.fixed_dictionaries({"tool_calls": st.lists(_named, max_size=2)}),
        "text": _json,
        "finish_reason": _json,
        "logprobs": st.fixed_dictionaries({"content": st.lists(_named, max_size=2)}) | _json,
    },
)


@given(choice=_choices, form=st.sampled_from(["chat", "completions"]))
def test_whatever_an_upstream_may_say_can_be_read(choice: dict[str, Any], form: Any) -> None:
    assert read(dict(choice), form).text is not None
    assert isinstance(read_stream(dict(choice), form=form), list)
