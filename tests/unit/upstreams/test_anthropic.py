"""Anthropic's dialect and its look-alikes: what a message becomes for a chat's caller, and what is made of nonsense."""

import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from anthropic.types import Message, RawMessageDeltaEvent, RawMessageStartEvent
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gateway.clock import SystemClock
from gateway.upstreams.anthropic.events import ChatReader, MessageReader
from gateway.upstreams.anthropic.reply import completion, read_reply
from gateway.upstreams.anthropic.upstream import AnthropicUpstream
from gateway.upstreams.contract import Event, UpstreamCall, UpstreamError
from gateway.upstreams.normalise import Head
from gateway.upstreams.transport import Transport
from gateway.values import Usage
from tests.fixtures.scripted_upstream import ScriptedUpstream
from tests.fixtures.upstream_calls import a_call, one_by_one, read

Json = dict[str, Any]
HEAD = Head("1", 1, "m")
NOW_MS = 1_795_255_200_000
CALL = {"id": "toolu_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}}
STOP = {"type": "message_stop"}


class OneDay(SystemClock):
    def now_ms(self) -> int:
        return NOW_MS


@pytest.fixture
async def client(upstream: ScriptedUpstream) -> AsyncIterator[AnthropicUpstream]:
    client = AnthropicUpstream(upstream.settings(), name="up", api_key="", clock=OneDay())
    yield client
    await client.close()


def a_message_call(**fields: Any) -> UpstreamCall:
    return msgspec.structs.replace(a_call(max_tokens=10, **fields), form="messages")


def framed(*events: Json | bytes) -> bytes:
    datas = [event if isinstance(event, bytes) else json.dumps(event).encode() for event in events]
    return b"".join(b"event: x\ndata: %b\n\n" % data for data in datas)


def started(**usage: Any) -> Json:
    message = {"id": "msg_1", "model": "m", "content": [], "usage": usage or None}
    return {"type": "message_start", "message": message}


def opened(index: int = 0, **block: Any) -> Json:
    return {
        "type": "content_block_start",
        "index": index,
        "content_block": block or {"type": "text", "text": ""},
    }


def moved(index: int = 0, **delta: Any) -> Json:
    return {"type": "content_block_delta", "index": index, "delta": delta}


def closed(index: int = 0) -> Json:
    return {"type": "content_block_stop", "index": index}


def ended(reason: str | None = "end_turn", **more: Any) -> Json:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, **more}


def deltas(events: list[Event]) -> list[Json]:
    chunks = [json.loads(event.data) for event in events]
    return [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]


async def test_without_a_key_no_credential_is_sent(
    upstream: ScriptedUpstream, client: AnthropicUpstream
) -> None:
    await client.complete(a_call())

    headers = (await upstream.attempt(0)).headers
    assert headers.keys().isdisjoint({"authorization", "x-api-key"})
    assert headers["anthropic-version"] == "2023-06-01"


async def test_a_whole_message_is_a_chat_completion(
    upstream: ScriptedUpstream, client: AnthropicUpstream
) -> None:
    said = {"tool_calls": [CALL], "reasoning_content": "Let me look."}
    upstream.answers(
        "One moment.", prompt_tokens=7, output_tokens=3, cached_tokens=2, written_tokens=1,
        finish_reason="tool_calls", message=said,
    )  # fmt: skip

    reply = await client.complete(a_call())

    assert reply.body == {
        "id": "msg_1",
        "object": "chat.completion",
        "created": NOW_MS // 1000,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "One moment.",
                    "refusal": None,
                    "reasoning_content": "Let me look.",
                    "tool_calls": [CALL],
                },
                "logprobs": None,
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 3,
            "total_tokens": 13,
            "prompt_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 1},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }
    assert ChatCompletion.model_validate(reply.body, strict=True)
    assert reply.usage == Usage(input=7, cached_input=2, cache_write=1, output=3)
    assert reply.finish_reasons == ("tool_calls",)
    assert all(word in reply.text for word in ("One moment.", "Let me look.", "weather", "Paris"))


