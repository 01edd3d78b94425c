"""Messages as an app meets them through Anthropic's own SDK, whatever dialect the model's server speaks."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import anthropic
import httpx
import pytest

from gateway.clock import ManualClock
from tests.fixtures.gateway import MakeGateway, RunningGateway
from tests.fixtures.scripted_upstream import ScriptedUpstream

HELLO: Any = [{"role": "user", "content": "Hello there"}]
WEATHER: Any = {
    "name": "weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
TOOL_CALL = {
    "tool_calls": [
        {
            "index": 0,
            "id": "call_1",
            "type": "function",
            "function": {"name": "weather", "arguments": '{"city": "Rome"}'},
        }
    ]
}


def sdk(gateway: RunningGateway, key: str | None = None, **options: Any) -> anthropic.AsyncAnthropic:
    options.setdefault("max_retries", 0)
    return anthropic.AsyncAnthropic(base_url=gateway.url, api_key=key or gateway.key, **options)


@pytest.fixture
async def client(gateway: RunningGateway) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with sdk(gateway, _strict_response_validation=True) as client:
        yield client


def text_of(message: anthropic.types.Message) -> str:
    return "".join([block.text for block in message.content if block.type == "text"])


async def check_books(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    """The ledger holds what the upstream bills, attempt for attempt."""
    booked = [(entry.input_tokens, entry.output_tokens) for entry in await gateway.entries()]
    assert booked == [(bill.prompt_tokens, bill.completion_tokens) for bill in upstream.invoice]


async def test_a_chat_models_answer_is_a_message(
    gateway: RunningGateway, upstream: ScriptedUpstream, client: anthropic.AsyncAnthropic
) -> None:
    upstream.answers("Paris", output_tokens=1)

    raw = await client.messages.with_raw_response.create(
        model="auto", max_tokens=50, messages=HELLO, system="Be brief."
    )

    reply = await raw.parse()
    assert text_of(reply) == "Paris"
    assert (reply.model, reply.role, reply.stop_reason) == ("small", "assistant", "end_turn")
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (4, 1)
    assert reply.id == raw.headers["request-id"].replace("req_", "msg_")
    assert raw.headers["x-weighbridge-model"] == "small"
    assert upstream.attempts[0].body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello there"},
    ]
    assert upstream.attempts[0].body["max_tokens"] == 50
    await check_books(gateway, upstream)


async def test_a_stream_is_told_as_it_comes_and_counts_at_its_end(
    gateway: RunningGateway, upstream: ScriptedUpstream, client: anthropic.AsyncAnthropic
) -> None:
    gate = asyncio.Event()
    upstream.answers("Pa", "ris", hold={1: gate})

    async with client.messages.stream(model="medium", max_tokens=50, messages=HELLO) as stream:
        texts = aiter(stream.text_stream)
        first = await anext(texts)  # it is here while the second piece is still held back
        gate.set()
        rest = [text async for text in texts]
        reply = await stream.get_final_message()

    assert [first, *rest] == ["Pa", "ris"]
    assert (reply.model, reply.stop_reason) == ("medium", "end_turn")
    [bill] = upstream.invoice
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (
        bill.prompt_tokens,
        bill.completion_tokens,
    )
    await check_books(gateway, upstream)


async def test_the_cost_stands_before_the_last_event_and_no_openai_word_after_it(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Paris", output_tokens=1)

    async with gateway.http() as http:
        body = {"model": "small", "max_tokens": 5, "messages": HELLO, "stream": True}
        reply = await http.post("/v1/messages", json=body)

    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.text.endswith(
        ': x-weighbridge-cost-usd 0.000004000\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n'
    )


async def test_tools_go_there_and_back(
    gateway: RunningGateway, upstream: ScriptedUpstream, client: anthropic.AsyncAnthropic
) -> None:
    upstream.answers("Let me look.", message=TOOL_CALL, finish_reason="tool_calls", times=2)
    upstream.answers("Sunny.")
    asked: Any = {"model": "auto", "max_tokens": 100, "tools": [WEATHER]}

    whole = await client.messages.create(messages=HELLO, **asked)
    async with client.messages.stream(messages=HELLO, **asked) as stream:
        streamed = await stream.get_final_message()
    result: Any = {"type": "tool_result", "tool_use_id": "call_1", "content": "sunny"}
    last = await client.messages.create(
        messages=[
            *HELLO,
            {"role": "assistant", "content": whole.content},
            {"role": "user", "content": [result]},
        ],
        **asked,
    )

    for reply in (whole, streamed):
        assert reply.stop_reason == "tool_use"
        words, call = reply.content
        assert (words.type, text_of(reply)) == ("text", "Let me look.")
        assert call.type == "tool_use"
        assert (call.id, call.name, call.input) == ("call_1", "weather", {"city": "Rome"})
    assert last.stop_reason == "end_turn"
    sent = upstream.attempts[2].body["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool"]
    assert sent[1]["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city":"Rome"}'}
    await check_books(gateway, upstream)


async def test_a_key_counts_in_either_header(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    async with anthropic.AsyncAnthropic(
        base_url=gateway.url, auth_token=gateway.key, max_retries=0
    ) as bearer:
        reply = await bearer.messages.create(model="small", max_tokens=5, messages=HELLO)

    assert reply.content[0].type == "text"
    seen = upstream.attempts[0].headers
    assert gateway.key not in str(seen)
    assert not {"x-api-key", "anthropic-version", "x-stainless-lang"} & seen.keys()


@pytest.mark.parametrize(
    ("fields", "needs"),
    [
        ({"tools": [WEATHER]}, "tools"),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
            "response_format",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}}
                        ],
                    }
                ]
            },
            "messages",
        ),
    ],
)
async def test_a_request_goes_to_a_model_that_can_do_what_it_asks_for(
    gateway: RunningGateway, client: anthropic.AsyncAnthropic, fields: dict[str, Any], needs: str
) -> None:
    asked: Any = {"model": "auto", "max_tokens": 5, "messages": HELLO, **fields}

    reply = await client.messages.create(**asked)
    with pytest.raises(anthropic.BadRequestError) as refused:
        await client.messages.create(**{**asked, "model": "small"})

    assert reply.model == "cloud"
    assert refused.value.type == "invalid_request_error"
    assert refused.value.error_code == "unsupported_value"


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools.web_search_20250305"),
        ({"extra_body": {"container": "c_1"}}, "container"),
        ({"messages": [*HELLO, {"role": "assistant", "content": "Paris is"}]}, "messages.prefill"),
    ],
)
async def test_what_only_anthropics_servers_can_do_is_refused_by_its_name_where_there_are_none(
    client: anthropic.AsyncAnthropic, upstream: ScriptedUpstream, fields: dict[str, Any], name: str
) -> None:
    asked: Any = {"model": "auto", "max_tokens": 5, "messages": HELLO, **fields}

    with pytest.raises(anthropic.BadRequestError) as refused:
        await client.messages.create(**asked)

    assert refused.value.error_code == "unsupported_parameter"
    assert name in (refused.value.api_message or "")
    assert upstream.attempts == []


async def test_a_field_that_the_upstream_refuses_is_named_as_the_caller_names_it(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await make_gateway(
        f"""
        upstreams:
          local:
            base_url: {upstream.url}
            unsupported: [stop]
            models: {{small: {{size: small, free: true}}}}
        """
    )

    async with sdk(gateway) as client:
        with pytest.raises(anthropic.BadRequestError) as refused:
            await client.messages.create(model="small", max_tokens=5, messages=HELLO, stop_sequences=["x"])

    assert "'stop_sequences'" in (refused.value.api_message or "")


async def test_refusals_are_the_sdks_own_errors(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    poor = await gateway.new_key("poor", "paid", budget_per_month=0)
    upstream.model("medium").refuses(503)
    upstream.model("cloud").refuses(500)
    seen: list[tuple[type[Exception], str | None, str | None]] = []

    async with sdk(gateway) as client:
        for model, key in (
            ("nonsense", gateway.key), ("small", "sk-wrong"), ("small", poor), ("medium", gateway.key),
            ("cloud", gateway.key),
        ):  # fmt: skip
            with pytest.raises(anthropic.APIStatusError) as refused:
                await client.with_options(api_key=key).messages.create(
                    model=model, max_tokens=5, messages=HELLO
                )
            error = refused.value
            assert error.request_id
            assert error.request_id == error.body["request_id"]  # type: ignore[index]  # it is the parsed JSON
            seen.append((type(error), error.type, error.error_code))

    assert seen == [
        (anthropic.NotFoundError, "not_found_error", "model_not_found"),
        (anthropic.AuthenticationError, "authentication_error", "invalid_api_key"),
        (anthropic.RateLimitError, "billing_error", "insufficient_quota"),
        (anthropic.ServiceUnavailableError, "overloaded_error", "server_is_overloaded"),
        (anthropic.InternalServerError, "api_error", "upstream_error"),
    ]


async def test_what_is_wrong_with_a_request_is_said_with_its_field(client: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.BadRequestError) as refused:
        await client.messages.create(
            model="small",
            max_tokens=5,
            messages=[{"role": "user", "content": [{"type": "text"}]}],  # type: ignore[list-item]  # the point
        )

    assert refused.value.api_message == "Missing required parameter: 'messages[0].content[0].text'."
    assert refused.value.response.headers["x-should-retry"] == "false"


async def test_a_body_that_is_too_large_or_no_json_is_refused_in_the_same_shape(
    make_gateway: MakeGateway,
) -> None:
    gateway = await make_gateway("server: {port: 0, admin_port: 0, max_body_bytes: 1000}")

    async with gateway.http() as http:
        for content, status, kind in (
            (b"{" + b" " * 2000, 413, "request_too_large"),
            (b"{nonsense", 400, "invalid_request_error"),
        ):
            reply = await http.post(
                "/v1/messages", content=content, headers={"content-type": "application/json"}
            )

            assert (reply.status_code, reply.json()["error"]["type"]) == (status, kind)


async def test_limits_are_told_in_anthropics_headers(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    clock = ManualClock()
    gateway = await make_gateway(
        "tiers: {tight: {requests_per_minute: 2, tokens_per_minute: 10000}}", clock=clock
    )
    key = await gateway.new_key("tight", "tight")

    async with sdk(gateway, key) as client:
        raw = await client.messages.with_raw_response.create(model="small", max_tokens=5, messages=HELLO)
        await client.messages.create(model="small", max_tokens=5, messages=HELLO)
        with pytest.raises(anthropic.RateLimitError) as refused:
            await client.messages.create(model="small", max_tokens=5, messages=HELLO)

    headers = raw.headers
    assert headers["anthropic-ratelimit-requests-limit"] == "2"
    assert headers["anthropic-ratelimit-requests-remaining"] == "1"
    assert headers["anthropic-ratelimit-tokens-limit"] == "10000"
    now = datetime.fromtimestamp(clock.now_ms() / 1000, UTC)
    for kind in ("requests", "tokens"):
        reset = datetime.fromisoformat(headers[f"anthropic-ratelimit-{kind}-reset"])
        assert now <= reset <= now + timedelta(seconds=62)
    late = refused.value.response.headers
    assert refused.value.type == "rate_limit_error"
    assert late["anthropic-ratelimit-requests-remaining"] == "0"
    assert float(late["retry-after"]) > 0
    assert late["x-should-retry"] == "true"


async def test_a_stream_that_breaks_is_an_error_in_the_sdk_and_billed_for_what_came(
    gateway: RunningGateway, upstream: ScriptedUpstream, client: anthropic.AsyncAnthropic
) -> None:
    upstream.breaks_off("reset", after=2)

    with pytest.raises(anthropic.APIStatusError) as broken:
        async with client.messages.stream(model="small", max_tokens=50, messages=HELLO) as stream:
            await stream.until_done()

    assert broken.value.error_code == "upstream_stream_interrupted"
    [entry] = await gateway.entries()
    assert (entry.outcome, entry.usage_source) == ("interrupted", "estimated")
    assert entry.cost > 0


@pytest.mark.fault("M5")
async def test_a_client_that_leaves_in_the_middle_is_billed_for_what_was_made(
    gateway: RunningGateway, upstream: ScriptedUpstream, client: anthropic.AsyncAnthropic
) -> None:
    gate = asyncio.Event()
    upstream.answers("Pa", "ris", hold={1: gate})

    stream = await client.messages.create(model="small", max_tokens=50, messages=HELLO, stream=True)
    async for event in stream:
        if event.type == "content_block_delta":
            break
    await stream.close()
    attempt = await upstream.attempt(0)
    await attempt.client_closed.wait()

    [entry] = await gateway.entries()
    assert entry.outcome == "client_gone"
    assert entry.cost > 0
    assert entry.output_tokens >= 1


async def test_a_repeated_question_is_answered_from_the_cache_in_the_same_dialect_only(
    gateway: RunningGateway, upstream: ScriptedUpstream, client: anthropic.AsyncAnthropic
) -> None:
    upstream.answers("Pa", "ris")
    asked: Any = {"model": "small", "max_tokens": 5, "messages": HELLO, "extra_body": {"temperature": 0}}

    first = await client.messages.create(**asked)
    async with client.messages.stream(**asked) as stream:
        streamed = await stream.get_final_message()
    async with client.messages.stream(**asked) as stream:
        again = await stream.get_final_message()
    chat = await gateway.client().chat.completions.create(
        model="small", max_tokens=5, messages=HELLO, temperature=0
    )

    assert [text_of(reply) for reply in (first, streamed, again)] == ["Paris"] * 3
    assert again.usage == streamed.usage
    assert chat.object == "chat.completion"
    assert [entry.is_cache_hit for entry in await gateway.entries()] == [False, False, True, False]


async def test_an_answer_is_given_again_under_its_idempotency_key(
    gateway: RunningGateway, upstream: ScriptedUpstream, client: anthropic.AsyncAnthropic
) -> None:
    asked: Any = {
        "model": "small",
        "max_tokens": 5,
        "messages": HELLO,
        "extra_headers": {"Idempotency-Key": "k-1"},
    }

    async with client.messages.stream(**asked) as stream:
        first = await stream.get_final_message()
    async with client.messages.stream(**asked) as stream:
        second = await stream.get_final_message()

    assert first == second
    assert len(upstream.attempts) == 1


async def test_tokens_are_counted_for_nothing(
    gateway: RunningGateway, upstream: ScriptedUpstream, client: anthropic.AsyncAnthropic
) -> None:
    plain = await client.messages.count_tokens(model="auto", messages=HELLO)
    more = await client.messages.count_tokens(
        model="auto", messages=HELLO, system="Be brief.", tools=[WEATHER]
    )
    image: Any = {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}}
    seen = await client.messages.count_tokens(
        model="auto", messages=[{"role": "user", "content": [image, {"type": "text", "text": "Hello there"}]}]
    )

    assert plain.input_tokens == 2 + 3 + 4  # two tokens of text, the frame of a prompt, and that of a message
    assert more.input_tokens > plain.input_tokens + 20
    assert seen.input_tokens == plain.input_tokens + 1_600
    assert await gateway.entries() == []
    assert upstream.attempts == []


async def test_a_long_prompt_is_counted_to_its_end(client: anthropic.AsyncAnthropic) -> None:
    long: Any = [{"role": "user", "content": "word " * 20_000}]

    counted = await client.messages.count_tokens(model="small", messages=long)

    assert counted.input_tokens == pytest.approx(20_000, rel=0.01)


async def test_counting_is_refused_like_asking(client: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.NotFoundError):
        await client.messages.count_tokens(model="nonsense", messages=HELLO)
    with pytest.raises(anthropic.AuthenticationError):
        await client.with_options(api_key="sk-wrong").messages.count_tokens(model="small", messages=HELLO)
    with pytest.raises(anthropic.BadRequestError):
        await client.messages.count_tokens(model="small", messages=[])


async def both_dialects(make_gateway: MakeGateway, upstream: ScriptedUpstream) -> RunningGateway:
    """`claude` at a server of Anthropic's dialect, `gpt` at one of OpenAI's."""
    return await make_gateway(
        f"""
        upstreams:
          anthropic:
            base_url: {upstream.url}
            dialect: anthropic
            models:
              claude:
                size: large
                upstream_model: claude-x
                price: {{input: 3, output: 15, cached_input: 0.3}}
                abilities: [tools, vision, files, reasoning, unpriced_tools]
                context_window: 200000
          openai:
            base_url: {upstream.url}
            models: {{gpt: {{size: small, price: {{input: 1, output: 2}}, abilities: [tools]}}}}
        """
    )


async def test_an_upstream_of_the_same_dialect_gets_the_request_as_it_was_written(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await both_dialects(make_gateway, upstream)
    thinking: Any = {"type": "enabled", "budget_tokens": 1024, "display": "summarized"}
    system: Any = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]

    async with sdk(gateway) as client:
        reply = await client.beta.messages.create(
            model="claude",
            max_tokens=2000,
            messages=HELLO,
            system=system,
            thinking=thinking,
            metadata={"user_id": "u-1"},
            betas=["files-api-2025-04-14", "mcp-client-2025-11-20"],
        )

    [attempt] = upstream.attempts
    assert attempt.path.endswith("/messages")
    assert attempt.body == {
        "model": "claude-x",
        "max_tokens": 2000,
        "messages": HELLO,
        "system": system,
        "thinking": thinking,
        "metadata": {"user_id": "u-1"},
    }
    assert attempt.headers["anthropic-beta"] == "files-api-2025-04-14,mcp-client-2025-11-20"
    assert reply.model == "claude"
    await check_books(gateway, upstream)


async def test_a_stream_of_the_same_dialect_is_passed_on_under_our_name(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await both_dialects(make_gateway, upstream)
    upstream.answers("Pa", "ris")

    async with (
        sdk(gateway) as client,
        client.messages.stream(model="claude", max_tokens=50, messages=HELLO) as stream,
    ):
        reply = await stream.get_final_message()

    assert (reply.model, text_of(reply), reply.stop_reason) == ("claude", "Paris", "end_turn")
    await check_books(gateway, upstream)


async def test_what_no_chat_can_say_is_routed_to_anthropics_dialect(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await both_dialects(make_gateway, upstream)
    search: Any = {"type": "web_search_20250305", "name": "web_search"}

    async with sdk(gateway) as client:
        plain = await client.messages.create(model="auto", max_tokens=5, messages=HELLO)
        searched = await client.messages.create(model="auto", max_tokens=5, messages=HELLO, tools=[search])

    assert (plain.model, searched.model) == ("gpt", "claude")
    assert upstream.attempts[1].body["tools"] == [search]


@pytest.mark.parametrize(
    ("model", "named"),
    [
        ("{size: large, free: true}", "'unpriced_tools'"),
        (
            "{size: large, free: true, abilities: [unpriced_tools], unsupported: [tools.web_search_20250305]}",
            "'tools.web_search_20250305'",
        ),
    ],
    ids=["not allowed", "but this one"],
)
async def test_a_tool_with_a_fee_of_its_own_is_used_only_where_an_admin_allows_it(
    make_gateway: MakeGateway, upstream: ScriptedUpstream, model: str, named: str
) -> None:
    gateway = await make_gateway(
        f"""
        upstreams:
          anthropic:
            base_url: {upstream.url}
            dialect: anthropic
            models: {{claude: {model}}}
        """
    )
    search: Any = {"type": "web_search_20250305", "name": "web_search"}

    async with sdk(gateway) as client:
        with pytest.raises(anthropic.BadRequestError) as refused:
            await client.messages.create(model="claude", max_tokens=5, messages=HELLO, tools=[search])

    assert named in (refused.value.api_message or "")
    assert upstream.attempts == []


async def test_a_conversation_goes_on_at_a_server_of_the_other_dialect(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    """What one model thought and how its server names its calls is nothing that the other would take."""
    gateway = await both_dialects(make_gateway, upstream)
    call = {**TOOL_CALL["tool_calls"][0], "id": "functions.weather:0"}
    upstream.answers(
        "", message={"reasoning_content": "Hmm.", "tool_calls": [call]}, finish_reason="tool_calls", times=1
    )
    asked: Any = {"max_tokens": 2000, "tools": [WEATHER], "thinking": {"type": "adaptive"}}

    async with sdk(gateway) as client:
        first = await client.messages.create(model="gpt", messages=HELLO, **asked)
        result: Any = {"type": "tool_result", "tool_use_id": first.content[-1].id, "content": "sunny"}  # type: ignore[union-attr]  # a tool_use
        turns: Any = [
            *HELLO,
            {"role": "assistant", "content": first.content},
            {"role": "user", "content": [result]},
        ]
        await client.messages.create(model="claude", messages=turns, **asked)

    assert [block.type for block in first.content] == ["thinking", "tool_use"]
    sent = upstream.attempts[1].body["messages"]
    assert [block["type"] for block in sent[1]["content"]] == ["tool_use"]
    assert sent[1]["content"][0]["id"] == sent[2]["content"][0]["tool_use_id"] == "functions_weather_0"


async def test_models_are_listed_as_the_sdk_reads_them_and_as_openais_reads_them(
    gateway: RunningGateway, client: anthropic.AsyncAnthropic
) -> None:
    listed = [model.id async for model in client.models.list(limit=2)]
    cloud = await client.models.retrieve("cloud")
    with pytest.raises(anthropic.NotFoundError):
        await client.models.retrieve("nonsense")
    openai = [model.id async for model in gateway.client().models.list()]

    assert listed == openai
    assert (cloud.type, cloud.display_name, cloud.lifecycle) == ("model", "cloud", "active")
    assert (cloud.max_input_tokens, cloud.max_tokens) == (128_000, 16_384)


async def test_every_byte_of_a_stream_in_one_piece_or_many_says_the_same(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Grüße, ", "東京 🗼", '\u2028 "x"\n')
    body = {"model": "small", "max_tokens": 50, "messages": HELLO, "stream": True}

    async with gateway.http() as http, http.stream("POST", "/v1/messages", json=body) as reply:
        lines = [line async for line in _lines(reply)]

    data = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    texts = [event["delta"]["text"] for event in data if event["type"] == "content_block_delta"]
    assert "".join(texts) == 'Grüße, 東京 🗼\u2028 "x"\n'
    assert [line[7:] for line in lines if line.startswith("event: ")] == [event["type"] for event in data]


async def _lines(reply: httpx.Response) -> AsyncIterator[str]:
    """By line feeds alone: other separators may stand inside of JSON."""
    raw = b"".join([piece async for piece in reply.aiter_bytes()])
    for line in raw.decode().split("\n"):
        yield line


async def test_a_ceiling_that_must_be_named_is_lowered_to_what_plan_and_model_allow(
    gateway: RunningGateway, client: anthropic.AsyncAnthropic, upstream: ScriptedUpstream
) -> None:
    reply = await client.messages.create(model="small", max_tokens=64_000, messages=HELLO, timeout=30)

    assert text_of(reply) == "Paris"
    [attempt] = upstream.attempts
    assert attempt.body["max_tokens"] < 4_096  # a part of small's context window is the prompt's
