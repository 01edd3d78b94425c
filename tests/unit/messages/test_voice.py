"""Answers of chat models, and of Anthropic's own servers, as Anthropic's clients must read them."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from anthropic._models import construct_type
from anthropic._streaming import SSEDecoder
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.anthropic.dialect import MessagesDialect
from gateway.api.anthropic.voice import ChatVoice, NativeVoice
from gateway.clock import ManualClock
from gateway.errors import UpstreamFailedError
from gateway.upstreams.contract import Event
from gateway.upstreams.usage import read_usage
from gateway.values import Usage

DONE = MessagesDialect.of_messages(ManualClock()).done
USAGE = {
    "prompt_tokens": 20,
    "completion_tokens": 9,
    "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 2},
    "completion_tokens_details": {"reasoning_tokens": 4},
}


def voice(*, shows_thinking: bool = True, stops: Sequence[str] = ()) -> ChatVoice:
    return ChatVoice("m", message_id="msg_1", input_tokens=7, stops=stops, shows_thinking=shows_thinking)


def chunk(delta: dict[str, Any], finish_reason: str | None = None, **choice: Any) -> Event:
    said = {"index": 0, "delta": delta, "finish_reason": finish_reason, **choice}
    return Event(data=msgspec.json.encode({"id": "chatcmpl-1", "choices": [said]}))


def call(
    place: int, arguments: str = "", *, call_id: str | None = None, name: str | None = None
) -> dict[str, Any]:
    function = {"arguments": arguments} | ({"name": name} if name else {})
    piece = {"index": place, "function": function}
    return {"tool_calls": [piece | ({"id": call_id, "type": "function"} if call_id else {})]}


def completion(message: dict[str, Any], finish_reason: str = "stop", **choice: Any) -> dict[str, Any]:
    said = {"index": 0, "message": message, "finish_reason": finish_reason, **choice}
    return {"id": "chatcmpl-1", "object": "chat.completion", "choices": [said], "usage": USAGE}


def whole(message: dict[str, Any], finish_reason: str = "stop", **choice: Any) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(voice().whole(completion(message, finish_reason, **choice)))
    return told


def streamed(*batches: Sequence[Event], told_by: ChatVoice | None = None) -> list[dict[str, Any]]:
    """The events of the whole stream, each as its data, after checking that the `event:` line repeats its type."""
    teller = told_by or voice()
    frames = b"".join([frame for batch in batches for frame in teller.events(batch)]) + teller.end() + DONE
    events = list(SSEDecoder().iter_bytes(iter([frames])))
    assert [event.event for event in events] == [event.json()["type"] for event in events]
    return [event.json() for event in events]


def kinds(events: Sequence[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def assembled(events: Sequence[dict[str, Any]]) -> Message:
    """By the SDK's own code."""
    message = None
    buffers: dict[int, bytes] = {}
    for event in events:
        typed: Any = construct_type(type_=RawMessageStreamEvent, value=event)
        message = accumulate_event(event=typed, current_snapshot=message, json_bufs=buffers)
    assert message is not None
    return message


def check_order(events: Sequence[dict[str, Any]]) -> None:
    """As Anthropic sends them: one block after the other, numbered, each begun before it goes on, and ended."""
    assert kinds(events)[0] == "message_start"
    assert kinds(events)[-2:] == ["message_delta", "message_stop"]
    is_open, index = False, 0
    for event in events[1:-2]:
        assert event["index"] == index
        if event["type"] == "content_block_start":
            assert not is_open
            is_open = True
            kind = event["content_block"]["type"]
        elif event["type"] == "content_block_delta":
            assert is_open
            delta = {"text": "text_delta", "thinking": "thinking_delta", "tool_use": "input_json_delta"}
            assert event["delta"]["type"] == delta[kind]
        else:
            assert event["type"] == "content_block_stop"
            assert is_open
            is_open, index = False, index + 1
    assert not is_open