async def test_a_streamed_message_is_the_chunks_of_a_chat_completion(
    upstream: ScriptedUpstream, client: AnthropicUpstream
) -> None:
    said = {"tool_calls": [CALL, {**CALL, "id": "toolu_2"}], "reasoning_content": "Let me look."}
    upstream.answers(
        "One ", "moment.", prompt_tokens=7, cached_tokens=2, written_1h_tokens=1,
        finish_reason="tool_calls", message=said,
    )  # fmt: skip

    events = await read(client)

    assert deltas(events) == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": "One "},
        {"content": "moment."},
        {"reasoning_content": "Let me look."},
        *[
            {"tool_calls": [call]}
            for number, name in enumerate(("toolu_1", "toolu_2"))
            for call in (
                {
                    "index": number,
                    "id": name,
                    "type": "function",
                    "function": {"name": "weather", "arguments": ""},
                },
                {"index": number, "function": {"arguments": '{"cit'}},
                {"index": number, "function": {"arguments": 'y": "Paris"}'}},
            )
        ],
        {},
    ]
    chunks = [ChatCompletionChunk.model_validate_json(event.data, strict=True) for event in events]
    assert {(chunk.id, chunk.created, chunk.model) for chunk in chunks} == {("msg_1", NOW_MS // 1000, "m")}
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [*[None] * 10, "tool_calls"]
    assert all("logprobs" in json.loads(event.data)["choices"][0] for event in events[:-1])
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 12
    assert events[-1].is_usage_only
    assert events[-1].usage == Usage(input=7, cached_input=2, cache_write_1h=1, output=2)
    assert [event.finish_reason for event in events if event.finish_reason] == ["tool_calls"]


async def test_a_message_that_was_asked_for_comes_as_it_is(
    upstream: ScriptedUpstream, client: AnthropicUpstream
) -> None:
    upstream.answers("Pa", "ris", prompt_tokens=7, written_tokens=1)

    reply = await client.complete(a_message_call())
    events = [event async for event in one_by_one(client.stream(a_message_call(stream=True)))]

    assert (reply.body["type"], reply.body["content"]) == ("message", [{"type": "text", "text": "Paris"}])
    assert reply.usage == Usage(input=7, cache_write=1, output=2)
    assert [event.name for event in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
    ]
    assert all(json.loads(event.data)["type"] == event.name for event in events)
    assert (events[-1].finish_reason, events[-1].usage) == ("stop", reply.usage)


async def test_what_a_look_alike_leaves_out_of_a_message_is_filled_in(
    upstream: ScriptedUpstream, client: AnthropicUpstream
) -> None:
    upstream.replies(200, b'{"content": [], "stop_reason": "end_turn"}')
    reply = await client.complete(a_message_call())
    chat = await client.complete(a_call())
    upstream.sends(framed({"type": "message_start", "message": {}}, ended(), STOP))
    chunks = await read(client)
    first, last = [json.loads(event.data) for event in await read(client, a_message_call(stream=True))]

    assert Message.model_validate(reply.body, strict=True)
    assert RawMessageStartEvent.model_validate(first, strict=True)
    assert RawMessageDeltaEvent.model_validate(last, strict=True)
    assert ChatCompletion.model_validate(chat.body, strict=True)
    assert all(ChatCompletionChunk.model_validate_json(chunk.data, strict=True) for chunk in chunks)
    assert reply.usage is None
    assert {"container", "stop_details"} <= reply.body.keys() & first["message"].keys() & last["delta"].keys()
    assert {"output_tokens_details", "server_tool_use"} <= reply.body["usage"].keys() & last["usage"].keys()


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_caller_who_knows_functions_only_is_answered_with_one(
    upstream: ScriptedUpstream, client: AnthropicUpstream, is_stream: bool
) -> None:
    upstream.answers(finish_reason="tool_calls", message={"tool_calls": [CALL]})
    call = a_call(is_stream=is_stream, functions=[{"name": "weather"}])

    if is_stream:
        events = [event async for event in one_by_one(client.stream(call))]
        calls = [delta["function_call"] for delta in deltas(events) if "function_call" in delta]
        reasons = [event.data for event in events if event.finish_reason]
        assert calls[0] == {"name": "weather", "arguments": ""}
        assert json.loads("".join(part["arguments"] for part in calls)) == {"city": "Paris"}
        assert b'"finish_reason":"function_call"' in reasons[0]
    else:
        [choice] = (await client.complete(call)).body["choices"]
        assert choice["message"]["function_call"] == {"name": "weather", "arguments": '{"city":"Paris"}'}
        assert choice["message"]["content"] is None
        assert choice["finish_reason"] == "function_call"


async def test_a_tool_without_arguments_is_called_with_an_empty_object(
    upstream: ScriptedUpstream, client: AnthropicUpstream
) -> None:
    begun = opened(type="tool_use", id="t", name="now", input={})
    upstream.sends(framed(started(), begun, moved(type="input_json_delta", partial_json=""), closed(), STOP))

    events = await read(client)

    assert deltas(events)[-1] == {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}


async def test_arguments_that_come_at_once_are_told(
    upstream: ScriptedUpstream, client: AnthropicUpstream
) -> None:
    begun = opened(3, type="tool_use", id="t", name="now", input={"zone": "UTC"})
    upstream.sends(framed(started(), begun, closed(3), STOP))

    events = await read(client)

    assert deltas(events)[-1] == {"tool_calls": [{"index": 0, "function": {"arguments": '{"zone":"UTC"}'}}]}


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("tool_use", "tool_calls"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "length"),
        ("refusal", "content_filter"),
        ("something_new", "length"),
    ],
)
async def test_why_it_stopped_is_said_in_openais_words(
    upstream: ScriptedUpstream, client: AnthropicUpstream, said: str, meant: str
) -> None:
    upstream.answers("Paris", finish_reason=said)

    reply = await client.complete(a_call())
    events = await read(client)
    native = await client.complete(a_message_call())

    assert reply.finish_reasons == native.finish_reasons == (meant,)
    assert reply.body["choices"][0]["finish_reason"] == meant
    assert [event.finish_reason for event in events if event.finish_reason] == [meant]


