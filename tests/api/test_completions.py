"""Legacy completions as an app meets them, through OpenAI's own SDK: of models that complete texts, and of chat models."""

import asyncio
import json
from typing import Any

import openai
import pytest
from openai.types import Completion

from tests.fixtures.gateway import MakeGateway, RunningGateway
from tests.fixtures.scripted_upstream import ScriptedUpstream

UPSTREAMS = """
upstreams:
  local:
    base_url: {url}
    models:
      small: {{size: small, price: {{input: 1, output: 2}}, context_window: 4096, abilities: [logprobs]}}
      plain: {{size: small, price: {{input: 1, output: 2}}, context_window: 4096}}
      texts: {{size: medium, price: {{input: 3, output: 6}}, context_window: 4096, abilities: [completions]}}
      fewer:
        {{size: medium, price: {{input: 3, output: 6}}, abilities: [completions], unsupported: [echo, suffix]}}
"""
FORMS = pytest.mark.parametrize("model", ["small", "texts"])


@pytest.fixture
async def gateway(make_gateway: MakeGateway, upstream: ScriptedUpstream) -> RunningGateway:
    return await make_gateway(UPSTREAMS.format(url=upstream.url))


def client(gateway: RunningGateway) -> openai.AsyncOpenAI:
    return gateway.client(_strict_response_validation=True)


@FORMS
async def test_a_text_is_completed_by_either_sort_of_model(
    gateway: RunningGateway, upstream: ScriptedUpstream, model: str
) -> None:
    upstream.answers("Paris", output_tokens=1)

    reply = await client(gateway).completions.create(model=model, prompt="Capital of France?")

    assert (reply.object, reply.model, reply.id) == ("text_completion", model, "cmpl-1")
    [choice] = reply.choices
    assert (choice.text, choice.index, choice.finish_reason, choice.logprobs) == ("Paris", 0, "stop", None)
    assert reply.usage is not None
    [entry], [bill] = await gateway.entries(), upstream.invoice
    assert (entry.input_tokens, entry.output_tokens) == (bill.prompt_tokens, bill.completion_tokens)
    assert reply.usage.total_tokens == entry.input_tokens + entry.output_tokens


