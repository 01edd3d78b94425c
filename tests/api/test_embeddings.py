"""Embeddings as an app meets them, through OpenAI's own SDK."""

import asyncio
import base64
import struct
from typing import Any

import openai
import pytest

from tests.fixtures.gateway import MakeGateway, RunningGateway
from tests.fixtures.scripted_upstream import ScriptedUpstream
from tests.fixtures.scripted_vectors import vectors_of

UPSTREAMS = """
upstreams:
  local:
    base_url: {url}
    models:
      small: {{size: small, price: {{input: 1, output: 2}}}}
      vectors: {{kind: embedding, size: small, price: {{input: 2, output: 0}}, context_window: 512}}
      fixed: {{kind: embedding, size: small, free: true, unsupported: [dimensions]}}
  plain:
    base_url: {url}
    unsupported: [encoding_format]
    models:
      numbers: {{kind: embedding, size: small, free: true}}
  cloud:
    base_url: {url}
    models:
      dear: {{kind: embedding, size: cloud, price: {{input: 20, output: 0}}}}
"""


@pytest.fixture
async def gateway(make_gateway: MakeGateway, upstream: ScriptedUpstream) -> RunningGateway:
    return await make_gateway(UPSTREAMS.format(url=upstream.url))


async def embed(gateway: RunningGateway, **body: Any) -> Any:
    """The reply's body as it is on the wire: the SDK decodes base64 by itself."""
    async with gateway.http() as http:
        reply = await http.post("/v1/embeddings", json={"model": "vectors", **body})
    assert reply.status_code == 200, reply.text
    return reply.json()


def told(vector: Any) -> list[float]:
    if isinstance(vector, str):
        raw = base64.b64decode(vector)
        return list(struct.unpack(f"<{len(raw) // 4}f", raw))
    assert isinstance(vector, list)
    return vector