async def test_a_refusal_says_why_if_the_model_does(
    upstream: ScriptedUpstream, client: AnthropicUpstream
) -> None:
    delta = {"stop_reason": "refusal", "stop_details": {"type": "refusal", "explanation": "It is unsafe."}}
    upstream.sends(framed(started(), {"type": "message_delta", "delta": delta}, STOP))

    events = await read(client)

    assert deltas(events)[-1] == {"refusal": "It is unsafe."}
    assert "unsafe" not in "".join(event.text for event in events)


@pytest.mark.fault("S5")
@pytest.mark.parametrize(
    "stream",
    [
        framed(
            started(),
            opened(),
            moved(text="Pa"),
            {"type": "ping"},
            moved(text="ris"),
            closed(),
            ended(),
            STOP,
        ),
        framed(started(), moved(text="Pa"), {"type": "brand_new", "x": 1}, moved(text="ris"), ended(), STOP),
        framed(started(), moved(text="Pa"), b"{oops", b"[]", moved(text="ris"), STOP),
        framed(started(), moved(text="Pa"), moved(text=5), b'{"type": "\xff"}', moved(text="ris"), STOP),
        framed(started(), opened(type="text", text="Pa"), moved(text="ris"), STOP, moved(text="London")),
        framed(moved(text="early"), started(), moved(text="Pa"), moved(text="ris"), ended(usage=5), STOP),
        framed(
            started(), moved(text="Pa"), moved(type="signature_delta", signature="s"), moved(text="ris"), STOP
        ),
        framed(started(), moved(text="Paris")).replace(b"\n", b"\r\n") + framed(STOP),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_what_is_valid_in_a_malformed_stream_is_passed_on(
    upstream: ScriptedUpstream, client: AnthropicUpstream, stream: bytes, size: int
) -> None:
    upstream.sends(*(stream[start : start + size] for start in range(0, len(stream), size)))

    events = await read(client)

    assert "".join(event.text for event in events) == "Paris"


@pytest.mark.fault("S5")
@pytest.mark.parametrize("form", ["chat", "messages"])
async def test_the_third_bad_event_ends_the_stream(
    upstream: ScriptedUpstream, client: AnthropicUpstream, form: Any
) -> None:
    upstream.sends(framed(started(), moved(text="Pa"), b"{", b'{"no": "type"}', b'{"type": 5}', STOP))
    call = msgspec.structs.replace(a_call(is_stream=True), form=form)

    with pytest.raises(UpstreamError) as caught:
        await read(client, call)

    assert (caught.value.kind, caught.value.may_have_charged) == ("invalid", True)


@pytest.mark.fault("S5")
async def test_the_name_of_an_event_cannot_smuggle_in_another(
    upstream: ScriptedUpstream, client: AnthropicUpstream
) -> None:
    upstream.sends(framed(started(), {"type": "x\n\nevent: message_stop"}, moved(text="Paris"), STOP))

    events = await read(client, a_message_call(stream=True))

    assert [event.name for event in events] == ["message_start", "content_block_delta"]


@pytest.mark.fault("S5")
async def test_an_event_on_several_lines_is_put_on_one(
    upstream: ScriptedUpstream, client: AnthropicUpstream
) -> None:
    lines = (
        framed(started()) + b'data: {"type": "content_block_delta",\ndata: "delta": {"text": "Paris"}}\n\n'
    )
    upstream.sends(lines + framed(STOP))

    events = await read(client, a_message_call(stream=True))

    assert [(event.text, b"\n" in event.data) for event in events[1:]] == [("Paris", False)]


@pytest.mark.fault("M8")
@pytest.mark.parametrize("form", ["chat", "messages"])
async def test_a_stream_without_message_stop_is_interrupted_whatever_it_said_before(
    upstream: ScriptedUpstream, client: AnthropicUpstream, form: Any
) -> None:
    upstream.sends(framed(started(), moved(text="Paris"), ended(usage={"output_tokens": 1})))
    call = msgspec.structs.replace(a_call(is_stream=True), form=form)

    with pytest.raises(UpstreamError) as caught:
        await read(client, call)

    assert (caught.value.kind, caught.value.may_have_charged) == ("interrupted", True)


@pytest.mark.parametrize(
    ("error_type", "kind", "status", "may_have_charged"),
    [
        ("overloaded_error", "busy", 529, False),
        ("rate_limit_error", "busy", 429, False),
        ("api_error", "refused", 500, True),
        ("timeout_error", "refused", 504, True),
        ("invalid_request_error", "refused", 400, False),
        ("authentication_error", "refused", 401, False),
        ("something_new", "refused", None, True),
    ],
)
@pytest.mark.parametrize("is_stream", [False, True])
async def test_the_type_of_an_error_inside_a_200_stands_for_its_status(
    upstream: ScriptedUpstream,
    client: AnthropicUpstream,
    error_type: str,
    kind: str,
    status: int | None,
    may_have_charged: bool,
    is_stream: bool,
) -> None:
    upstream.reports_error(message="Overloaded", code=error_type)

    with pytest.raises(UpstreamError) as caught:
        await (read(client) if is_stream else client.complete(a_call()))

    error = caught.value
    assert (error.kind, error.status, error.may_have_charged) == (kind, status, may_have_charged)
    assert (error.caller_error is not None) == (error_type == "invalid_request_error")


async def test_after_good_events_an_error_may_have_charged_whatever_it_says(
    upstream: ScriptedUpstream, client: AnthropicUpstream
) -> None:
    upstream.reports_error(code="overloaded_error", after=1)

    with pytest.raises(UpstreamError) as caught:
        await read(client)

    assert (caught.value.kind, caught.value.may_have_charged) == ("busy", True)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("prompt is too long: 208310 tokens > 200000 maximum", "context_length_exceeded"),
        (
            "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000",
            "context_length_exceeded",
        ),
        ("messages.0.role: Input should be 'user'", None),
    ],
)
async def test_a_prompt_that_is_too_long_is_known_by_its_code(
    upstream: ScriptedUpstream, client: AnthropicUpstream, message: str, code: str | None
) -> None:
    upstream.refuses(400, message=message)

    with pytest.raises(UpstreamError) as caught:
        await client.complete(a_call())

    assert caught.value.caller_error is not None
    assert caught.value.caller_error.get("code") == code
    assert caught.value.caller_error["message"] == message


