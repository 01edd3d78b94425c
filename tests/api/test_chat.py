"""Chat completions as an app meets them, through OpenAI's own SDK."""

import asyncio
from typing import Any

import openai
import pytest

from tests.fixtures.gateway import MakeGateway, RunningGateway
from tests.fixtures.scripted_upstream import ScriptedUpstream

HELLO = [{"role": "user", "content": "Hello there"}]


async def test_a_reply_is_the_upstreams_and_says_what_was_decided(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Paris", output_tokens=1)

    raw = await gateway.client().chat.completions.with_raw_response.create(model="auto", messages=HELLO)

    reply = raw.parse()
    assert reply.choices[0].message.content == "Paris"
    assert reply.model == raw.headers["x-weighbridge-model"] == "small"
    assert raw.headers["x-request-id"].startswith("req_")
    assert raw.headers["x-weighbridge-cost-usd"] == "0.000004000"  # 2 tokens at $1, 1 at $2 per million
    assert 0 <= float(raw.headers["x-weighbridge-complexity"]) <= 1
    assert raw.headers["x-weighbridge-decision"].startswith("cheapest_adequate:")


async def test_the_entry_tells_the_same_as_the_headers_and_the_log(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Paris", output_tokens=1)

    raw = await gateway.client().chat.completions.with_raw_response.create(model="auto", messages=HELLO)

    [entry] = await gateway.entries()
    assert entry.request_id == raw.headers["x-request-id"]
    assert (entry.tenant, entry.user, entry.tier) == ("acme", "ann", "paid")
    assert (entry.model, entry.upstream, entry.requested) == ("small", "local", "auto")
    assert (entry.input_tokens, entry.output_tokens, entry.cost) == (2, 1, 4_000)
    assert entry.usage_source == "reported"
    [line] = [line for line in await gateway.log_lines() if line["event"] == "request.done"]
    assert line["request_id"] == entry.request_id
    assert line["decision"] == entry.reason == raw.headers["x-weighbridge-decision"]
    assert (line["cost_usd"], line["status"], line["tenant"]) == ("0.000004000", 200, "acme")


async def test_a_stream_arrives_event_by_event_with_its_usage_at_the_end(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    gate = asyncio.Event()
    upstream.answers("Pa", "ris", hold={1: gate})

    stream = await gateway.client().chat.completions.create(
        model="medium", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    events = aiter(stream)
    texts = [(await anext(events)).choices[0].delta.content or ""]
    while not "".join(texts):
        texts.append((await anext(events)).choices[0].delta.content or "")
    gate.set()
    rest = [event async for event in events]

    assert "".join(texts) == "Pa"  # it was here while the second piece was still held back
    assert "".join(e.choices[0].delta.content or "" for e in rest if e.choices) == "ris"
    assert rest[-1].choices == []
    assert rest[-1].usage is not None
    assert {event.model for event in rest} == {"medium"}
    [entry] = await gateway.entries()
    [bill] = upstream.invoice
    assert (entry.input_tokens, entry.output_tokens) == (bill.prompt_tokens, bill.completion_tokens)
    assert rest[-1].usage.total_tokens == entry.input_tokens + entry.output_tokens


async def test_a_stream_ends_with_its_cost_and_done_and_no_usage_that_was_not_asked_for(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Paris", output_tokens=1)
    body = {"model": "small", "messages": HELLO, "stream": True}

    async with gateway.http() as http:
        reply = await http.post("/v1/chat/completions", json=body)

    assert reply.text.endswith(": x-weighbridge-cost-usd 0.000004000\n\ndata: [DONE]\n\n")
    assert '"choices": []' not in reply.text
    assert '"choices":[]' not in reply.text


async def test_models_lists_what_the_plan_allows(gateway: RunningGateway) -> None:
    free = await gateway.new_key("tiny", "free")

    paid_models = {model.id async for model in gateway.client().models.list()}
    free_models = {model.id async for model in gateway.client(free).models.list()}

    assert {"auto", "auto:threshold", "small", "medium", "cloud"} <= paid_models
    assert paid_models - free_models == {"cloud"}
    assert (await gateway.client().models.retrieve("cloud")).id == "cloud"


@pytest.mark.fault("C8")
async def test_a_forbidden_model_looks_like_an_unknown_one(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    free = await gateway.new_key("tiny", "free")

    with pytest.raises(openai.NotFoundError) as forbidden:
        await gateway.client(free).chat.completions.create(model="cloud", messages=HELLO)
    with pytest.raises(openai.NotFoundError) as unknown:
        await gateway.client(free).chat.completions.create(model="nope", messages=HELLO)

    assert forbidden.value.code == unknown.value.code == "model_not_found"
    assert str(forbidden.value).replace("cloud", "nope") == str(unknown.value)
    assert upstream.attempts == []


@pytest.mark.fault("A1")
async def test_every_key_that_does_not_count_gets_the_same_answer(gateway: RunningGateway) -> None:
    keys = [
        "x",
        gateway.key[:-1],
        gateway.key + "0",
        gateway.key.upper(),
        "sk-wb-" + "0" * 58,
        gateway.admin_key,
    ]
    body = {"model": "small", "messages": HELLO}
    answers = set()

    async with gateway.http() as http:
        for key in keys:
            reply = await http.post(
                "/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"}
            )
            answers.add((reply.status_code, reply.text))
        del http.headers["authorization"]
        reply = await http.post("/v1/chat/completions", json=body)
        answers.add((reply.status_code, reply.text))

    [(status, text)] = answers
    assert status == 401
    assert "invalid_api_key" in text
    with pytest.raises(openai.AuthenticationError):
        await gateway.client("nonsense").chat.completions.create(model="small", messages=HELLO)


async def test_the_policy_can_be_named_in_the_model(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("ok")

    raw = await gateway.client().chat.completions.with_raw_response.create(
        model="auto:threshold", messages=HELLO
    )

    assert raw.headers["x-weighbridge-decision"].startswith("threshold: ")
    with pytest.raises(openai.NotFoundError):
        await gateway.client().chat.completions.create(model="auto:nope", messages=HELLO)


@pytest.mark.fault("M24")
async def test_what_is_sent_on_has_a_ceiling_asks_for_usage_and_keeps_unknown_sampling_fields(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("ok")
    body = {"model": "small", "messages": HELLO, "stream": True, "min_p": 0.05, "user": "u-1"}

    async with gateway.http() as http:
        await http.post("/v1/chat/completions", json=body)

    sent = (await upstream.attempt(0)).body
    assert sent["max_tokens"] == 1024
    assert sent["stream_options"] == {"include_usage": True}
    assert (sent["min_p"], sent["user"]) == (0.05, "u-1")


@pytest.mark.fault("A12")
async def test_nothing_of_the_callers_headers_reaches_the_upstream(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("ok")

    async with gateway.http() as http:
        headers = {"cookie": "a=b", "x-secret": "s", "openai-organization": "org"}
        await http.post("/v1/chat/completions", json={"model": "small", "messages": HELLO}, headers=headers)

    seen = (await upstream.attempt(0)).headers
    assert not {"cookie", "x-secret", "openai-organization"} & set(seen)
    assert gateway.key not in str(seen)


async def test_a_refused_attempt_falls_back_and_is_not_billed(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.model("small").refuses(503)
    upstream.model("medium").answers("Paris", output_tokens=1)

    raw = await gateway.client().chat.completions.with_raw_response.create(model="auto", messages=HELLO)

    assert raw.parse().choices[0].message.content == "Paris"
    assert raw.headers["x-weighbridge-model"] == "medium"
    assert [(entry.model, entry.outcome) for entry in await gateway.entries()] == [("medium", "ok")]


@pytest.mark.fault("M7")
async def test_a_stream_that_breaks_ends_with_an_error_and_is_billed_for_what_was_relayed(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.breaks_off("reset", after=2)

    stream = await gateway.client().chat.completions.create(model="small", messages=HELLO, stream=True)
    with pytest.raises(openai.APIError, match="broke off"):
        async for _ in stream:
            pass

    [entry] = await gateway.entries()
    assert (entry.outcome, entry.usage_source) == ("interrupted", "estimated")
    assert entry.cost > 0
    assert entry.cost + entry.suspense >= 1_000 * (upstream.attempts[0].prompt_tokens)


async def test_all_attempts_failing_is_502_with_what_was_tried(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.refuses(500)

    with pytest.raises(openai.InternalServerError) as failed:
        await gateway.client().chat.completions.create(model="auto", messages=HELLO)

    assert failed.value.status_code == 502
    assert failed.value.code == "upstream_error"
    assert "small" in failed.value.message
    assert "medium" in failed.value.message
    assert [attempt["model"] for attempt in failed.value.body["attempts"]] == ["small", "medium"]  # type: ignore[index,call-overload]  # untyped in the SDK
    assert len(upstream.attempts) == 2


async def test_an_upstream_that_blames_the_request_is_believed(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    error = {"error": {"message": "too long for me", "code": "context_length_exceeded", "param": "messages"}}
    import json

    upstream.replies(400, json.dumps(error).encode())

    with pytest.raises(openai.BadRequestError, match="too long for me") as refused:
        await gateway.client().chat.completions.create(model="small", messages=HELLO)

    assert refused.value.code == "context_length_exceeded"
    assert await gateway.entries() == []


async def test_the_same_deterministic_request_is_answered_from_the_cache_for_nothing(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Paris", output_tokens=1)
    create = gateway.client().chat.completions.with_raw_response.create

    first = await create(model="auto", messages=HELLO, temperature=0)
    second = await create(model="auto", messages=HELLO, temperature=0)
    third = await create(model="auto", messages=HELLO)

    assert [r.headers["x-weighbridge-cache"] for r in (first, second, third)] == ["miss", "hit", "off"]
    assert second.parse() == first.parse()
    assert second.headers["x-weighbridge-cost-usd"] == "0.000000000"
    assert len(upstream.attempts) == 2
    assert [(e.is_cache_hit, e.cost) for e in await gateway.entries()] == [
        (False, 4000),
        (True, 0),
        (False, 4000),
    ]


async def test_a_cached_stream_is_replayed_as_a_stream(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Pa", "ris")

    async def ask() -> tuple[str, int]:
        stream = await gateway.client().chat.completions.create(
            model="small", messages=HELLO, temperature=0, stream=True, stream_options={"include_usage": True}
        )
        events = [event async for event in stream]
        usage = events[-1].usage
        assert usage is not None
        return "".join(e.choices[0].delta.content or "" for e in events if e.choices), usage.total_tokens

    first, second = await ask(), await ask()

    assert first == second
    assert first[0] == "Paris"
    assert len(upstream.attempts) == 1


@pytest.mark.fault("A14")
async def test_tenants_never_share_a_cached_reply(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Paris")
    other = await gateway.new_key("rival", "paid")

    for key in (gateway.key, other):
        raw = await gateway.client(key).chat.completions.with_raw_response.create(
            model="small", messages=HELLO, temperature=0
        )
        assert raw.headers["x-weighbridge-cache"] == "miss"

    assert len(upstream.attempts) == 2


@pytest.mark.fault("A15")
async def test_a_truncated_reply_is_not_cached(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    upstream.answers("Par", finish_reason="length")

    for _ in range(2):
        await gateway.client().chat.completions.create(model="small", messages=HELLO, temperature=0)

    assert len(upstream.attempts) == 2


async def test_abilities_decide_who_may_answer(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    upstream.answers("ok")
    free = await gateway.new_key("tiny", "free")
    tools = [
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    ]

    raw = await gateway.client().chat.completions.with_raw_response.create(
        model="auto", messages=HELLO, tools=tools
    )
    with pytest.raises(openai.BadRequestError) as refused:
        await gateway.client(free).chat.completions.create(model="auto", messages=HELLO, tools=tools)

    assert raw.headers["x-weighbridge-model"] == "cloud"
    assert refused.value.param == "tools"


async def test_the_free_plan_makes_ten_requests_a_minute(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("ok")
    client = gateway.client(await gateway.new_key("tiny", "free"))

    for _ in range(10):
        await client.chat.completions.create(model="auto", messages=HELLO)
    with pytest.raises(openai.RateLimitError) as refused:
        await client.chat.completions.create(model="auto", messages=HELLO)

    assert refused.value.code == "rate_limit_exceeded"
    assert 0 < int(refused.value.response.headers["retry-after"]) <= 61
    assert len(upstream.attempts) == 10


async def test_usage_that_is_not_reported_is_counted_and_marked(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.sends_usage(None)

    await gateway.client().chat.completions.create(model="small", messages=HELLO)

    [entry] = await gateway.entries()
    assert entry.usage_source == "counted"
    assert entry.input_tokens >= 2
    assert entry.output_tokens >= 1


async def test_a_stream_whose_upstream_counts_nothing_ends_with_the_usage_that_is_billed(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.sends_usage(None, "The ", "capital ", "is ", "Paris.")
    client = gateway.client()

    chunks = [
        chunk
        async for chunk in await client.chat.completions.create(
            model="small", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    ]
    response = client.responses.stream(model="small", input="Hello there")
    async with response as events:
        whole = await events.get_final_response()

    entries = await gateway.entries()
    assert chunks[-1].id == chunks[0].id
    assert (chunks[-1].choices, whole.usage is None) == ([], False)
    told = [chunks[-1].usage, whole.usage]
    assert told[0].prompt_tokens == entries[0].input_tokens > 0
    assert told[0].completion_tokens == entries[0].output_tokens > 0
    assert told[1].output_tokens == entries[1].output_tokens


async def test_two_gateways_share_limits_and_ledger(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("ok")
    first, second = await make_gateway(), await make_gateway()
    key = await first.new_key("tiny", "free")

    answers = []
    for number in range(12):
        chosen = (first, second)[number % 2]
        async with chosen.http(key) as http:
            answers.append(
                (
                    await http.post("/v1/chat/completions", json={"model": "auto", "messages": HELLO})
                ).status_code
            )

    assert answers == [200] * 10 + [429] * 2
    await second.entries()
    assert len(await first.entries()) == 10


@pytest.mark.fault("S13")
async def test_without_the_caches_store_every_request_is_a_miss(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Paris")
    gateway = await make_gateway(cache_url="unix:///nowhere/socket")

    for _ in range(2):
        raw = await gateway.client().chat.completions.with_raw_response.create(
            model="small", messages=HELLO, temperature=0
        )
        assert raw.headers["x-weighbridge-cache"] == "miss"

    assert len(upstream.attempts) == 2
    assert b'weighbridge_degraded_total{part="cache"}' in gateway.app.metrics.render()


LAME = """
upstreams:
  lame:
    base_url: {url}
    unsupported: [seed]
    models: {{small: {{size: small, free: true, unsupported: [logit_bias]}}}}
  able:
    base_url: {url}
    models: {{large: {{size: large, price: {{input: 1, output: 1}}, abilities: [vision]}}}}
"""


async def test_a_field_that_an_upstream_does_not_honour_sends_the_request_elsewhere_or_is_named(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await make_gateway(LAME.format(url=upstream.url))
    client = gateway.client()

    plain = await client.chat.completions.create(model="auto", messages=HELLO)
    seeded = await client.chat.completions.create(model="auto", messages=HELLO, seed=7)
    null = await client.chat.completions.create(model="small", messages=HELLO, extra_body={"seed": None})
    with pytest.raises(openai.BadRequestError) as by_upstream:
        await client.chat.completions.create(model="small", messages=HELLO, seed=7)
    with pytest.raises(openai.BadRequestError) as by_model:
        await client.chat.completions.create(model="small", messages=HELLO, logit_bias={"1": 1})

    assert (plain.model, seeded.model, null.model) == ("small", "large", "small")
    assert (by_upstream.value.code, by_upstream.value.param) == ("unsupported_parameter", "seed")
    assert by_model.value.param == "logit_bias"


async def test_a_regular_expression_for_the_answer_reaches_the_upstream_as_it_is(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    shape = {"structured_outputs": {"regex": "(Paris|Rome)"}}

    await gateway.client().chat.completions.create(model="small", messages=HELLO, extra_body=shape)

    assert upstream.attempts[0].body["structured_outputs"] == shape["structured_outputs"]


async def test_a_picture_of_a_megabyte_is_not_taken_for_a_quarter_of_a_million_tokens(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 1_000_000}}
    messages: Any = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, picture]}]

    reply = await gateway.client().chat.completions.create(model="cloud", messages=messages)

    assert reply.choices[0].message.content == "Paris"
    assert upstream.attempts[0].body["messages"] == messages


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"modalities": ["text", "audio"], "audio": {"voice": "x", "format": "wav"}}, "modalities"),
        ({"store": True}, "store"),
        ({"logprobs": True}, "logprobs"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, "response_format"),
        (
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_data": "x"}}]}]},
            "messages",
        ),
    ],
)
async def test_what_no_model_can_do_is_refused_by_its_field(
    gateway: RunningGateway, upstream: ScriptedUpstream, asked: dict[str, Any], param: str
) -> None:
    async with gateway.http() as http:
        reply = await http.post("/v1/chat/completions", json={"model": "small", "messages": HELLO, **asked})

    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["param"] == param
    assert upstream.attempts == []