def test_a_chats_answer_is_a_message() -> None:
    told = whole({"role": "assistant", "content": "Paris."})

    assert told == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "Paris."}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "stop_details": None,
        "container": None,
        "usage": {
            "input_tokens": 10,
            "cache_read_input_tokens": 8,
            "cache_creation_input_tokens": 2,
            "output_tokens": 9,
            "output_tokens_details": {"thinking_tokens": 4},
            "server_tool_use": None,
            "cache_creation": None,
            "inference_geo": None,
            "service_tier": None,
        },
    }


def test_thinking_words_and_calls_are_blocks_in_this_order() -> None:
    calls = [
        {
            "id": "call_1",
            "type": "function",
            "function": {"name": "weather", "arguments": '{"city": "Rome"}'},
        },
        {"id": "functions.x:1", "type": "function", "function": {"name": "stocks", "arguments": "{cut"}},
        {"type": "function", "function": {"name": "time", "arguments": ""}},
    ]

    told = whole({"reasoning_content": "Hmm.", "content": "Let me look.", "tool_calls": calls}, "tool_calls")

    direct = {"type": "direct"}
    assert told["content"] == [
        {"type": "thinking", "thinking": "Hmm.", "signature": ""},
        {"type": "text", "text": "Let me look."},
        {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Rome"}, "caller": direct},
        {"type": "tool_use", "id": "functions_x_1", "name": "stocks", "input": {}, "caller": direct},
        {"type": "tool_use", "id": "toolu_1_2", "name": "time", "input": {}, "caller": direct},
    ]
    assert told["stop_reason"] == "tool_use"


@pytest.mark.parametrize(
    ("finish_reason", "message", "stop_reason"),
    [
        ("stop", {"content": "x"}, "end_turn"),
        ("length", {"content": "x"}, "max_tokens"),
        ("content_filter", {"content": ""}, "refusal"),
        ("something_new", {"content": "x"}, "end_turn"),
        ("stop", {"content": None, "refusal": "I will not."}, "refusal"),
        ("stop", {"tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]}, "tool_use"),
        ("length", {"tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{"}}]}, "max_tokens"),
    ],
)
def test_why_it_stopped_is_said_in_anthropics_words(
    finish_reason: str, message: dict[str, Any], stop_reason: str
) -> None:
    pieces = [
        {**message, "tool_calls": [{"index": 0, **call} for call in message["tool_calls"]]}
        if "tool_calls" in message
        else message
    ]

    events = streamed([*map(chunk, pieces), chunk({}, finish_reason)])

    assert whole(message, finish_reason)["stop_reason"] == stop_reason
    assert events[-2]["delta"]["stop_reason"] == stop_reason


def test_which_string_stopped_it_is_said_where_the_server_tells() -> None:
    teller = voice(stops=["END"])

    told = json.loads(teller.whole(completion({"content": "x"}, stop_reason="END")))
    by_itself = json.loads(voice(stops=["END"]).whole(completion({"content": "x"}, stop_reason=128001)))

    assert (told["stop_reason"], told["stop_sequence"]) == ("stop_sequence", "END")
    assert (by_itself["stop_reason"], by_itself["stop_sequence"]) == ("end_turn", None)


def test_who_did_not_ask_for_thinking_is_not_shown_any() -> None:
    message = {"reasoning": "Hmm.", "content": "Yes."}

    told = json.loads(voice(shows_thinking=False).whole(completion(message)))
    events = streamed([chunk(message)], told_by=voice(shows_thinking=False))

    assert [block["type"] for block in told["content"]] == ["text"]
    assert assembled(events).content[0].type == "text"