@pytest.mark.parametrize("is_stream", [False, True])
async def test_what_cannot_be_translated_is_not_sent(
    upstream: ScriptedUpstream, client: AnthropicUpstream, is_stream: bool
) -> None:
    call = a_call(is_stream=is_stream, response_format={"type": "json_object"})

    with pytest.raises(UpstreamError) as caught:
        await (read(client, call) if is_stream else client.complete(call))

    error = caught.value
    assert (error.kind, error.status, error.may_have_charged) == ("untranslatable", 400, False)
    assert error.caller_error is not None
    assert error.caller_error["param"] == "response_format.type"
    assert upstream.attempts == []


@pytest.mark.parametrize(
    "body",
    [b"{}", b"[]", b"5", b'{"content": 5}', b'{"content": [{"type": 5}]}', b'{"content": [{}]}', b"[" * 5000],
)
@pytest.mark.parametrize("form", ["chat", "messages"])
async def test_a_200_that_holds_no_message_is_invalid(
    upstream: ScriptedUpstream, client: AnthropicUpstream, body: bytes, form: Any
) -> None:
    upstream.replies(200, body)

    with pytest.raises(UpstreamError) as caught:
        await client.complete(msgspec.structs.replace(a_call(), form=form))

    assert (caught.value.kind, caught.value.may_have_charged) == ("invalid", True)


