"""A real model behind a real worker process."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import openai
import pytest

from tests.fixtures.worker import Worker

pytestmark = pytest.mark.model

FRANCE = [{"role": "user", "content": "What is the capital of France?"}]
NEVER_ENDS = {"logit_bias": {"2": -100}}
"""Token 2 is the model's end of turn."""
GREEDY = {"model": "small", "temperature": 0, "messages": FRANCE}

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}},
    "required": ["city"],
    "additionalProperties": False,
}


class Client:
    def __init__(self, worker: Worker) -> None:
        self.http = httpx.AsyncClient(base_url=worker.root, headers=worker.headers, timeout=60)

    async def post(self, **body: Any) -> httpx.Response:
        return await self.http.post("/v1/chat/completions", json=GREEDY | body)

    async def whole(self, **body: Any) -> dict[str, Any]:
        response = await self.post(**body)
        assert response.status_code == 200, response.text
        return dict(response.json())

    async def events(self, **body: Any) -> list[dict[str, Any]]:
        text = (await self.post(stream=True, stream_options={"include_usage": True}, **body)).text
        lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line.startswith("data: ")]
        assert lines[-1] == "[DONE]"
        return [msgspec.json.decode(line) for line in lines[:-1]]

    async def metric(self, name: str) -> float:
        text = (await self.http.get("/metrics")).text
        found = re.search(rf"^weighbridge_worker_{name} (\S+)$", text, re.MULTILINE)
        assert found, f"{name} is missing"
        return float(found[1])

    async def until_engine_is_idle(self) -> None:
        async with asyncio.timeout(30):
            while await self.metric("engine_busy_slots"):
                pass


@pytest.fixture
async def client(any_worker: Worker) -> AsyncIterator[Client]:
    client = Client(any_worker)
    async with client.http:
        yield client


@pytest.fixture
async def speaker(worker: Worker) -> AsyncIterator[Client]:
    """Of a model that knows something."""
    client = Client(worker)
    async with client.http:
        yield client


def text_of(events: list[dict[str, Any]], choice: int = 0) -> str:
    deltas = [part for event in events for part in event["choices"] if part["index"] == choice]
    return "".join(part["delta"].get("content", "") for part in deltas)


async def test_a_greedy_answer_knows_the_capital_of_france(speaker: Client) -> None:
    reply = await speaker.whole()

    assert "Paris" in reply["choices"][0]["message"]["content"]
    assert reply["choices"][0]["finish_reason"] == "stop"
    assert reply["model"] == "small"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({}, id="ends by itself"),
        pytest.param({"max_tokens": 4}, id="cut at max_tokens"),
        pytest.param({"stop": [" is"]}, id="stop string"),
        pytest.param({"messages": [{"role": "user", "content": "Show emoji 🌱🌱"}], "max_tokens": 9, **NEVER_ENDS}, id="characters of many tokens"),
        pytest.param({"max_tokens": 6, "logprobs": True, "top_logprobs": 2}, id="logprobs"),
    ],
)  # fmt: skip
async def test_a_stream_says_the_same_as_a_whole_answer_and_counts_the_same(
    client: Client, body: dict[str, Any]
) -> None:
    whole, events = await client.whole(**body), await client.events(**body)

    choice = whole["choices"][0]
    assert text_of(events) == choice["message"]["content"]
    assert events[-1]["usage"] == whole["usage"]
    assert events[-2]["choices"][0]["finish_reason"] == choice["finish_reason"]
    assert whole["usage"]["completion_tokens"] > 0
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}


async def test_usage_is_in_a_stream_only_when_it_is_asked_for(client: Client) -> None:
    response = await client.post(stream=True, max_tokens=3)

    assert '"usage"' not in response.text
    assert response.text.endswith("data: [DONE]\n\n")


async def test_max_tokens_is_the_number_of_tokens_that_are_counted(client: Client) -> None:
    reply = await client.whole(max_tokens=5, **NEVER_ENDS)

    assert reply["usage"]["completion_tokens"] == 5
    assert reply["choices"][0]["finish_reason"] == "length"


async def test_n_answers_share_one_prompt_in_the_usage(client: Client) -> None:
    one = await client.whole(max_tokens=4, **NEVER_ENDS)
    three = await client.whole(n=3, max_tokens=4, temperature=1, **NEVER_ENDS)

    assert [choice["index"] for choice in three["choices"]] == [0, 1, 2]
    assert three["usage"]["prompt_tokens"] == one["usage"]["prompt_tokens"]
    assert three["usage"]["completion_tokens"] == 12