def test_a_stream_of_text_has_anthropics_events_in_anthropics_order() -> None:
    events = streamed(
        [chunk({"role": "assistant", "content": ""})],
        [chunk({"content": "Pa"}), chunk({"content": "ris"})],
        [chunk({}, "stop"), Event(data=b'{"choices":[]}', usage=read_usage(USAGE), is_usage_only=True)],
    )

    assert kinds(events) == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    begun = events[0]["message"]
    assert (begun["content"], begun["stop_reason"]) == ([], None)
    assert (begun["usage"]["input_tokens"], begun["usage"]["output_tokens"]) == (7, 0)
    assert events[-2]["usage"]["input_tokens"] == 10
    assert events[-2]["usage"]["output_tokens"] == 9


def test_the_first_events_leave_before_the_answer_is_known_to_end() -> None:
    teller = voice()

    first = teller.events([chunk({"content": "Pa"})])

    assert [frame.partition(b"\n")[0] for frame in first] == [
        b"event: message_start",
        b"event: content_block_start",
        b"event: content_block_delta",
    ]


def test_calls_that_come_one_after_the_other_are_told_while_they_come() -> None:
    teller = voice()
    teller.events([chunk(call(0, '{"a":', call_id="c0", name="f")), chunk(call(0, "1}"))])

    second = teller.events([chunk(call(1, '{"b":', call_id="c1", name="g"))])

    assert [frame.partition(b"\n")[0] for frame in second] == [
        b"event: content_block_stop",
        b"event: content_block_start",
        b"event: content_block_delta",
    ]


def test_calls_that_share_a_place_are_told_apart_by_their_ids() -> None:
    events = streamed(
        [chunk(call(0, '{"a":1}', call_id="c0", name="f"))],
        [chunk(call(0, '{"b":2}', call_id="c1", name="f"))],
    )

    check_order(events)
    assert [block.input for block in assembled(events).content if block.type == "tool_use"] == [
        {"a": 1},
        {"b": 2},
    ]


def test_a_call_without_a_name_is_left_out() -> None:
    events = streamed([chunk(call(0, '{"a":1}', call_id="c0")), chunk({"content": "Hi"})])

    check_order(events)
    assert [block.type for block in assembled(events).content] == ["text"]


def test_a_stream_without_a_single_event_is_a_message_all_the_same() -> None:
    events = streamed()

    assert kinds(events) == ["message_start", "message_delta", "message_stop"]


def test_without_the_upstreams_count_the_text_is_measured() -> None:
    events = streamed([chunk({"content": "x" * 41})])

    assert events[-2]["usage"]["output_tokens"] == 11
    assert events[-2]["usage"]["input_tokens"] == 7


@pytest.mark.parametrize(
    "said",
    [
        {"choices": None},
        {"choices": [None]},
        {"choices": [{"index": 1, "delta": {"content": "no"}}]},
        {"choices": [{"delta": None}]},
        {"choices": [{"delta": {"content": 5, "tool_calls": [None, {"function": None, "index": "x"}]}}]},
        {"choices": [{"delta": {"content": [{"type": "thinking"}, 3]}}]},
    ],
)
def test_odd_shapes_say_nothing(said: dict[str, Any]) -> None:
    events = streamed([Event(data=msgspec.json.encode(said))])

    check_order(events)
    assert assembled(events).content == []


def test_a_broken_stream_says_so_and_does_not_end() -> None:
    error = UpstreamFailedError("It broke off.", code="upstream_stream_interrupted")

    frame = voice().broken(error)

    assert frame.startswith(b"event: error\ndata: ")
    assert json.loads(frame.partition(b"data: ")[2]) == {
        "type": "error",
        "error": {
            "type": "api_error",
            "message": "It broke off.",
            "details": {"error_code": "upstream_stream_interrupted", "param": None},
        },
    }
    assert NativeVoice("m").broken(error) == frame


TEXT = st.text(min_size=1, max_size=12)
INPUTS = st.dictionaries(
    st.text(max_size=5), st.integers() | st.text(max_size=8) | st.lists(st.booleans()), max_size=3
)


@st.composite
def pieces_of(draw: st.DrawFn, text: str) -> list[str]:
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(text) - 1)), max_size=4)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, None], strict=True)]


