"""A server of Anthropic's dialect as apps meet it, through OpenAI's SDK and through Anthropic's: what it bills, we book."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import pytest

from gateway.values import Price, Usage, cost
from tests.fixtures.gateway import MakeGateway, RunningGateway
from tests.fixtures.scripted_upstream import ScriptedUpstream

HELLO: Any = [{"role": "user", "content": "Hello there"}]
PRICE = Price(
    version="v",
    input=3_000_000,
    cached_input=300_000,
    cache_write=3_750_000,
    cache_write_1h=6_000_000,
    output=15_000_000,
    reasoning=15_000_000,
)
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CALL = {"id": "toolu_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
CACHED: dict[str, Any] = {
    "prompt_tokens": 5, "output_tokens": 7, "cached_tokens": 1000, "written_tokens": 200, "written_1h_tokens": 30,
}  # fmt: skip


def config(upstream: ScriptedUpstream, **more: str) -> str:
    extra = "".join(f"\n    {name}: {value}" for name, value in more.items())
    return f"""
upstreams:
  claude:
    base_url: {upstream.url}
    dialect: anthropic{extra}
    models:
      claude:
        size: cloud
        upstream_model: claude-opus
        price: {{input: 3, output: 15, cached_input: 0.3, cache_write: 3.75, cache_write_1h: 6}}
        abilities: [tools, vision, files, json_schema, reasoning]
        context_window: 200000
