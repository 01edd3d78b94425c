"""Moderations as an app meets them, through OpenAI's own SDK."""

from typing import Any

import openai
import pytest

from tests.fixtures.gateway import MakeGateway, RunningGateway
from tests.fixtures.scripted_upstream import ScriptedUpstream

UPSTREAMS = """
upstreams:
  local:
    base_url: {url}
    models:
      small: {{size: small, price: {{input: 1, output: 2}}}}
      texts: {{kind: moderation, size: small, price: {{input: 3, output: 0}}}}
  cloud:
    base_url: {url}
    models:
      omni-moderation-latest: {{kind: moderation, size: cloud, free: true, abilities: [vision]}}
"""
PICTURE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}


@pytest.fixture
async def gateway(make_gateway: MakeGateway, upstream: ScriptedUpstream) -> RunningGateway:
    return await make_gateway(UPSTREAMS.format(url=upstream.url))


def client(gateway: RunningGateway) -> openai.AsyncOpenAI:
    return gateway.client(_strict_response_validation=True)


@pytest.mark.parametrize("value", ["I will kill you", ["kill", "hello"], [{"type": "text", "text": "kill"}]])
async def test_verdicts_are_passed_on_one_for_each_input(
    gateway: RunningGateway, upstream: ScriptedUpstream, value: Any
) -> None:
    upstream.moderates("kill")

    reply = await client(gateway).moderations.create(model="omni-moderation-latest", input=value)

    flagged = [result.flagged for result in reply.results]
    assert flagged == ([True, False] if value == ["kill", "hello"] else [True])
    assert reply.results[0].categories.violence
    assert reply.model == "omni-moderation-latest"
    attempt = await upstream.attempt(0)
    assert attempt.path == "/v1/moderations"
    assert attempt.body == {"model": "omni-moderation-latest", "input": value}


async def test_without_a_model_the_cheapest_that_the_caller_may_use_is_asked(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    free = await gateway.new_key("tiny", "free")

    ours = await client(gateway).moderations.with_raw_response.create(input="hello")
    theirs = await gateway.client(free).moderations.with_raw_response.create(input="hello")

    assert ours.headers["x-weighbridge-model"] == ours.parse().model == "omni-moderation-latest"
    assert theirs.headers["x-weighbridge-model"] == "texts"
    assert [entry.requested for entry in await gateway.entries()] == ["auto", "auto"]


async def test_a_picture_goes_to_a_model_that_sees(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    reply = await client(gateway).moderations.create(input=[PICTURE])
    with pytest.raises(openai.BadRequestError) as refused:
        await client(gateway).moderations.create(model="texts", input=[PICTURE])

    assert reply.model == "omni-moderation-latest"
    assert (refused.value.param, refused.value.code) == ("input", "unsupported_value")
    assert len(upstream.attempts) == 1


@pytest.mark.fault("M33")
async def test_a_verdict_that_has_a_price_is_counted_here(gateway: RunningGateway) -> None:
    await client(gateway).moderations.create(model="texts", input=["Hello there", "Hello"])
    await client(gateway).moderations.create(model="omni-moderation-latest", input="Hello there")

    entries = await gateway.entries()
    assert [(entry.usage_source, entry.input_tokens, entry.cost) for entry in entries] == [
        ("counted", 4, 12_000),
        ("counted", 2, 0),
    ]
    assert b'weighbridge_degraded_total{part="usage"}' not in gateway.app.metrics.render()


async def test_where_there_is_none_the_answer_says_so(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await make_gateway()

    with pytest.raises(openai.NotFoundError, match="no moderation model") as unnamed:
        await gateway.client().moderations.create(input="hello")
    with pytest.raises(openai.NotFoundError) as named:
        await gateway.client().moderations.create(model="omni-moderation-latest", input="hello")
    with pytest.raises(openai.BadRequestError, match="/v1/chat/completions"):
        await gateway.client().moderations.create(model="small", input="hello")

    assert unnamed.value.code == named.value.code == "model_not_found"
    assert upstream.attempts == []


@pytest.mark.parametrize("results", [b"[]", b"[{}]", b"[{}, {}, {}]", b"5"])
async def test_an_upstream_that_judges_other_than_was_asked_is_at_fault(
    gateway: RunningGateway, upstream: ScriptedUpstream, results: bytes
) -> None:
    upstream.replies(200, b'{"id": "modr-1", "model": "m", "results": ' + results + b"}")

    with pytest.raises(openai.InternalServerError) as failed:
        await client(gateway).moderations.create(model="texts", input=["one", "two"])

    assert failed.value.code == "upstream_invalid_response"