async def test_a_message_may_be_empty(upstream: ScriptedUpstream, client: AnthropicUpstream) -> None:
    upstream.replies(200, b'{"content": [], "stop_reason": "end_turn"}')

    reply = await client.complete(a_call())

    assert reply.body["choices"][0]["message"]["content"] == ""
    assert (reply.text, reply.usage, reply.finish_reasons) == ("", None, ("stop",))


@pytest.mark.fault("M22")
@pytest.mark.parametrize("form", ["chat", "messages"])
@pytest.mark.parametrize(
    "usage",
    [
        None,
        5,
        '"text"',
        {"input_tokens": -5, "output_tokens": 2},
        {"input_tokens": 5},
        {"input_tokens": 1.5, "output_tokens": 2},
        '{"input_tokens": 1e400, "output_tokens": 2}',
    ],
)
async def test_nonsense_for_usage_is_none_and_the_stream_stands(
    upstream: ScriptedUpstream, client: AnthropicUpstream, usage: Any, form: Any
) -> None:
    upstream.sends_usage(usage, "Paris")
    call = msgspec.structs.replace(a_call(is_stream=True), form=form)

    events = await read(client, call)

    assert "".join(event.text for event in events) == "Paris"
    assert [event.usage for event in events if event.usage] == []
    assert [event.finish_reason for event in events if event.finish_reason] == ["stop"]


@pytest.mark.fault("M22")
async def test_a_contradiction_in_the_usage_is_suspect(
    upstream: ScriptedUpstream, client: AnthropicUpstream
) -> None:
    details = {"thinking_tokens": 50}
    upstream.sends_usage({"input_tokens": 7, "output_tokens": 1, "output_tokens_details": details}, "Paris")

    reply = await client.complete(a_call())

    assert reply.usage == Usage(input=7, reasoning=1, is_suspect=True)


async def test_the_input_is_not_taken_for_the_usage_of_a_stream_that_breaks(
    upstream: ScriptedUpstream, client: AnthropicUpstream
) -> None:
    upstream.breaks_off("reset", after=2)
    stream = one_by_one(client.stream(a_call(is_stream=True)))

    told = [await anext(stream) for _ in range(3)]

    with pytest.raises(UpstreamError):
        await anext(stream)
    assert [event.text for event in told] == ["", "word0 ", "word1 "]
    assert [event.usage for event in told] == [None] * 3


