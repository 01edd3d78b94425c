"""Text completions of a real model: it goes on from what it is given, without any chat template."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from tests.fixtures.worker import Worker

pytestmark = pytest.mark.model

CAPITAL: dict[str, Any] = {
    "model": "small",
    "prompt": "The capital of France is",
    "temperature": 0,
    "max_tokens": 4,
}


@pytest.fixture
async def client(worker: Worker) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=worker.url, api_key=worker.key, max_retries=0) as client:
        yield client


async def test_a_text_is_gone_on_from(worker: Worker) -> None:
    strict = openai.AsyncOpenAI(
        base_url=worker.url, api_key=worker.key, max_retries=0, _strict_response_validation=True
    )

    async with strict as client:
        reply = await client.completions.create(**CAPITAL)

    assert reply.choices[0].text.startswith(" Paris")
    assert (reply.object, reply.model, reply.id[:5]) == ("text_completion", "small", "cmpl-")
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (5, 4)


async def test_a_stream_says_the_same_as_the_whole(client: openai.AsyncOpenAI) -> None:
    whole = await client.completions.create(**CAPITAL)

    stream = await client.completions.create(**CAPITAL, stream=True, stream_options={"include_usage": True})
    events = [event async for event in stream]

    assert "".join(choice.text for event in events for choice in event.choices) == whole.choices[0].text
    assert [choice.finish_reason for event in events for choice in event.choices][-1] == "length"
    assert events[-1].choices == []
    assert events[-1].usage == whole.usage


async def test_each_prompt_has_its_answers_in_a_row_and_counts_once(client: openai.AsyncOpenAI) -> None:
    prompts = ["The capital of France is", "The capital of Italy is"]

    reply = await client.completions.create(**{**CAPITAL, "prompt": prompts}, n=2)

    firsts = [choice.text.split()[0].strip(".") for choice in reply.choices]
    assert firsts == ["Paris", "Paris", "Rome", "Rome"]
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (10, 16)


async def test_tokens_do_as_well_as_the_text_that_they_stand_for(client: openai.AsyncOpenAI) -> None:
    one = await client.completions.create(**{**CAPITAL, "prompt": [504, 3575, 282]})
    two = await client.completions.create(**{**CAPITAL, "prompt": [[504, 3575, 282], [504]]})

    assert one.usage is not None
    assert one.usage.prompt_tokens == 3
    assert two.choices[0].text == one.choices[0].text
    with pytest.raises(openai.BadRequestError):
        await client.completions.create(**{**CAPITAL, "prompt": [10**8]})


@pytest.mark.parametrize("tops", [0, 2])
async def test_logprobs_come_in_lists_side_by_side(client: openai.AsyncOpenAI, tops: int) -> None:
    reply = await client.completions.create(**CAPITAL, logprobs=tops)
    stream = await client.completions.create(**CAPITAL, logprobs=tops, stream=True)
    pieces = [choice.logprobs async for event in stream for choice in event.choices]

    told = reply.choices[0].logprobs
    assert told is not None
    assert told.tokens is not None
    assert "".join(told.tokens) == reply.choices[0].text
    assert told.text_offset == [sum(map(len, told.tokens[:at])) for at in range(len(told.tokens))]
    assert told.token_logprobs is not None
    assert all(logprob <= 0 for logprob in told.token_logprobs)
    assert [len(one) for one in told.top_logprobs or ()] == ([tops] * 4 if tops else [])
    streamed = [piece for piece in pieces if piece is not None]
    assert [token for piece in streamed for token in piece.tokens or ()] == told.tokens
    assert [offset for piece in streamed for offset in piece.text_offset or ()] == told.text_offset


async def test_a_stop_string_ends_the_text(client: openai.AsyncOpenAI) -> None:
    reply = await client.completions.create(**{**CAPITAL, "max_tokens": 20}, stop=["."])

    assert (reply.choices[0].text, reply.choices[0].finish_reason) == (" Paris", "stop")


async def test_a_prompt_that_does_not_fit_is_refused(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await client.completions.create(**{**CAPITAL, "prompt": "x " * 3000})

    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "prompt")


async def test_more_answers_than_fit_at_once_are_refused(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await client.completions.create(**{**CAPITAL, "prompt": ["a"] * 50})

    assert refused.value.param == "prompt"


@pytest.mark.fault("M6")
async def test_a_hang_up_ends_the_work(client: openai.AsyncOpenAI) -> None:
    endless = {**CAPITAL, "max_tokens": 900, "logit_bias": {"0": -100, "2": -100}}
    stream = await client.completions.create(**endless, stream=True)
    await anext(aiter(stream))

    await stream.close()

    async with asyncio.timeout(30):
        again = await client.completions.create(**CAPITAL)
    assert again.choices[0].text.startswith(" Paris")