async def test_a_model_that_completes_texts_gets_the_body_as_it_was_written(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    asked: dict[str, Any] = {
        "prompt": ["one", "two"], "suffix": "end", "echo": True, "n": 1, "best_of": 2, "logprobs": 3, "stop": ["x"],
        "seed": 5, "top_p": 0.5, "presence_penalty": 0.1, "logit_bias": {"50": -1.0}, "user": "u", "max_tokens": 7,
    }  # fmt: skip

    await client(gateway).completions.create(model="texts", extra_body={"min_p": 0.1}, **asked)

    attempt = await upstream.attempt(0)
    assert attempt.path == "/v1/completions"
    assert attempt.body == {"model": "texts", "min_p": 0.1, **asked}


async def test_a_chat_model_gets_one_message_and_the_fields_that_chats_have(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    await client(gateway).completions.create(
        model="small",
        prompt=["Hello"],
        n=1,
        best_of=1,
        echo=False,
        temperature=0.5,
        stop="x",
        logprobs=2,
        max_tokens=7,
        seed=1,
        extra_body={"suffix": None},
    )

    attempt = await upstream.attempt(0)
    assert attempt.path == "/v1/chat/completions"
    assert attempt.body == {
        "model": "small",
        "messages": [{"role": "user", "content": "Hello"}],
        "n": 1,
        "temperature": 0.5,
        "stop": "x",
        "logprobs": True,
        "top_logprobs": 2,
        "max_tokens": 7,
        "seed": 1,
    }


@FORMS
async def test_without_a_ceiling_an_answer_has_16_tokens_as_at_openai(
    gateway: RunningGateway, upstream: ScriptedUpstream, model: str
) -> None:
    await client(gateway).completions.create(model=model, prompt="Hello")

    assert (await upstream.attempt(0)).body["max_tokens"] == 16


async def test_a_prompt_can_be_rated_without_writing_anything(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    await client(gateway).completions.create(
        model="texts", prompt="Hello", max_tokens=0, echo=True, logprobs=0
    )

    assert (await upstream.attempt(0)).body["max_tokens"] == 0


@FORMS
async def test_a_stream_arrives_piece_by_piece_and_ends_with_its_usage(
    gateway: RunningGateway, upstream: ScriptedUpstream, model: str
) -> None:
    gate = asyncio.Event()
    upstream.answers("Pa", "ris", hold={1: gate})

    # Not strict: the SDK's type for a stream's events forgets that no reason is known before the end.
    stream = await gateway.client().completions.create(
        model=model, prompt="Hello", stream=True, stream_options={"include_usage": True}
    )
    events = aiter(stream)
    first = await anext(events)
    gate.set()
    rest = [event async for event in events]

    assert first.choices[0].text == "Pa"  # it was here while the second piece was still held back
    told = [choice for event in [first, *rest] for choice in event.choices]
    assert "".join(choice.text for choice in told) == "Paris"
    assert [choice.finish_reason for choice in told][-1] == "stop"
    assert rest[-1].choices == []
    assert rest[-1].usage is not None
    assert {(event.object, event.model, event.id) for event in rest} == {("text_completion", model, "cmpl-1")}
    [entry], [bill] = await gateway.entries(), upstream.invoice
    assert (entry.input_tokens, entry.output_tokens) == (bill.prompt_tokens, bill.completion_tokens)
    assert rest[-1].usage.total_tokens == entry.input_tokens + entry.output_tokens


@FORMS
async def test_a_stream_on_the_wire_has_every_required_key_and_ends_with_done(
    gateway: RunningGateway, upstream: ScriptedUpstream, model: str
) -> None:
    upstream.answers("Pa", "ris")

    async with gateway.http() as http:
        reply = await http.post("/v1/completions", json={"model": model, "prompt": "Hi", "stream": True})

    *events, cost, done = reply.text.rstrip("\n").split("\n\n")
    assert (cost[:25], done) == (": x-weighbridge-cost-usd ", "data: [DONE]")
    for event in events:
        chunk = json.loads(event.removeprefix("data: "))
        assert "usage" not in chunk
        assert set(chunk["choices"][0]) == {"text", "index", "logprobs", "finish_reason"}


@FORMS
@pytest.mark.fault("M7")
async def test_a_stream_that_breaks_ends_with_an_error_and_without_done(
    gateway: RunningGateway, upstream: ScriptedUpstream, model: str
) -> None:
    upstream.breaks_off("reset", after=2)

    async with gateway.http() as http:
        reply = await http.post("/v1/completions", json={"model": model, "prompt": "Hi", "stream": True})

    assert '"code":"upstream_stream_interrupted"' in reply.text
    assert "[DONE]" not in reply.text
    [entry] = await gateway.entries()
    assert (entry.outcome, entry.usage_source) == ("interrupted", "estimated")


@FORMS
@pytest.mark.fault("M5")
async def test_a_client_that_leaves_pays_for_what_it_got(
    gateway: RunningGateway, upstream: ScriptedUpstream, model: str
) -> None:
    upstream.answers("Pa", "ris", hold={1: asyncio.Event()})

    stream = await gateway.client().completions.create(model=model, prompt="Hello there", stream=True)
    await anext(aiter(stream))
    await stream.close()
    await (await upstream.attempt(0)).client_closed.wait()

    [line] = await done_lines(gateway)
    assert (line["endpoint"], line["code"], line["outcome"]) == ("completions", "client_gone", "client_gone")
    [entry] = await gateway.entries()
    assert entry.cost > 0


async def done_lines(gateway: RunningGateway) -> list[dict[str, Any]]:
    await gateway.entries()
    return [line for line in await gateway.log_lines() if line["event"] == "request.done"]


LOGPROBS = {
    "content": [
        {"token": "Pa", "logprob": -0.5, "bytes": [80, 97], "top_logprobs": [
            {"token": "Pa", "logprob": -0.5, "bytes": None}, {"token": "Lo", "logprob": -1.5, "bytes": None}]},
        {"token": "ris", "logprob": -0.25, "bytes": None, "top_logprobs": []},
    ]
}  # fmt: skip


def chat_reply(**choice: Any) -> bytes:
    whole = {
        "index": 0,
        "message": {"role": "assistant", "content": "Paris"},
        "finish_reason": "stop",
        **choice,
    }
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    return json.dumps({"id": "chatcmpl-7", "created": 7, "choices": [whole], "usage": usage}).encode()


async def test_a_chats_logprobs_are_told_in_lists_side_by_side(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.replies(200, chat_reply(logprobs=LOGPROBS))

    reply = await client(gateway).completions.create(model="small", prompt="Hello", logprobs=2)

    logprobs = reply.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.tokens == ["Pa", "ris"]
    assert logprobs.token_logprobs == [-0.5, -0.25]
    assert logprobs.top_logprobs == [{"Pa": -0.5, "Lo": -1.5}, {}]
    assert logprobs.text_offset == [0, 2]
    assert (reply.id, reply.created) == ("cmpl-7", 7)


async def test_offsets_of_a_streams_logprobs_count_from_its_beginning(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    pieces = [
        {"choices": [{"index": 0, "delta": {"content": one["token"]}, "logprobs": {"content": [one]}}]}
        for one in LOGPROBS["content"]
    ]
    upstream.sends(*(f"data: {json.dumps(piece)}\n\n".encode() for piece in pieces), b"data: [DONE]\n\n")

    stream = await gateway.client().completions.create(model="small", prompt="Hi", logprobs=1, stream=True)
    chunks: list[Completion] = [chunk async for chunk in stream]

    offsets = [c.choices[0].logprobs.text_offset for c in chunks if c.choices[0].logprobs]
    assert offsets == [[0], [2]]


async def test_several_choices_of_a_chat_are_several_here(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    chunks = [
        {"choices": [{"index": index, "delta": {"role": "assistant", "content": text}, "finish_reason": end}]}
        for index, text, end in [(0, "", None), (1, "", None), (0, "a", None), (1, "b", None), (0, "c", "stop"),
                                 (1, "", "length")]
    ]  # fmt: skip
    upstream.sends(*(f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks), b"data: [DONE]\n\n")

    stream = await gateway.client().completions.create(model="small", prompt="Hi", n=2, stream=True)
    told = [choice async for chunk in stream for choice in chunk.choices]

    assert [(c.index, c.text, c.finish_reason) for c in told] == [
        (0, "a", None),
        (1, "b", None),
        (0, "c", "stop"),
        (1, "", "length"),
    ]


async def test_nonsense_around_a_chats_text_does_not_spoil_it(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.replies(200, chat_reply(logprobs={"content": [5]}, finish_reason="eos"))

    reply = await client(gateway).completions.create(model="small", prompt="Hello")

    assert (reply.choices[0].text, reply.choices[0].logprobs, reply.choices[0].finish_reason) == (
        "Paris",
        None,
        "stop",
    )


NATIVE_ONLY: list[tuple[dict[str, Any], str]] = [
    ({"suffix": "end"}, "suffix"),
    ({"echo": True}, "echo"),
    ({"n": 1, "best_of": 2}, "best_of"),
    ({"logprobs": 0}, "logprobs"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"prompt": [1, 2, 3]}, "prompt"),
    ({"prompt": [[1, 2], [3]]}, "prompt"),
    ({"prompt": ["one", "two"]}, "prompt"),
    ({"prompt": None}, "prompt"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
]


async def test_what_a_chat_cannot_honour_goes_only_to_models_that_complete_texts(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    async with gateway.http() as http:
        for fields, param in NATIVE_ONLY:
            body = {"prompt": "Hello", **fields}
            chosen = await http.post("/v1/completions", json={"model": "auto", **body})
            refused = await http.post("/v1/completions", json={"model": "plain", **body})

            able = {"small", "texts", "fewer"} if param == "logprobs" else {"texts", "fewer"}
            assert (chosen.status_code, chosen.headers["x-weighbridge-model"] in able) == (200, True), fields
            error = refused.json()["error"]
            assert (refused.status_code, error["param"]) == (400, param), error
            assert error["code"] in ("unsupported_parameter", "unsupported_value")

    assert len(upstream.attempts) == len(NATIVE_ONLY)


async def test_a_field_that_the_upstream_does_not_honour_goes_elsewhere(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await client(gateway).completions.create(model="fewer", prompt="Hello", echo=True)

    assert refused.value.param == "echo"
    assert upstream.attempts == []


async def test_what_no_model_has_room_for_is_refused_with_the_field_at_fault(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    async with gateway.http() as http:
        long = await http.post("/v1/completions", json={"model": "texts", "prompt": "x " * 20_000})
        ceiling = await http.post(
            "/v1/completions", json={"model": "texts", "prompt": "x", "max_tokens": 10**6}
        )

    assert (long.status_code, long.json()["error"]["param"]) == (400, "prompt")
    assert long.json()["error"]["code"] == "context_length_exceeded"
    assert (ceiling.status_code, ceiling.json()["error"]["param"]) == (400, "max_tokens")
    assert upstream.attempts == []


MANY: list[tuple[dict[str, Any], str]] = [
    ({"n": 5}, "n"),
    ({"best_of": 5}, "best_of"),
    ({"prompt": ["a", "b", "c", "d", "e"]}, "prompt"),
    ({"prompt": ["a", "b", "c"], "n": 2}, "n"),
    ({"prompt": ["a", "b", "c"], "best_of": 2}, "best_of"),
]


@pytest.mark.fault("M31")
async def test_prompts_times_answers_are_bounded_by_the_plan(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    async with gateway.http() as http:
        for fields, param in MANY:
            reply = await http.post("/v1/completions", json={"model": "texts", "prompt": "Hello", **fields})
            assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)

    assert upstream.attempts == []


@pytest.mark.fault("M31")
async def test_several_answers_are_all_reserved_for(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await make_gateway(UPSTREAMS.format(url=upstream.url))
    # 1,000 tokens at $6 a million are 6,000,000 nano-dollars: there is room for three answers, not for four.
    key = await gateway.new_key("small-purse", "paid", budget_per_month=20_000_000)
    body = {"model": "texts", "prompt": ["a", "b"], "max_tokens": 1000}

    async with gateway.http(key) as http:
        four = await http.post("/v1/completions", json={**body, "best_of": 2})
        two = await http.post("/v1/completions", json=body)

    assert (four.status_code, four.json()["error"]["code"]) == (429, "insufficient_quota")
    assert two.status_code == 200


@pytest.mark.fault("M33")
@pytest.mark.parametrize(
    ("prompt", "tokens"), [(["Hello there", "Hello"], 4), ([[1, 2, 3], [4]], 4), ("Hi", 1)]
)
async def test_what_the_upstream_does_not_count_is_counted_here(
    gateway: RunningGateway, upstream: ScriptedUpstream, prompt: Any, tokens: int
) -> None:
    upstream.sends_usage(None)

    await client(gateway).completions.create(model="texts", prompt=prompt)

    [entry] = await gateway.entries()
    assert (entry.usage_source, entry.input_tokens, entry.output_tokens) == ("counted", tokens, 1)


@FORMS
async def test_a_deterministic_completion_is_answered_from_the_cache(
    gateway: RunningGateway, upstream: ScriptedUpstream, model: str
) -> None:
    upstream.answers("Paris")
    create = client(gateway).completions.with_raw_response.create

    first = await create(model=model, prompt="Hello", temperature=0)
    second = await create(model=model, prompt="Hello", temperature=0)

    assert [one.headers["x-weighbridge-cache"] for one in (first, second)] == ["miss", "hit"]
    assert first.parse() == second.parse()
    assert len(upstream.attempts) == 1


async def test_auto_weighs_the_prompt(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    async with gateway.http() as http:
        reply = await http.post("/v1/completions", json={"model": "auto", "prompt": "Hello"})

    assert reply.headers["x-weighbridge-model"] in ("small", "plain")
    assert 0 < float(reply.headers["x-weighbridge-complexity"]) < 1
