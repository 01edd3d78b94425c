"""The OpenAI dialect in its many accents, and what is made of those who do not speak it."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.clock import SystemClock
from gateway.upstreams.contract import UpstreamError
from gateway.upstreams.openai import OpenAIUpstream
from gateway.values import Usage
from tests.fixtures.scripted_upstream import ScriptedUpstream
from tests.fixtures.upstream_calls import a_call, read

DONE = b"data: [DONE]\n\n"


@pytest.fixture
async def client(upstream: ScriptedUpstream) -> AsyncIterator[OpenAIUpstream]:
    client = OpenAIUpstream(upstream.settings(), name="up", api_key="", clock=SystemClock())
    yield client
    await client.close()


def piece(text: str = "Pa", **more: Any) -> bytes:
    return json.dumps({"choices": [{"index": 0, "delta": {"content": text}}], **more}).encode()


START = (
    b'{"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": '
    b'[{"index": 0, "delta": {"role": "assistant"}, "finish_reason": null}]}'
)


def framed(*events: bytes) -> bytes:
    return b"".join(b"data: %b\n\n" % event for event in events)


async def test_without_a_key_no_credential_is_sent(
    upstream: ScriptedUpstream, client: OpenAIUpstream
) -> None:
    await client.complete(a_call())

    assert "authorization" not in (await upstream.attempt(0)).headers


async def test_each_event_is_told_for_what_it_is(upstream: ScriptedUpstream, client: OpenAIUpstream) -> None:
    upstream.answers("Pa", "ris", prompt_tokens=7)

    events = await read(client)

    assert [event.text for event in events] == ["Pa", "ris", "", ""]
    assert [event.finish_reason for event in events] == [None, None, "stop", None]
    assert [event.usage for event in events] == [None, None, None, Usage(input=7, output=2)]
    assert [event.is_usage_only for event in events] == [False, False, False, True]
    assert json.loads(events[0].data)["choices"][0]["delta"] == {"role": "assistant", "content": "Pa"}


@pytest.mark.fault("S5")
@pytest.mark.parametrize(
    "stream",
    [
        framed(piece("Pa"), piece("ris")) + DONE,
        framed(piece("Pa"), piece("ris")) + DONE + DONE,
        framed(piece("Pa"), piece("ris")) + DONE + framed(piece("London")) + DONE,
        (framed(piece("Pa"), piece("ris")) + DONE).replace(b"\n", b"\r"),
        (framed(piece("Pa"), piece("ris")) + DONE).replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf: hello\n\n" + framed(piece("Pa")) + b"id: 3\nretry: 5\n" + framed(piece("ris")) + DONE,
        framed(piece("Pa")) + b"event: ping\n\n" + framed(piece("ris")) + DONE,
        framed(piece("Pa"), b"{oops", piece("ris")) + DONE,
        framed(b"[]", piece("Pa"), b'{"choices": 5}', piece("ris")) + DONE,
        framed(b'{"id": "\xff"}', piece("Pa"), b"[" * 5000, piece("ris")) + DONE,
    ],
)
@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_what_is_valid_in_a_malformed_stream_is_passed_on(
    upstream: ScriptedUpstream, client: OpenAIUpstream, stream: bytes, size: int
) -> None:
    upstream.sends(*(stream[at : at + size] for at in range(0, len(stream), size)))

    events = await read(client)

    assert [event.text for event in events if event.text] == ["Pa", "ris"]


@pytest.mark.fault("S5")
async def test_the_third_bad_event_ends_the_stream(
    upstream: ScriptedUpstream, client: OpenAIUpstream
) -> None:
    upstream.sends(framed(piece(), b"{", piece(), b"{", piece(), b"{") + DONE)

    with pytest.raises(UpstreamError) as caught:
        await read(client)

    assert caught.value.kind == "invalid"


@pytest.mark.fault("S5")
async def test_an_event_on_several_lines_is_put_on_one(
    upstream: ScriptedUpstream, client: OpenAIUpstream
) -> None:
    upstream.sends(b"data: " + START.replace(b", ", b",\ndata: ") + b"\n\n" + DONE)

    event = (await read(client))[0]

    assert event.data == START


@pytest.mark.parametrize(
    ("delta", "text"),
    [
        ({"role": "assistant"}, ""),
        ({"content": None, "refusal": "No."}, "No."),
        ({"reasoning_content": "Hm."}, "Hm."),
        ({"reasoning": "Hm.", "reasoning_content": "Hm."}, "Hm."),
        ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]}, "Hm."),
        (
            {
                "tool_calls": [
                    {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                ]
            },
            "f{}",
        ),
        ({"function_call": {"arguments": '{"a"'}}, '{"a"'),
        ({"content": 5}, ""),
    ],
)
@pytest.mark.parametrize("field", ["delta", "message"])
async def test_all_that_was_generated_counts_as_text(
    upstream: ScriptedUpstream, client: OpenAIUpstream, delta: dict[str, Any], text: str, field: str
) -> None:
    body = json.dumps({"choices": [{field: delta}]}).encode()
    if field == "delta":
        upstream.sends(framed(body) + DONE)
        answer = (await read(client))[0]
    else:
        upstream.replies(200, body)
        answer = await client.complete(a_call())  # type: ignore[assignment] # both have a text

    assert answer.text == text


async def test_several_choices_are_told_together(upstream: ScriptedUpstream, client: OpenAIUpstream) -> None:
    choices = [
        {"index": 0, "message": {"content": "Paris"}, "finish_reason": "stop"},
        {"index": 1, "message": {"content": "Rome"}, "finish_reason": "length"},
    ]
    upstream.replies(200, json.dumps({"choices": choices}).encode())

    reply = await client.complete(a_call(n=2))

    assert (reply.text, reply.finish_reasons) == ("ParisRome", ("stop", "length"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"5",
        b"{",
        b'{"choices": []}',
        b'{"choices": [5]}',
        b'{"choices": "x"}',
        b"[" * 9999,
    ],
)
async def test_a_200_that_holds_no_answer_is_invalid(
    upstream: ScriptedUpstream, client: OpenAIUpstream, body: bytes
) -> None:
    upstream.replies(200, body)

    with pytest.raises(UpstreamError) as caught:
        await client.complete(a_call())

    assert (caught.value.kind, caught.value.may_have_charged) == ("invalid", True)


async def test_an_answer_that_should_have_been_a_stream_is_invalid(
    upstream: ScriptedUpstream, client: OpenAIUpstream
) -> None:
    upstream.replies(200, b'{"choices": [{"message": {"content": "Paris"}}]}')

    with pytest.raises(UpstreamError) as caught:
        await read(client)

    assert caught.value.kind == "invalid"


@pytest.mark.parametrize(
    ("code", "kind", "may_have_charged"),
    [
        (429, "busy", False),
        (503, "busy", False),
        (400, "refused", False),
        (500, "refused", True),
        (None, "refused", True),
        ("rate_limit", "refused", True),
        (200, "refused", True),
        (True, "refused", True),
    ],
)
@pytest.mark.parametrize("is_stream", [False, True])
async def test_an_error_inside_a_200_may_name_the_status_it_means(
    upstream: ScriptedUpstream,
    client: OpenAIUpstream,
    code: Any,
    kind: str,
    may_have_charged: bool,
    is_stream: bool,
) -> None:
    upstream.reports_error(code=code, message="too long")

    with pytest.raises(UpstreamError) as caught:
        await (read(client) if is_stream else client.complete(a_call()))

    assert (caught.value.kind, caught.value.may_have_charged) == (kind, may_have_charged)
    assert caught.value.caller_error == ({"message": "too long"} if code == 400 else None)


async def test_after_good_events_an_error_may_have_charged_whatever_it_says(
    upstream: ScriptedUpstream, client: OpenAIUpstream
) -> None:
    upstream.reports_error(code=429, after=1)

    with pytest.raises(UpstreamError) as caught:
        await read(client)

    assert (caught.value.kind, caught.value.may_have_charged) == ("busy", True)


async def test_an_empty_error_is_none(upstream: ScriptedUpstream, client: OpenAIUpstream) -> None:
    upstream.sends(framed(piece(error=None), piece(error={})) + DONE)

    assert [event.text for event in await read(client)] == ["Pa", "Pa", ""]


@pytest.mark.fault("M22")
@pytest.mark.parametrize("at", ["own_event", "last_piece", "every_event"])
async def test_usage_is_found_wherever_it_comes(
    upstream: ScriptedUpstream, client: OpenAIUpstream, at: Any
) -> None:
    upstream.sends_usage({"prompt_tokens": 7, "completion_tokens": 2}, "Pa", "ris", at=at)

    events = await read(client)

    assert [event.usage for event in events if event.usage][-1] == Usage(input=7, output=2)
    assert [event.is_usage_only for event in events] == [False, False, False, True]


@pytest.mark.fault("M22")
async def test_no_usage_is_none(upstream: ScriptedUpstream, client: OpenAIUpstream) -> None:
    upstream.sends_usage(None, "Pa", "ris")

    reply = await client.complete(a_call())
    events = await read(client)

    assert reply.usage is None
    assert {event.usage for event in events} == {None}
    assert not any(event.is_usage_only for event in events)


@pytest.mark.fault("M22")
@pytest.mark.parametrize(
    "usage",
    [
        '{"prompt_tokens": -5, "completion_tokens": 1}',
        '{"prompt_tokens": "5", "completion_tokens": 1}',
        '{"prompt_tokens": 5.0, "completion_tokens": 1}',
        '{"prompt_tokens": 5, "completion_tokens": 1099511627777}',
        '{"prompt_tokens": 5}',
        "[1]",
        '"many"',
    ],
)
async def test_nonsense_for_usage_is_none_and_the_answer_stands(
    upstream: ScriptedUpstream, client: OpenAIUpstream, usage: str
) -> None:
    upstream.sends_usage(usage, "Paris")

    reply = await client.complete(a_call())
    events = await read(client)

    assert (reply.text, reply.usage) == ("Paris", None)
    assert [event.text for event in events] == ["Paris", ""]
    assert not any(event.usage or event.is_usage_only for event in events)


@pytest.mark.fault("M22")
async def test_a_number_that_no_computer_holds_spoils_only_itself_in_a_stream(
    upstream: ScriptedUpstream, client: OpenAIUpstream
) -> None:
    upstream.sends_usage('{"prompt_tokens": 1e400, "completion_tokens": 1}', "Paris", at="every_event")

    events = await read(client)

    assert [event.text for event in events] == ["Paris", ""]
    assert [event.finish_reason for event in events] == [None, "stop"]
    assert events[-1].usage is None


@pytest.mark.fault("M22")
async def test_figures_that_contradict_themselves_are_suspect(
    upstream: ScriptedUpstream, client: OpenAIUpstream
) -> None:
    details = {"prompt_tokens_details": {"cached_tokens": 50}}
    upstream.sends_usage({"prompt_tokens": 7, "completion_tokens": 1, **details}, "Paris")

    reply = await client.complete(a_call())

    assert reply.usage == Usage(cached_input=7, output=1, is_suspect=True)