"""


@pytest.fixture
async def gateway(make_gateway: MakeGateway, upstream: ScriptedUpstream) -> RunningGateway:
    return await make_gateway(config(upstream))


@pytest.fixture
async def messages(gateway: RunningGateway) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=gateway.url, api_key=gateway.key, max_retries=0) as client:
        yield client


async def check_books(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    """I1 and I2: the ledger holds what the upstream bills, attempt for attempt, class for class, and at its price."""
    entries = await gateway.entries()
    booked = [
        (
            e.input_tokens,
            e.cached_input_tokens,
            e.cache_write_tokens,
            e.cache_write_1h_tokens,
            e.output_tokens,
        )
        for e in entries
    ]
    assert booked == [
        (u.input, u.cached_input, u.cache_write, u.cache_write_1h, u.output)
        for u in (bill.usage for bill in upstream.invoice)
    ]
    assert [entry.cost for entry in entries] == [cost(bill.usage, PRICE) for bill in upstream.invoice]
    assert not any(entry.is_suspect or entry.suspense for entry in entries)


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_chat_is_answered_as_a_chat_and_billed_to_the_class(
    gateway: RunningGateway, upstream: ScriptedUpstream, is_stream: bool
) -> None:
    upstream.answers("Pa", "ris", **CACHED)
    chats = gateway.client(_strict_response_validation=True).chat.completions

    if is_stream:
        stream = await chats.create(
            model="claude", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        reason = chunks[-2].choices[0].finish_reason
        usage, model = chunks[-1].usage, chunks[-1].model
    else:
        reply = await chats.create(model="claude", messages=HELLO)
        text, reason = reply.choices[0].message.content or "", reply.choices[0].finish_reason
        usage, model = reply.usage, reply.model

    assert (text, reason, model) == ("Paris", "stop", "claude")
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (1235, 7, 1242)
    assert usage.prompt_tokens_details is not None
    assert usage.prompt_tokens_details.cached_tokens == 1000
    assert usage.prompt_tokens_details.cache_write_tokens == 230
    await check_books(gateway, upstream)


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_message_is_passed_on_and_billed_to_the_class(
    gateway: RunningGateway,
    upstream: ScriptedUpstream,
    messages: anthropic.AsyncAnthropic,
    is_stream: bool,
) -> None:
    upstream.answers("Pa", "ris", **CACHED)
    asked: dict[str, Any] = {"model": "claude", "max_tokens": 10, "messages": HELLO}

    if is_stream:
        async with messages.messages.stream(**asked) as stream:
            reply: Any = await stream.get_final_message()
    else:
        reply = await messages.messages.create(**asked)

    assert (reply.content[0].text, reply.stop_reason, reply.model) == ("Paris", "end_turn", "claude")
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (5, 7)
    assert (reply.usage.cache_read_input_tokens, reply.usage.cache_creation_input_tokens) == (1000, 230)
    assert upstream.attempts[0].body["messages"] == HELLO
    await check_books(gateway, upstream)


async def test_a_months_spend_adds_up_whoever_asked_and_whatever_was_cached(
    gateway: RunningGateway, upstream: ScriptedUpstream, messages: anthropic.AsyncAnthropic
) -> None:
    marked = [
        {"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]}
    ]
    upstream.answers("Paris", prompt_tokens=3, written_tokens=900, times=2)
    upstream.answers("Paris", prompt_tokens=3, cached_tokens=900)
    chats = gateway.client().chat.completions

    await chats.create(model="claude", messages=marked)  # type: ignore[arg-type]  # a mark of Anthropic's own
    await messages.messages.create(model="claude", max_tokens=5, messages=marked)  # type: ignore[arg-type]  # likewise
    await chats.create(model="claude", messages=HELLO)
    await messages.messages.create(model="claude", max_tokens=5, messages=HELLO)
    await gateway.app.catch_up()
    async with gateway.admin() as http:
        spend = (await http.get("/finance/spend", params={"by": "model"})).json()

    [row] = spend["rows"]
    assert row["input_tokens"] == 12
    assert (row["cached_input_tokens"], row["cache_write_tokens"], row["cache_write_1h_tokens"]) == (
        1800,
        1800,
        0,
    )
    total = sum(cost(bill.usage, PRICE) for bill in upstream.invoice)
    assert row["cost_usd"] == f"{total / 1e9:.9f}"
    await check_books(gateway, upstream)


async def test_tools_go_there_and_back(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    upstream.answers(finish_reason="tool_calls", message={"tool_calls": [CALL]}, output_tokens=4, times=1)
    upstream.answers("Sunny")
    chats = gateway.client().chat.completions
    asked: dict[str, Any] = {"model": "claude", "tools": [WEATHER], "tool_choice": "required"}

    first = await chats.create(messages=HELLO, parallel_tool_calls=False, **asked)
    message = first.choices[0].message
    assert message.tool_calls is not None
    result: Any = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "30 degrees"}
    second = await chats.create(
        model="claude", tools=[WEATHER], messages=[*HELLO, message.model_dump(exclude_none=True), result]
    )

    assert first.choices[0].finish_reason == "tool_calls"
    assert second.choices[0].message.content == "Sunny"
    one, two = [attempt.body for attempt in upstream.attempts]
    assert one["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}
    assert one["tools"][0]["name"] == "weather"
    assert two["messages"][1]["content"] == [
        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Rome"}}
    ]
    assert two["messages"][2]["content"][0]["tool_use_id"] == "toolu_1"
    await check_books(gateway, upstream)


async def test_tool_calls_and_thoughts_are_streamed(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    said = {"tool_calls": [CALL], "reasoning_content": "Rome, then."}
    upstream.answers(finish_reason="tool_calls", message=said, output_tokens=4)

    thought = ""
    async with gateway.client().chat.completions.stream(
        model="claude", messages=HELLO, tools=[WEATHER], reasoning_effort="low"
    ) as stream:
        async for event in stream:
            if event.type == "chunk" and event.chunk.choices:
                thought += getattr(event.chunk.choices[0].delta, "reasoning_content", None) or ""
        final = await stream.get_final_completion()

    [call] = final.choices[0].message.tool_calls or []
    assert (call.id, json.loads(call.function.arguments)) == ("toolu_1", {"city": "Rome"})
    assert thought == "Rome, then."
    body = upstream.attempts[0].body
    assert (body["thinking"], body["output_config"]) == ({"type": "adaptive"}, {"effort": "low"})


async def test_what_is_sent_has_a_ceiling_and_nothing_of_openais(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    await gateway.client().chat.completions.create(
        model="claude",
        messages=[{"role": "system", "content": "Be brief."}, *HELLO],
        temperature=0.2,
        stop=["END"],
        user="u-1",
        metadata={"a": "b"},
        n=1,
        presence_penalty=0,
    )

    assert upstream.attempts[0].path == "/v1/messages"
    assert upstream.attempts[0].body == {
        "model": "claude-opus",
        "max_tokens": 1024,
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello there"}]}],
        "temperature": 0.2,
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u-1"},
    }


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": 1.5}, "temperature"),
        ({"seed": 7}, "seed"),
        ({"n": 2}, "n"),
        ({"stop": "\n"}, "stop"),
        ({"logit_bias": {"1": 5}}, "logit_bias"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"logprobs": True}, "logprobs"),
        ({"store": True}, "store"),
    ],
)
async def test_what_the_dialect_cannot_say_is_refused_by_name_before_anything_is_sent(
    gateway: RunningGateway, upstream: ScriptedUpstream, fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await gateway.client().chat.completions.create(model="claude", messages=HELLO, **fields)

    assert refused.value.param == param
    assert upstream.attempts == []


async def test_what_turns_out_to_be_untranslatable_costs_nothing_and_names_its_place(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    archive = "data:application/zip;base64," + base64.b64encode(b"PK").decode()
    part: Any = {"type": "file", "file": {"file_data": archive, "filename": "a.zip"}}

    with pytest.raises(openai.BadRequestError, match="application/zip") as refused:
        await gateway.client().chat.completions.create(
            model="claude", messages=[{"role": "user", "content": [part]}]
        )

    assert refused.value.param == "messages[0].content[0].file.file_data"
    assert refused.value.code == "unsupported_value"
    assert upstream.attempts == []
    assert await gateway.entries() == []


async def test_what_one_model_cannot_be_asked_is_asked_of_the_next(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    dear = "{size: large, price: {input: 9, output: 9}, abilities: [files], context_window: 200000}"
    other = f"\n  other:\n    base_url: {upstream.url}\n    models: {{gpt: {dear}}}\n"
    gateway = await make_gateway(config(upstream) + other)
    archive = "data:application/zip;base64," + base64.b64encode(b"PK").decode()
    part: Any = {"type": "file", "file": {"file_data": archive, "filename": "a.zip"}}

    reply = await gateway.client().chat.completions.create(
        model="auto:cheapest", messages=[{"role": "user", "content": [part]}]
    )

    assert reply.model == "gpt"
    assert [entry.model for entry in await gateway.entries()] == ["gpt"]


async def test_a_schema_and_an_image_reach_the_model(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers('{"city": "Paris"}')
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    }
    parts: Any = [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
        {"type": "text", "text": "Where?"},
    ]

    reply = await gateway.client().chat.completions.create(
        model="claude",
        messages=[{"role": "user", "content": parts}],
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "place", "schema": schema, "strict": True},
        },
    )

    assert json.loads(reply.choices[0].message.content or "") == {"city": "Paris"}
    body = upstream.attempts[0].body
    assert body["output_config"]["format"] == {"type": "json_schema", "schema": schema}
    assert body["messages"][0]["content"][0]["source"]["type"] == "base64"


@pytest.mark.fault("S2")
@pytest.mark.parametrize(
    ("status", "seen", "code"),
    [(529, 503, "server_is_overloaded"), (500, 502, "upstream_error"), (401, 502, "upstream_error")],
)
async def test_the_upstreams_failures_are_told_as_any_others(
    gateway: RunningGateway, upstream: ScriptedUpstream, status: int, seen: int, code: str
) -> None:
    upstream.refuses(status, message="the upstream's own words")

    with pytest.raises(openai.APIStatusError) as failed:
        await gateway.client().chat.completions.create(model="claude", messages=HELLO)

    assert (failed.value.status_code, failed.value.code) == (seen, code)
    assert "own words" not in failed.value.message


async def test_a_prompt_that_is_too_long_is_told_in_openais_code(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.refuses(400, message="prompt is too long: 208310 tokens > 200000 maximum")

    with pytest.raises(openai.BadRequestError, match="208310") as refused:
        await gateway.client().chat.completions.create(model="claude", messages=HELLO)

    assert refused.value.code == "context_length_exceeded"
    assert await gateway.entries() == []


@pytest.mark.fault("M7")
async def test_a_stream_that_breaks_ends_with_an_error_and_is_billed_for_what_came(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.reports_error(code="overloaded_error", after=2)

    stream = await gateway.client().chat.completions.create(model="claude", messages=HELLO, stream=True)
    with pytest.raises(openai.APIError, match="broke off"):
        async for _ in stream:
            pass

    [entry] = await gateway.entries()
    assert (entry.outcome, entry.usage_source) == ("interrupted", "estimated")
    assert entry.output_tokens > 0
    assert entry.cost + entry.suspense >= cost(upstream.attempts[0].usage, PRICE)


@pytest.mark.fault("M5")
async def test_a_client_that_leaves_stops_the_upstream_and_pays_for_what_was_made(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Pa", "ris", hold={1: asyncio.Event()})

    stream = await gateway.client().chat.completions.create(model="claude", messages=HELLO, stream=True)
    async for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    await stream.close()

    attempt = await upstream.attempt(0)
    await asyncio.wait_for(attempt.client_closed.wait(), 2)
    [entry] = await gateway.entries()
    assert (entry.outcome, entry.usage_source) == ("client_gone", "estimated")
    assert entry.cost + entry.suspense >= cost(attempt.usage, PRICE)


@pytest.mark.fault("M5")
async def test_a_stream_can_be_drained_to_its_own_count(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await make_gateway(config(upstream, on_disconnect="drain", drain_s="5"))
    gate = asyncio.Event()
    upstream.answers("Pa", "ris", hold={1: gate}, **CACHED)

    stream = await gateway.client().chat.completions.create(model="claude", messages=HELLO, stream=True)
    async for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    await stream.close()
    gate.set()
    await (await upstream.attempt(0)).ended.wait()

    [entry] = await gateway.entries()
    assert (entry.outcome, entry.usage_source) == ("client_gone", "reported")
    await check_books(gateway, upstream)


@pytest.mark.fault("M23")
async def test_what_a_marked_prompt_may_cost_is_held_before_it_is_sent(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    marked: Any = [
        {
            "role": "user",
            "content": [{"type": "text", "text": "x" * 500, "cache_control": {"type": "ephemeral"}}],
        }
    ]
    plain: Any = [{"role": "user", "content": [{"type": "text", "text": "x" * 560}]}]
    upstream.answers("Paris", prompt_tokens=500)
    budget = cost(Usage(input=900, output=10), PRICE)
    key = await gateway.new_key("poor", "vip", budget_per_month=budget)
    chats = gateway.client(key).chat.completions

    with pytest.raises(openai.RateLimitError) as refused:
        await chats.create(model="claude", messages=marked, max_tokens=10)
    await chats.create(model="claude", messages=plain, max_tokens=10)

    assert refused.value.code == "insufficient_quota"
    [entry] = await gateway.entries()
    assert not entry.is_overrun


async def test_a_repeated_chat_is_answered_from_the_cache_with_what_it_once_took(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Paris", **CACHED)
    chats = gateway.client().chat.completions

    await chats.create(model="claude", messages=HELLO, temperature=0)
    await chats.create(model="claude", messages=HELLO, temperature=0)

    paid, repeated = await gateway.entries()
    assert len(upstream.attempts) == 1
    assert (repeated.is_cache_hit, repeated.cost) == (True, 0)
    assert (repeated.cache_write_tokens, repeated.cache_write_1h_tokens) == (200, 30)
    assert paid.usage.prompt == repeated.usage.prompt == 1235


async def test_the_metrics_and_the_log_know_the_classes(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Paris", **CACHED)

    await gateway.client().chat.completions.create(model="claude", messages=HELLO)

    async with gateway.http() as http:
        metrics = (await http.get("/metrics")).text
    assert 'weighbridge_tokens_total{class="cache_write_1h",model="claude"} 30.0' in metrics
    assert 'weighbridge_tokens_total{class="cache_write",model="claude"} 200.0' in metrics
    [line] = [line for line in await gateway.log_lines() if line["event"] == "request.done"]
    assert (line["cache_write_tokens"], line["cache_write_1h_tokens"]) == (200, 30)


async def test_admins_see_what_cache_writes_cost(gateway: RunningGateway) -> None:
    async with gateway.admin() as http:
        [row] = (await http.get("/admin/prices", params={"candidate": "claude/claude"})).json()

    assert (row["input"], row["cache_write"], row["cache_write_1h"]) == (3_000_000, 3_750_000, 6_000_000)


async def test_a_stream_passes_pings_over_and_speaks_before_it_is_through(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    gate = asyncio.Event()
    upstream.answers("Pa", "ris", hold={1: gate})

    stream = await gateway.client().chat.completions.create(model="claude", messages=HELLO, stream=True)
    texts: list[str] = []
    async for chunk in stream:
        texts.append(chunk.choices[0].delta.content or "")
        if texts[-1]:
            gate.set()

    assert texts == ["", "Pa", "ris", ""]