async def test_the_sdk_gets_vectors_in_either_encoding(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    client = gateway.client()

    packed = await client.embeddings.create(model="vectors", input=["one", "two words"])
    floats = await client.embeddings.create(
        model="vectors", input=["one", "two words"], encoding_format="float"
    )

    want = vectors_of({"input": ["one", "two words"]})
    assert [row.embedding for row in packed.data] == [row.embedding for row in floats.data] == want
    assert (packed.object, packed.model, packed.usage.prompt_tokens) == ("list", "vectors", 3)
    assert [row.index for row in packed.data] == [0, 1]
    assert (await upstream.attempt(0)).path == "/v1/embeddings"


async def test_the_reply_fits_the_sdks_types(gateway: RunningGateway) -> None:
    client = gateway.client(_strict_response_validation=True)

    reply = await client.embeddings.create(model="vectors", input="one", encoding_format="float")

    assert reply.usage.total_tokens == reply.usage.prompt_tokens == 1


@pytest.mark.parametrize("answered", ["float", "base64"])
async def test_a_caller_gets_the_encoding_he_asks_for_whatever_the_upstream_answers(
    gateway: RunningGateway, upstream: ScriptedUpstream, answered: str
) -> None:
    upstream.embeds(encoding=answered)

    default = await embed(gateway, input=["a", "b"])
    floats = await embed(gateway, input=["a", "b"], encoding_format="float")
    packed = await embed(gateway, input=["a", "b"], encoding_format="base64")

    kinds = [type(reply["data"][0]["embedding"]) for reply in (default, floats, packed)]
    assert kinds == [list, list, str]
    want = vectors_of({"input": ["a", "b"]})
    assert all(
        [told(row["embedding"]) for row in reply["data"]] == want for reply in (default, floats, packed)
    )


async def test_what_was_asked_reaches_the_upstream_unless_it_cannot_read_it(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    asked = {
        "input": [[1, 2], [3]],
        "dimensions": 4,
        "user": "u",
        "task": "search",
        "encoding_format": "base64",
    }

    await embed(gateway, **asked)
    numbers = await embed(gateway, **{**asked, "model": "numbers"})

    assert (await upstream.attempt(0)).body == {"model": "vectors", **asked}
    del asked["encoding_format"]
    assert (await upstream.attempt(1)).body == {"model": "numbers", **asked}
    assert isinstance(numbers["data"][0]["embedding"], str)
    assert len(told(numbers["data"][0]["embedding"])) == 4


async def test_the_ledger_and_the_upstreams_bill_are_the_same(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    for value in ("one", ["two words", "three"], [1, 2, 3, 4], [[5], [6, 7]]):
        await embed(gateway, input=value)

    entries, bills = await gateway.entries(), upstream.invoice
    assert [entry.input_tokens for entry in entries] == [bill.prompt_tokens for bill in bills] == [1, 3, 4, 3]
    assert [entry.cost for entry in entries] == [2_000 * bill.prompt_tokens for bill in bills]
    assert {(entry.output_tokens, entry.usage_source, entry.complexity) for entry in entries} == {
        (0, "reported", 0.0)
    }


@pytest.mark.fault("M33")
@pytest.mark.parametrize(
    ("value", "tokens"), [("Hello there", 2), (["Hello", "there"], 3), ([[1, 2], [3]], 3)]
)
async def test_what_the_upstream_does_not_count_is_counted_here_and_told(
    gateway: RunningGateway, upstream: ScriptedUpstream, value: Any, tokens: int
) -> None:
    upstream.embeds(reports_usage=False)

    reply = await embed(gateway, input=value)

    [entry] = await gateway.entries()
    assert (entry.usage_source, entry.input_tokens, entry.cost) == ("counted", tokens, 2_000 * tokens)
    assert reply["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}


async def test_the_same_question_is_answered_from_the_cache_without_being_asked_for(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    create = gateway.client().embeddings.with_raw_response.create

    replies = [await create(model="vectors", input="one", user=user) for user in ("ann", "bob")]
    other = await create(model="vectors", input="one", dimensions=4)

    caches = [reply.headers["x-weighbridge-cache"] for reply in (*replies, other)]
    assert caches == ["miss", "hit", "miss"]
    assert replies[0].parse() == replies[1].parse()
    assert len(upstream.attempts) == 2


async def test_vectors_are_never_chosen_by_the_gateway(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    with pytest.raises(openai.BadRequestError, match="name the model") as refused:
        await gateway.client().embeddings.create(model="auto", input="one")

    assert refused.value.param == "model"
    assert upstream.attempts == []


async def test_a_model_is_used_where_it_belongs(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    client = gateway.client()

    with pytest.raises(openai.BadRequestError, match="/v1/chat/completions") as chat:
        await client.embeddings.create(model="small", input="one")
    with pytest.raises(openai.BadRequestError, match="/v1/embeddings") as vectors:
        await client.completions.create(model="vectors", prompt="one")
    free = gateway.client(await gateway.new_key("tiny", "free"))
    with pytest.raises(openai.NotFoundError):
        await free.embeddings.create(model="dear", input="one")

    assert chat.value.code == vectors.value.code == "unsupported_model"
    assert upstream.attempts == []


async def test_the_list_of_models_says_what_each_makes(gateway: RunningGateway) -> None:
    strict = gateway.client(_strict_response_validation=True)

    listed = {model.id: model.model_extra or {} async for model in strict.models.list()}

    assert {name: listed[name]["kind"] for name in ("small", "vectors")} == {
        "small": "chat",
        "vectors": "embedding",
    }


async def test_dimensions_go_only_to_models_that_honour_them(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await gateway.client().embeddings.create(model="fixed", input="one", dimensions=4)

    assert (refused.value.param, refused.value.code) == ("dimensions", "unsupported_parameter")
    assert upstream.attempts == []


async def test_the_longest_input_must_fit_not_their_sum(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    texts = ["word " * 100] * 40

    many = await embed(gateway, input=texts)
    with pytest.raises(openai.BadRequestError) as refused:
        await gateway.client().embeddings.create(model="vectors", input=["a", "word " * 1000])

    assert len(many["data"]) == 40
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "input")
    assert len(upstream.attempts) == 1


def fewer(body: dict[str, Any]) -> list[list[float]]:
    return vectors_of(body)[1:]


def empty(body: dict[str, Any]) -> list[list[float]]:
    return [[] for _ in vectors_of(body)]


@pytest.mark.fault("S8")
@pytest.mark.parametrize("vectors", [fewer, empty])
async def test_an_upstream_that_answers_other_than_was_asked_is_at_fault(
    gateway: RunningGateway, upstream: ScriptedUpstream, vectors: Any
) -> None:
    upstream.embeds(vectors)

    with pytest.raises(openai.InternalServerError) as failed:
        await gateway.client().embeddings.create(model="vectors", input=["one", "two"])

    assert (failed.value.status_code, failed.value.code) == (502, "upstream_invalid_response")
    [entry] = await gateway.entries()
    assert (entry.outcome, entry.cost) == ("failed", 0)
    assert entry.suspense > 0


async def test_an_error_inside_a_200_is_an_error(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    upstream.reports_error(code=400, message="too many tokens")

    with pytest.raises(openai.BadRequestError, match="too many tokens"):
        await gateway.client().embeddings.create(model="vectors", input="one")


async def test_a_large_batch_comes_back_whole(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    upstream.embeds(encoding="float")
    asked = {"input": [str(number) for number in range(300)], "dimensions": 256}

    reply = await embed(gateway, **asked, encoding_format="base64")

    want = vectors_of(asked)
    assert [told(row["embedding"]) for row in reply["data"]] == want


@pytest.mark.fault("M6")
async def test_a_client_that_leaves_stops_the_upstream(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.hangs()
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(embed(gateway, input="one"))
        attempt = await upstream.attempt(0)
        asking.cancel()
        await attempt.client_closed.wait()

    [entry] = await gateway.entries()
    assert (entry.outcome, entry.usage_source) == ("client_gone", "estimated")
    [line] = [line for line in await gateway.log_lines() if line["event"] == "request.done"]
    assert (line["endpoint"], line["status"]) == ("embeddings", 499)


async def test_the_wire_is_openais(gateway: RunningGateway) -> None:
    reply = await embed(gateway, input="one", encoding_format="base64")

    assert reply == {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": reply["data"][0]["embedding"]}],
        "model": "vectors",
        "usage": {"prompt_tokens": 1, "total_tokens": 1},
    }
