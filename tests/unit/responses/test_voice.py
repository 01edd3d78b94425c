"""A chat's answer, told as a Response: the events of a stream add up to what would have been told at once."""

import itertools
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai._types import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from gateway.api.openai.responses.voice import ResponsesVoice
from gateway.errors import UpstreamFailedError
from gateway.ticket import Request
from gateway.upstreams.contract import Event
from gateway.upstreams.usage import read_usage
from tests.fixtures.oracle_specs import problems_event, problems_whole, surface

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
OPENAI = surface("POST", "/v1/responses")
USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 7,
    "total_tokens": 17,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 2},
}


def voice(**native: Any) -> ResponsesVoice:
    asked = {"model": "auto", "input": "hi", **native}
    request = Request(id="req_0a", endpoint="responses", body={}, native=asked, body_bytes=1, model="auto")
    return ResponsesVoice(request, "small", lambda: 1_790_000_000)


def whole(message: dict[str, Any], finish_reason: str = "stop", **native: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish_reason}
    choice["logprobs"] = message.pop("logprobs", None)
    told = voice(**native).whole({"choices": [choice], "usage": USAGE, "service_tier": "flex"})
    response: dict[str, Any] = json.loads(told)
    assert OPENAI
    assert list(problems_whole(OPENAI, told)) == []
    return response


def chunk(delta: dict[str, Any], finish_reason: str | None = None, logprobs: Any = None) -> Event:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": logprobs}
    return Event(data=msgspec.json.encode({"choices": [choice], "service_tier": "flex"}))


def usage_chunk() -> Event:
    data = msgspec.json.encode({"choices": [], "usage": USAGE})
    return Event(data=data, usage=read_usage(USAGE), is_usage_only=True)


def streamed(*batches: Sequence[Event], **native: Any) -> list[dict[str, Any]]:
    """Every event, in order, after a look at its frame and its type."""
    told = voice(**native)
    frames = [frame for batch in batches for frame in told.events(batch)]
    return parsed(b"".join(frames) + told.end())


def parsed(stream: bytes) -> list[dict[str, Any]]:
    events = []
    for number, frame in enumerate(stream.removesuffix(b"\n\n").split(b"\n\n")):
        name, data = frame.split(b"\n")
        event = json.loads(data.removeprefix(b"data: "))
        assert OPENAI
        assert list(problems_event(OPENAI, data.removeprefix(b"data: "))) == []
        assert name == f"event: {event['type']}".encode()
        assert event["sequence_number"] == number
        events.append(event)
    return events


def answered(
    deltas: Sequence[dict[str, Any]], finish_reason: str = "stop", **native: Any
) -> list[dict[str, Any]]:
    events = [chunk(delta) for delta in deltas]
    return streamed([*events, chunk({}, finish_reason), usage_chunk()], **native)


def call(index: int, arguments: str, **head: Any) -> dict[str, Any]:
    """A piece of a call; `id` and `name` come with its first."""
    function = {"arguments": arguments, **({"name": head.pop("name")} if "name" in head else {})}
    return {"tool_calls": [{"index": index, "type": "function", **head, "function": function}]}