async def test_four_requests_run_at_once_and_each_gets_its_own_answer(client: Client) -> None:
    words = ["red", "green", "blue", "black"]
    asks = [[{"role": "user", "content": f"Repeat the word {word}."}] for word in words]

    together = await asyncio.gather(
        *(client.whole(messages=ask, max_tokens=12, **NEVER_ENDS) for ask in asks)
    )

    assert [reply["usage"]["completion_tokens"] for reply in together] == [12] * 4
    assert len({reply["choices"][0]["message"]["content"] for reply in together}) == 4
    assert len({reply["id"] for reply in together}) == 4


async def test_a_json_schema_is_kept_to(client: Client) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY}}

    reply = await client.whole(response_format=schema, max_tokens=60)

    assert list(msgspec.json.decode(reply["choices"][0]["message"]["content"])) == ["city"]


async def test_the_same_seed_gives_the_same_answer(client: Client) -> None:
    body = {"temperature": 1, "max_tokens": 12, "seed": 2**40 + 7}

    first, second = await client.whole(**body), await client.whole(**body)

    assert first["choices"] == second["choices"]


async def test_logprobs_come_with_every_token(client: Client) -> None:
    reply = await client.whole(max_tokens=4, logprobs=True, top_logprobs=2, **NEVER_ENDS)

    tokens = reply["choices"][0]["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens) == reply["choices"][0]["message"]["content"]
    assert [len(token["top_logprobs"]) for token in tokens] == [2, 2, 2, 2]


@pytest.mark.parametrize("is_stream", [True, False], ids=["stream", "whole"])
async def test_a_client_that_hangs_up_stops_the_decoding(client: Client, is_stream: bool) -> None:
    before = await client.metric("engine_generated_tokens_total")
    body = GREEDY | NEVER_ENDS | {"max_tokens": 900, "stream": is_stream}

    async with asyncio.TaskGroup() as tasks:
        ask = tasks.create_task(read_until_cancelled(client, body))
        async with asyncio.timeout(30):
            while not await client.metric("engine_busy_slots"):
                pass
        ask.cancel()
    await client.until_engine_is_idle()

    assert await client.metric("engine_generated_tokens_total") - before < 300
    assert await client.metric("running") == 0


async def read_until_cancelled(client: Client, body: dict[str, Any]) -> None:
    async with client.http.stream("POST", "/v1/chat/completions", json=body) as response:
        async for _ in response.aiter_bytes():
            pass


async def test_a_stream_that_is_dropped_after_five_events_costs_few_tokens_more(client: Client) -> None:
    before = await client.metric("engine_generated_tokens_total")
    body = GREEDY | NEVER_ENDS | {"max_tokens": 900, "stream": True}

    async with client.http.stream("POST", "/v1/chat/completions", json=body) as response:
        lines = response.aiter_lines()
        for _ in range(10):
            await anext(lines)
    await client.until_engine_is_idle()

    assert await client.metric("engine_generated_tokens_total") - before <= 5 + 20


async def test_a_prompt_that_is_too_long_is_refused_before_any_work(client: Client) -> None:
    before = await client.metric("engine_prompt_tokens_total")

    whole = await client.post(messages=[{"role": "user", "content": "word " * 1100}])
    stream = await client.post(messages=[{"role": "user", "content": "word " * 1100}], stream=True)

    assert [whole.status_code, stream.status_code] == [400, 400]
    assert whole.json()["error"]["code"] == stream.json()["error"]["code"] == "context_length_exceeded"
    assert await client.metric("engine_prompt_tokens_total") == before


async def test_the_model_card_tells_window_and_quantisation(speaker: Client) -> None:
    models = (await speaker.http.get("/v1/models")).json()["data"]

    assert [model["id"] for model in models] == ["small", "medium"]
    assert {model["quantisation"] for model in models} == {"Q4_1"}
    assert {model["context_window"] for model in models} == {1024}


async def test_openais_client_creates_streams_and_lists(worker: Worker) -> None:
    messages: Any = FRANCE
    async with openai.AsyncOpenAI(base_url=worker.url, api_key=worker.key, max_retries=0) as sdk:
        reply = await sdk.chat.completions.create(model="medium", messages=messages, temperature=0)
        stream = await sdk.chat.completions.create(
            model="medium",
            messages=messages,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
        names = [model.id async for model in sdk.models.list()]

    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert reply.choices[0].message.content == text
    assert chunks[-1].usage == reply.usage
    assert names == ["small", "medium"]


async def test_openais_client_raises_its_own_errors(worker: Worker) -> None:
    messages: Any = FRANCE
    async with openai.AsyncOpenAI(base_url=worker.url, api_key=worker.key, max_retries=0) as sdk:
        with pytest.raises(openai.NotFoundError):
            await sdk.chat.completions.create(model="huge", messages=messages)
        with pytest.raises(openai.BadRequestError):
            await sdk.chat.completions.create(model="small", messages=messages, n=0)
    async with openai.AsyncOpenAI(base_url=worker.url, api_key="wrong", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError):
            await stranger.chat.completions.create(model="small", messages=messages)