@st.composite
def answers(draw: st.DrawFn) -> tuple[list[dict[str, Any]], str, str, list[tuple[str, str, Any]]]:
    """Deltas in any order that keeps each call's pieces in theirs, and what they say together."""
    texts, thoughts = draw(st.lists(TEXT, max_size=4)), draw(st.lists(TEXT, max_size=3))
    inputs = draw(st.lists(INPUTS, max_size=3))
    tracks: list[list[dict[str, Any]]] = [
        [{"content": piece} for piece in texts],
        [{"reasoning_content": piece} for piece in thoughts],
    ]
    for place, value in enumerate(inputs):
        pieces = draw(pieces_of(json.dumps(value)))
        head = call(
            place, "" if draw(st.booleans()) else pieces.pop(0), call_id=f"c{place}", name=f"f{place}"
        )
        tracks.append([head, *(call(place, piece) for piece in pieces)])
    deltas = []
    while left := [track for track in tracks if track]:
        deltas.append(draw(st.sampled_from(left)).pop(0))
    return deltas, "".join(texts), "".join(thoughts), [(f"c{n}", f"f{n}", v) for n, v in enumerate(inputs)]


@given(answers(), st.data())
def test_whatever_comes_in_whatever_order_the_sdk_reads_the_same(
    answer: tuple[list[dict[str, Any]], str, str, list[tuple[str, str, Any]]], data: st.DataObject
) -> None:
    deltas, text, thinking, calls = answer
    cuts = sorted(data.draw(st.sets(st.integers(0, len(deltas)), max_size=5)))
    batches = [
        [chunk(delta) for delta in deltas[start:end]]
        for start, end in zip([0, *cuts], [*cuts, None], strict=True)
    ]

    events = streamed(*batches, [chunk({}, "stop")])

    check_order(events)
    message = assembled(events)
    assert "".join([block.text for block in message.content if block.type == "text"]) == text
    assert "".join([block.thinking for block in message.content if block.type == "thinking"]) == thinking
    read = [(block.id, block.name, block.input) for block in message.content if block.type == "tool_use"]
    assert sorted(read) == calls
    assert message.stop_reason == ("tool_use" if calls else "end_turn")


def native(*events: dict[str, Any]) -> list[Event]:
    return [Event(data=msgspec.json.encode(event), name=event["type"]) for event in events]


def test_a_native_answer_is_passed_on_under_our_name_for_the_model() -> None:
    told = json.loads(NativeVoice("m").whole({"id": "msg_a", "model": "claude-x", "content": [], "new": 1}))

    assert told == {"id": "msg_a", "model": "m", "content": [], "new": 1}


def test_a_native_stream_is_passed_on_and_ends_after_the_cost_is_told() -> None:
    teller = NativeVoice("m")
    delta = {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": '"model":"x"'},
    }
    events = native(
        {"type": "message_start", "message": {"id": "msg_a", "model": "claude-x", "usage": {}}},
        {"type": "ping"},
        delta,
        {"type": "message_stop"},
    )

    frames = teller.events(events)

    assert [frame.partition(b"\n")[0] for frame in frames] == [
        b"event: message_start",
        b"event: ping",
        b"event: content_block_delta",
    ]
    assert json.loads(frames[0].partition(b"data: ")[2])["message"]["model"] == "m"
    assert json.loads(frames[2].partition(b"data: ")[2]) == delta
    assert teller.end() == b""
    assert DONE == b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


def test_tokens_are_in_anthropics_classes() -> None:
    usage = Usage(input=1, cached_input=2, cache_write=3, cache_write_1h=4, output=5, reasoning=6)

    events = streamed([Event(data=b'{"choices":[]}', usage=usage)])

    told = events[-2]["usage"]
    assert told["input_tokens"] == 1
    assert told["cache_read_input_tokens"] == 2
    assert told["cache_creation_input_tokens"] == 7
    assert told["output_tokens"] == 11