def kinds(events: Sequence[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def cut(text: str, places: Sequence[int]) -> list[str]:
    edges = [0, *sorted({place % (len(text) + 1) for place in places}), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(edges)]


ARGUMENTS = st.dictionaries(st.text(max_size=4), st.text(max_size=6), max_size=3).map(json.dumps)
PLACES = st.lists(st.integers(0, 50), max_size=4)


@st.composite
def answers(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A message, and deltas that add up to it: texts in order, calls by turns."""
    message: dict[str, Any] = {"content": None}
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    for field in ("reasoning_content", "content", "refusal"):
        if text := draw(st.text(max_size=20)):
            message[field] = text
            deltas += [{field: piece} for piece in cut(text, draw(PLACES))]
    calls = draw(st.lists(st.tuples(ARGUMENTS, PLACES), max_size=3))
    left: list[list[dict[str, Any]]] = []
    for index, (arguments, places) in enumerate(calls):
        pieces = cut(arguments, places)
        head = call(index, pieces[0], id=f"call_{index}", name=f"tool{index}")
        left.append([head, *(call(index, piece) for piece in pieces[1:])])
        function = {"name": f"tool{index}", "arguments": arguments}
        message.setdefault("tool_calls", []).append(
            {"id": f"call_{index}", "type": "function", "function": function}
        )
    begun = 0
    while begun < len(left) or any(left):
        ready = [i for i in range(min(begun + 1, len(left))) if left[i]]
        chosen = draw(st.sampled_from(ready))
        begun = max(begun, chosen + 1)
        deltas.append(left[chosen].pop(0))
    return message, deltas


@given(
    answer=answers(),
    finish_reason=st.sampled_from(["stop", "tool_calls", "length", "content_filter"]),
    summary=st.sampled_from([None, "auto"]),
    sizes=st.lists(st.integers(1, 4), max_size=20),
)
def test_a_stream_adds_up_to_what_would_have_been_told_at_once(
    answer: tuple[dict[str, Any], list[dict[str, Any]]],
    finish_reason: str,
    summary: str | None,
    sizes: list[int],
) -> None:
    message, deltas = answer
    events = iter([*(chunk(delta) for delta in deltas), chunk({}, finish_reason), usage_chunk()])
    batches = [list(itertools.islice(events, size)) for size in sizes] + [list(events)]

    told = streamed(*batches, reasoning={"summary": summary})

    at_once = whole(dict(message), finish_reason, reasoning={"summary": summary})
    assert told[-1]["response"] == at_once
    assert told[-1]["type"] == f"response.{at_once['status']}"
    done = [event for event in told if event["type"] == "response.output_item.done"]
    assert [event["item"] for event in done] == at_once["output"]
    assert [event["output_index"] for event in done] == list(range(len(done)))


@settings(max_examples=50)
@given(answers())
def test_items_are_told_one_after_the_other_and_their_pieces_add_up(
    answer: tuple[dict[str, Any], list[dict[str, Any]]],
) -> None:
    told = answered(answer[1])

    indexes = [event["output_index"] for event in told if "output_index" in event]
    assert indexes == sorted(indexes)
    for kind, field in (
        ("output_text", "text"),
        ("refusal", "refusal"),
        ("reasoning_text", "text"),
        ("function_call_arguments", "arguments"),
    ):
        for done in (event for event in told if event["type"] == f"response.{kind}.done"):
            pieces = [
                event["delta"]
                for event in told
                if event["type"] == f"response.{kind}.delta" and event["item_id"] == done["item_id"]
            ]
            assert "".join(pieces) == done[field]
            assert "" not in pieces


@settings(max_examples=20)
@given(answers())
def test_the_sdks_own_bookkeeping_follows_the_stream(
    answer: tuple[dict[str, Any], list[dict[str, Any]]],
) -> None:
    state: ResponseStreamState[None] = ResponseStreamState(input_tools=omit, text_format=omit)

    for event in answered(answer[1]):
        state.handle_event(EVENT.validate_python(event))

    assert state._completed_response is not None


def test_a_whole_reply_has_every_field_and_the_documented_defaults() -> None:
    assert whole({"content": "Paris"}) == {
        "id": "resp_0a",
        "object": "response",
        "created_at": 1_790_000_000,
        "completed_at": 1_790_000_000,
        "status": "completed",
        "background": False,
        "error": None,
        "frequency_penalty": 0.0,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "metadata": {},
        "model": "small",
        "output": [
            {
                "id": "msg_0a00",
                "type": "message",
                "status": "completed",
                "role": "assistant",
                "content": [{"type": "output_text", "annotations": [], "logprobs": [], "text": "Paris"}],
            }
        ],
        "parallel_tool_calls": True,
        "presence_penalty": 0.0,
        "previous_response_id": None,
        "prompt_cache_key": None,
        "prompt_cache_retention": None,
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": None,
        "service_tier": "flex",
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": {
            "input_tokens": 10,
            "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
            "output_tokens": 7,
            "output_tokens_details": {"reasoning_tokens": 2},
            "total_tokens": 17,
        },
    }


def test_what_was_asked_for_is_told_back() -> None:
    tool = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": True}
    asked: dict[str, Any] = {
        "instructions": "Be brief.",
        "max_output_tokens": 20,
        "metadata": {"a": "b"},
        "parallel_tool_calls": False,
        "reasoning": {"effort": "low", "summary": "auto"},
        "temperature": 0.5,
        "tool_choice": {"type": "function", "name": "weather"},
        "top_p": 0.5,
        "user": "u",
    }

    told = whole({"content": "ok"}, tools=[tool], text={"verbosity": "low"}, **asked)

    assert {name: told[name] for name in asked} == asked
    assert told["tools"] == [{**tool, "description": None}]
    assert told["text"] == {"format": {"type": "text"}, "verbosity": "low"}


def test_a_schema_is_told_back_whole() -> None:
    wanted = {"type": "json_schema", "name": "n", "schema": {"type": "object"}}
    body = {"choices": [{"message": {"content": "{}"}, "finish_reason": "stop"}]}

    told = Response.model_validate_json(voice(text={"format": wanted}).whole(body), strict=True)

    assert told.text is not None
    assert told.text.to_dict()["format"] == {**wanted, "description": None, "strict": False}


@pytest.mark.parametrize(
    ("finish_reason", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
def test_an_answer_that_was_cut_short_says_so_and_in_which_item(finish_reason: str, reason: str) -> None:
    told = whole({"reasoning_content": "Hm.", "content": "Par"}, finish_reason)

    assert (told["status"], told["incomplete_details"]) == ("incomplete", {"reason": reason})
    assert [item["status"] for item in told["output"]] == ["completed", "incomplete"]
    assert told["completed_at"] is None


def test_a_text_has_every_event_in_order() -> None:
    told = answered([{"role": "assistant"}, {"content": "Pa"}, {"content": "ris"}])

    assert kinds(told) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event["response"]["status"] for event in told[:2]] == ["in_progress", "in_progress"]
    assert [event["response"]["usage"] for event in told[:2]] == [None, None]
    assert told[2]["item"] == {
        "id": "msg_0a00",
        "type": "message",
        "status": "in_progress",
        "role": "assistant",
        "content": [],
    }
    assert told[3]["part"] == {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
    assert (told[4]["delta"], told[4]["content_index"], told[4]["logprobs"]) == ("Pa", 0, [])


def test_a_refusal_is_a_part_of_its_own() -> None:
    told = answered([{"content": "Well."}, {"refusal": "I can"}, {"refusal": "not."}])

    assert kinds(told)[6:11] == [
        "content_part.done",
        "content_part.added",
        "refusal.delta",
        "refusal.delta",
        "refusal.done",
    ]
    assert told[7]["content_index"] == 1
    [item] = told[-1]["response"]["output"]
    assert [part["type"] for part in item["content"]] == ["output_text", "refusal"]


def test_reasoning_is_told_as_a_summary_to_those_who_asked_for_one() -> None:
    deltas: list[dict[str, Any]] = [{"reasoning_content": "Hm."}, {"content": "Paris"}]

    raw, summed = answered(deltas), answered(deltas, reasoning={"summary": "auto"})

    assert kinds(raw)[2:8] == [
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
    ]
    assert raw[-1]["response"]["output"][0] == {
        "id": "rs_0a00",
        "type": "reasoning",
        "status": "completed",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": "Hm."}],
    }
    assert kinds(summed)[2:8] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ]
    assert summed[-1]["response"]["output"][0] == {
        "id": "rs_0a00",
        "type": "reasoning",
        "status": "completed",
        "summary": [{"type": "summary_text", "text": "Hm."}],
    }


def test_calls_that_come_by_turns_are_told_one_after_the_other() -> None:
    deltas = [
        call(0, '{"a"', id="call_1", name="one"),
        call(1, '{"b"', id="call_2", name="two"),
        call(0, ": 1}"),
        call(1, ": 2}"),
    ]

    told = answered(deltas, "tool_calls")

    arguments = [
        (event["output_index"], event["delta"]) for event in told if event["type"].endswith(".delta")
    ]
    assert arguments == [(0, '{"a"'), (0, ": 1}"), (1, '{"b"'), (1, ": 2}")]
    assert [item["call_id"] for item in told[-1]["response"]["output"]] == ["call_1", "call_2"]


def test_the_next_call_is_told_as_it_comes_once_the_one_before_is_whole() -> None:
    told = voice()

    first = told.events([chunk(call(0, "{}", id="call_1", name="one"))])
    second = told.events([chunk(call(1, '{"b', id="call_2", name="two"))])

    assert not any(b"call_2" in frame for frame in first)
    assert any(b'"delta":"{\\"b"' in frame for frame in second)


def test_calls_without_an_index_of_their_own_are_told_apart_by_their_ids() -> None:
    deltas = [call(0, '{"a":1}', id="call_1", name="one"), call(0, '{"b":2}', id="call_2", name="two")]

    told = answered(deltas)

    output = told[-1]["response"]["output"]
    assert [(item["name"], item["arguments"]) for item in output] == [("one", '{"a":1}'), ("two", '{"b":2}')]


def test_a_call_without_an_id_gets_one() -> None:
    told = whole({"tool_calls": [{"function": {"name": "one", "arguments": {"a": 1}}}]}, "tool_calls")

    [item] = told["output"]
    assert (item["id"], item["call_id"], item["arguments"]) == ("fc_0a00", "call_fc_0a00", '{"a":1}')


def test_a_custom_tools_input_has_events_of_its_own() -> None:
    first = {"index": 0, "id": "call_1", "type": "custom", "custom": {"name": "patch", "input": "+ "}}
    deltas = [{"tool_calls": [first]}, {"tool_calls": [{"index": 0, "custom": {"input": "a"}}]}]

    told = answered(deltas, "tool_calls")

    assert kinds(told)[2:7] == [
        "output_item.added",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
        "output_item.done",
    ]
    assert told[-1]["response"]["output"] == [
        {
            "id": "ctc_0a00",
            "type": "custom_tool_call",
            "status": "completed",
            "input": "+ a",
            "call_id": "call_1",
            "name": "patch",
        }
    ]


def test_a_call_of_a_tool_with_a_namespace_names_both() -> None:
    group = {
        "type": "namespace",
        "name": "mail",
        "description": "d",
        "tools": [{"type": "function", "name": "send"}],
    }
    body = {
        "choices": [
            {"message": {"tool_calls": [call(0, "{}", id="call_1", name="mail__send")["tool_calls"][0]]}}
        ]
    }

    told = Response.model_validate_json(voice(tools=[group]).whole(body), strict=True)

    [item] = told.output
    assert item.type == "function_call"
    assert (item.namespace, item.name) == ("mail", "send")
    assert [tool.to_dict() for tool in told.tools] == [group]


def test_what_is_said_after_a_call_is_another_message() -> None:
    told = answered([{"content": "One"}, call(0, "{}", id="call_1", name="one"), {"content": "Two"}])

    output = told[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["message", "function_call", "message"]


def test_an_answer_without_a_word_is_a_message_all_the_same() -> None:
    told = answered([{"role": "assistant", "content": ""}])

    assert kinds(told)[2:] == [
        "output_item.added",
        "content_part.added",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert told[-1]["response"] == whole({"content": ""})


def test_a_stream_of_nothing_has_its_first_and_last_events() -> None:
    assert kinds(parsed(voice().end()))[:2] == ["created", "in_progress"]


LOGPROB = {
    "token": "é",
    "logprob": -0.5,
    "bytes": None,
    "top_logprobs": [{"token": "e", "logprob": -1, "bytes": [101]}],
}
TOLD = {
    "token": "é",
    "logprob": -0.5,
    "bytes": [195, 169],
    "top_logprobs": [{"token": "e", "logprob": -1.0, "bytes": [101]}],
}


def test_logprobs_are_told_with_the_pieces_and_with_the_whole() -> None:
    told = streamed([chunk({"content": "é"}, logprobs={"content": [LOGPROB]}), chunk({}, "stop")])

    assert [event["logprobs"] for event in told if "output_text" in event["type"]] == [[TOLD], [TOLD]]
    [item] = told[-1]["response"]["output"]
    assert item["content"][0]["logprobs"] == [TOLD]
    assert (
        whole({"content": "é", "logprobs": {"content": [LOGPROB]}})["output"][0]["content"] == item["content"]
    )


def test_usage_that_the_upstream_did_not_report_is_null() -> None:
    told = streamed([chunk({"content": "a"}, "stop")])

    assert told[-1]["response"]["usage"] is None


@pytest.mark.fault("M7")
def test_a_stream_that_breaks_fails_and_raises() -> None:
    told = voice()
    begun = b"".join(told.events([chunk({"content": "Pa"})]))
    error = UpstreamFailedError("It broke off.", code="upstream_stream_interrupted")

    events = parsed(begun + told.broken(error))

    assert kinds(events)[-3:] == ["output_text.delta", "failed", "error"]
    failed = events[-2]["response"]
    assert (failed["status"], failed["completed_at"]) == ("failed", None)
    assert failed["error"] == {"code": "server_error", "message": "It broke off."}
    assert [item["status"] for item in failed["output"]] == ["incomplete"]
    said = {"code": "upstream_stream_interrupted", "message": "It broke off.", "param": None}
    assert {name: events[-1][name] for name in said} == said
    assert events[-1]["error"] == {"type": "server_error", **said}


def test_a_stream_that_breaks_before_it_began_is_told_from_its_start() -> None:
    events = parsed(voice().broken(UpstreamFailedError("It broke off.")))

    assert kinds(events) == ["created", "in_progress", "failed", "error"]


@pytest.mark.parametrize(
    "delta",
    [
        {"content": 1, "tool_calls": "x", "reasoning": {}, "refusal": False},
        {"tool_calls": [1, {"index": "a", "function": None}]},
        {"tool_calls": [{"function": {"name": 1, "arguments": 2}}]},
        {"content": [{"type": "text", "text": "a"}, 1, {"text": 2}]},
    ],
)
def test_nonsense_is_not_told_and_nothing_fails(delta: dict[str, Any]) -> None:
    events = streamed([chunk(delta, "stop", {"content": [{"token": 1}]})])

    assert events[-1]["type"] == "response.completed"