_TEXT = st.text(min_size=1)
_BLOCKS = st.one_of(
    st.builds(lambda said: {"type": "text", "text": said}, _TEXT),
    st.builds(lambda said: {"type": "thinking", "thinking": said, "signature": "s"}, _TEXT),
    st.builds(
        lambda name, arguments: {"type": "tool_use", "id": f"t_{name}", "name": name, "input": arguments},
        _TEXT,
        st.dictionaries(_TEXT, st.none() | st.integers(-(2**53), 2**53) | _TEXT | st.lists(_TEXT)),
    ),
)


def streamed(content: list[Json], cuts: int) -> list[Json]:
    events = [started(input_tokens=5, output_tokens=1)]
    for index, block in enumerate(content):
        kind = block["type"]
        field = {"text": "text", "thinking": "thinking", "tool_use": "partial_json"}[kind]
        whole = json.dumps(block["input"]) if kind == "tool_use" else block[kind]
        empty = {"text": "", "thinking": "", "input": {}}
        events.append(opened(index, **{**block, **{name: empty[name] for name in block if name in empty}}))
        events += [moved(index, **{field: whole[at : at + cuts]}) for at in range(0, len(whole), cuts)]
        events.append(closed(index))
    return [*events, ended("end_turn", usage={"output_tokens": 9})]


def assembled(events: list[Event]) -> Json:
    """As a client puts chunks together."""
    message: Json = {"content": "", "tool_calls": []}
    for delta in deltas(events):
        message["content"] += delta.get("content") or ""
        if "reasoning_content" in delta:
            message["reasoning_content"] = message.get("reasoning_content", "") + delta["reasoning_content"]
        for part in delta.get("tool_calls", []):
            if part["index"] == len(message["tool_calls"]):
                message["tool_calls"].append({**part, "function": dict(part["function"])})
            else:
                message["tool_calls"][part["index"]]["function"]["arguments"] += part["function"]["arguments"]
    return message


@given(content=st.lists(_BLOCKS, max_size=5), cuts=st.integers(1, 7))
def test_however_a_message_is_cut_its_stream_says_what_it_says_whole(content: list[Json], cuts: int) -> None:
    body = {"id": "msg_1", "model": "m", "content": content, "stop_reason": "end_turn"}
    body["usage"] = {"input_tokens": 5, "output_tokens": 9}
    transport: Any = Transport.__new__(Transport)  # nothing is sent
    chat, native = ChatReader(transport, HEAD, is_legacy=False), MessageReader(transport, HEAD)
    chunks: list[Event] = []
    passed: list[Event] = []

    message, reply = read_reply(body)
    whole = completion(message, reply, HEAD, is_legacy=False)["choices"][0]["message"]
    for event in streamed(content, cuts):
        data = json.dumps(event).encode()
        assert chat.read(data, chunks) == native.read(data, passed) == "good"

    got = assembled(chunks)
    assert got["content"] == (whole["content"] or "")
    assert got.get("reasoning_content") == whole.get("reasoning_content")
    assert [
        {**call, "function": json.loads(call["function"]["arguments"])} for call in got["tool_calls"]
    ] == [
        {"index": number, **call, "function": json.loads(call["function"]["arguments"])}
        for number, call in enumerate(whole.get("tool_calls", []))
    ]
    assert chunks[-1].usage == passed[-1].usage == reply.usage == Usage(input=5, output=9)
    assert [json.loads(event.data) for event in passed[1:-1]] == streamed(content, cuts)[1:-1]


@given(junk=st.binary(max_size=60) | st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["type", "index", "delta", "message", "content_block", "usage", "text", "id"])
        | st.text(max_size=3),
        inner | st.sampled_from(["message_start", "content_block_start", "content_block_delta", "tool_use"]),
        max_size=4,
    ),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_no_event_breaks_the_reader(junk: bytes) -> None:
    transport: Any = Transport.__new__(Transport)  # nothing is sent
    for reader in (ChatReader(transport, HEAD, is_legacy=False), MessageReader(transport, HEAD)):
        events: list[Event] = []
        reader.read(json.dumps(started()).encode(), events)
        if b'"error"' not in junk:
            assert reader.read(junk, events) in ("good", "bad", "end")
        assert all(json.loads(event.data) for event in events)
