"""The Responses API as an app meets it, through OpenAI's own SDK, whatever the upstream speaks."""

import asyncio
import json
from collections import Counter
from typing import Any

import openai
import pytest
from openai.types.responses import Response, ResponseFunctionToolCall
from pydantic import BaseModel

from tests.fixtures.gateway import MakeGateway, RunningGateway
from tests.fixtures.scripted_upstream import ScriptedUpstream

UPSTREAMS = """
upstreams:
  local:
    base_url: {url}
    models:
      small:
        size: small
        price: {{input: 1, output: 2}}
        context_window: 4096
        max_output_tokens: 2048
        abilities: [tools, json_schema, reasoning]
  anthropic:
    base_url: {url}
    dialect: anthropic
    on_disconnect: drain
    drain_s: 2
    models:
      claude:
        size: large
        price: {{input: 3, output: 15}}
        context_window: 200000
        abilities: [tools, json_schema, reasoning]
"""
DIALECTS = pytest.mark.parametrize("model", ["small", "claude"])
WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}


STREAM: Any = {"model": "small", "input": "hi", "stream": True}


def call(place: int, city: str) -> dict[str, Any]:
    function = {"name": "weather", "arguments": json.dumps({"city": city})}
    return {"index": place, "id": f"call_{place}", "type": "function", "function": function}


@pytest.fixture
async def gateway(make_gateway: MakeGateway, upstream: ScriptedUpstream) -> RunningGateway:
    return await make_gateway(UPSTREAMS.format(url=upstream.url))


def client(gateway: RunningGateway) -> openai.AsyncOpenAI:
    return gateway.client(_strict_response_validation=True)


async def assert_booked(gateway: RunningGateway, upstream: ScriptedUpstream, *replies: Response) -> None:
    """The ledger, the provider's bill and what callers were told are the same."""
    entries, bills = await gateway.entries(), upstream.invoice
    usages = [reply.usage for reply in replies]
    assert [(entry.input_tokens, entry.output_tokens) for entry in entries] == [
        (bill.prompt_tokens, bill.completion_tokens) for bill in bills
    ]
    assert [(usage.input_tokens, usage.output_tokens) for usage in usages if usage] == [
        (bill.prompt_tokens, bill.completion_tokens) for bill in bills
    ]


@DIALECTS
async def test_a_reply_is_the_upstreams_and_leads_to_its_log_line(
    gateway: RunningGateway, upstream: ScriptedUpstream, model: str
) -> None:
    upstream.answers("Paris", output_tokens=3)

    raw = await client(gateway).responses.with_raw_response.create(model=model, input="Capital of France?")

    reply = raw.parse()
    assert (reply.output_text, reply.status, reply.model) == ("Paris", "completed", model)
    assert reply.id.removeprefix("resp_") == raw.headers["x-request-id"].removeprefix("req_")
    assert raw.headers["x-weighbridge-model"] == model
    await assert_booked(gateway, upstream, reply)
    [line] = [line for line in await gateway.log_lines() if line["event"] == "request.done"]
    assert (line["endpoint"], line["status"], line["stream"]) == ("responses", 200, False)


async def test_a_synchronous_client_works_as_well(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Pa", "ris")

    def ask() -> tuple[str, list[str]]:
        with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0) as sync:
            whole = sync.responses.create(model="small", input="hi")
            with sync.responses.create(model="small", input="hi", stream=True) as stream:
                return whole.output_text, [event.type for event in stream]

    text, kinds = await asyncio.to_thread(ask)

    assert text == "Paris"
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")


@DIALECTS
async def test_a_stream_arrives_piece_by_piece_and_ends_with_the_whole(
    gateway: RunningGateway, upstream: ScriptedUpstream, model: str
) -> None:
    gate = asyncio.Event()
    upstream.answers("Pa", "ris", hold={1: gate})

    stream = await client(gateway).responses.create(model=model, input="Capital of France?", stream=True)
    events = aiter(stream)
    seen: list[Any] = []
    while not seen or seen[-1].type != "response.output_text.delta":
        seen.append(await anext(events))
    gate.set()  # the first piece was here while the second was still held back
    seen += [event async for event in events]

    assert "".join(e.delta for e in seen if e.type == "response.output_text.delta") == "Paris"
    assert [event.sequence_number for event in seen] == list(range(len(seen)))
    assert seen[-1].type == "response.completed"
    assert seen[-1].response.output_text == "Paris"
    await assert_booked(gateway, upstream, seen[-1].response)


async def test_a_stream_ends_with_its_cost_and_without_a_mark(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Paris", output_tokens=1)

    async with gateway.http() as http:
        body = {"model": "small", "input": "hi", "stream": True}
        reply = await http.post("/v1/responses", json=body)

    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert reply.text.endswith("\n\n: x-weighbridge-cost-usd 0.000003000\n\n")
    assert "[DONE]" not in reply.text


@DIALECTS
async def test_the_sdks_stream_helper_gives_the_final_response(
    gateway: RunningGateway, upstream: ScriptedUpstream, model: str
) -> None:
    upstream.answers("Pa", "ris")

    async with client(gateway).responses.stream(model=model, input="hi") as stream:
        snapshots = [event.snapshot async for event in stream if event.type == "response.output_text.delta"]
        final = await stream.get_final_response()

    assert snapshots == ["Pa", "Paris"]
    assert final.output_text == "Paris"


@DIALECTS
@pytest.mark.parametrize("is_stream", [False, True])
async def test_tools_are_called_and_their_outputs_are_told(
    gateway: RunningGateway, upstream: ScriptedUpstream, model: str, is_stream: bool
) -> None:
    calls = {"tool_calls": [call(0, "Paris"), call(1, "Tokyo")]}
    upstream.answers(message=calls, output_tokens=9, finish_reason="tool_calls", times=1)
    upstream.answers("Sunny.")
    question: Any = {"role": "user", "content": "Weather in Paris and Tokyo?"}
    ask = client(gateway).responses

    if is_stream:
        async with ask.stream(model=model, input=[question], tools=[WEATHER]) as stream:
            first: Response = await stream.get_final_response()
    else:
        first = await ask.create(model=model, input=[question], tools=[WEATHER])
    called = [item for item in first.output if isinstance(item, ResponseFunctionToolCall)]
    outputs: Any = [
        {"type": "function_call_output", "call_id": item.call_id, "output": "sunny"} for item in called
    ]
    said: Any = [item.to_dict() for item in first.output]
    last = await ask.create(model=model, input=[question, *said, *outputs], tools=[WEATHER])

    assert [json.loads(item.arguments) for item in called] == [{"city": "Paris"}, {"city": "Tokyo"}]
    assert [item.call_id for item in called] == ["call_0", "call_1"]
    assert last.output_text == "Sunny."
    await assert_booked(gateway, upstream, first, last)


async def test_a_chat_model_is_sent_the_chat_that_the_items_mean(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    items: Any = [
        {"role": "user", "content": "Weather in Paris?"},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city":"Paris"}'},
        {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
    ]

    await client(gateway).responses.create(
        model="small",
        input=items,
        instructions="Be brief.",
        tools=[WEATHER],
        store=False,
        metadata={"a": "b"},
    )

    sent = (await upstream.attempt(0)).body
    function = {"name": "weather", "arguments": '{"city":"Paris"}'}
    assert sent["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather in Paris?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    ]
    assert sorted(sent) == ["max_tokens", "messages", "model", "tools"]
    assert sent["tools"][0]["function"] == {key: WEATHER[key] for key in ("name", "parameters", "strict")}


class City(BaseModel):
    name: str


@DIALECTS
@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_schema_is_asked_for_and_parsed(
    gateway: RunningGateway, upstream: ScriptedUpstream, model: str, is_stream: bool
) -> None:
    upstream.answers('{"name": "Paris"}')
    ask = gateway.client().responses

    if is_stream:
        async with ask.stream(model=model, input="Capital of France?", text_format=City) as stream:
            reply = await stream.get_final_response()
    else:
        reply = await ask.parse(model=model, input="Capital of France?", text_format=City)

    assert reply.output_parsed == City(name="Paris")


async def test_a_refusal_is_told_as_one(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    upstream.answers(message={"content": None, "refusal": "I cannot."})

    reply = await client(gateway).responses.create(model="small", input="hi")
    stream = await client(gateway).responses.create(model="small", input="hi", stream=True)

    [item] = reply.output
    assert item.type == "message"
    assert [part.to_dict() for part in item.content] == [{"type": "refusal", "refusal": "I cannot."}]
    assert "response.refusal.done" in [event.type async for event in stream]


@DIALECTS
async def test_reasoning_comes_as_the_summary_that_was_asked_for(
    gateway: RunningGateway, upstream: ScriptedUpstream, model: str
) -> None:
    upstream.answers("Paris", message={"reasoning_content": "Hm."}, output_tokens=4)
    ask = client(gateway).responses
    wish: Any = {"effort": "low", "summary": "auto"}

    reply = await ask.create(model=model, input="hi", reasoning=wish)
    async with ask.stream(model=model, input="hi", reasoning=wish) as stream:
        kinds = [event.type async for event in stream]

    assert [item.type for item in reply.output] == ["reasoning", "message"]
    assert reply.output[0].to_dict()["summary"] == [{"type": "summary_text", "text": "Hm."}]
    assert reply.output_text == "Paris"
    assert "response.reasoning_summary_text.delta" in kinds


async def test_a_custom_tool_is_called_with_text(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    custom = {"index": 0, "id": "call_1", "type": "custom", "custom": {"name": "patch", "input": "+ a"}}
    upstream.answers(message={"tool_calls": [custom]}, finish_reason="tool_calls", output_tokens=3)
    tools: Any = [{"type": "custom", "name": "patch"}]

    reply = await client(gateway).responses.create(model="small", input="hi", tools=tools)
    stream = await client(gateway).responses.create(model="small", input="hi", tools=tools, stream=True)

    [item] = reply.output
    assert item.type == "custom_tool_call"
    assert (item.name, item.input, item.call_id) == ("patch", "+ a", "call_1")
    assert "response.custom_tool_call_input.done" in [event.type async for event in stream]


@DIALECTS
async def test_an_answer_that_was_cut_short_says_so(
    gateway: RunningGateway, upstream: ScriptedUpstream, model: str
) -> None:
    upstream.answers("Par", finish_reason="length")

    reply = await client(gateway).responses.create(model=model, input="hi", max_output_tokens=16)
    stream = await client(gateway).responses.create(
        model=model, input="hi", max_output_tokens=16, stream=True
    )

    assert reply.status == "incomplete"
    assert reply.incomplete_details is not None
    assert reply.incomplete_details.reason == "max_output_tokens"
    assert [event.type async for event in stream][-1] == "response.incomplete"
    assert (await upstream.attempt(0)).body["max_tokens"] == 16


async def read(stream: Any, kinds: list[str]) -> None:
    async for event in stream:
        kinds.append(event.type)  # noqa: PERF401 - what came before it raised


@pytest.mark.fault("M7")
@DIALECTS
async def test_no_client_takes_a_stream_that_broke_for_whole(
    gateway: RunningGateway, upstream: ScriptedUpstream, model: str
) -> None:
    upstream.breaks_off("reset", after=2)
    ask = client(gateway).responses

    kinds: list[str] = []
    stream = await ask.create(model=model, input="hi", stream=True)
    with pytest.raises(openai.APIError, match="broke off") as raised:
        await read(stream, kinds)
    async with ask.stream(model=model, input="hi") as helper:
        with pytest.raises(openai.APIError, match="broke off"):
            await helper.get_final_response()

    assert kinds[-1] == "response.failed"
    assert raised.value.code == "upstream_stream_interrupted"
    assert {entry.outcome for entry in await gateway.entries()} == {"interrupted"}
    assert all(entry.cost > 0 for entry in await gateway.entries())


@pytest.mark.fault("M5")
async def test_a_client_that_hangs_up_mid_stream_is_charged_for_what_was_made(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers(*["word "] * 8, hold={4: asyncio.Event()})

    stream = await client(gateway).responses.create(model="small", input="Hello there", stream=True)
    await anext(aiter(stream))
    await stream.close()

    attempt = await upstream.attempt(0)
    await attempt.client_closed.wait()
    [entry] = await gateway.entries()
    assert (entry.outcome, entry.usage_source) == ("client_gone", "estimated")
    assert entry.cost > 0
    assert entry.cost + entry.suspense >= 1_000 * attempt.prompt_tokens + 2_000 * attempt.completion_tokens


async def test_the_same_deterministic_request_is_answered_from_the_cache(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Paris")
    create = client(gateway).responses.with_raw_response.create

    first = await create(model="small", input="hi", temperature=0)
    second = await create(model="small", input="hi", temperature=0)
    other = await create(model="small", input="hi", temperature=0, metadata={"a": "b"})
    streams = [
        [event async for event in await client(gateway).responses.create(**STREAM, temperature=0)]
        for _ in range(2)
    ]

    assert [reply.headers["x-weighbridge-cache"] for reply in (first, second, other)] == [
        "miss",
        "hit",
        "miss",
    ]
    assert second.parse() == first.parse()
    assert other.parse().metadata == {"a": "b"}
    assert streams[0] == streams[1]
    assert len(upstream.attempts) == 3


async def test_a_response_is_not_there_afterwards_and_nothing_is_sent_for_one_that_builds_on_it(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    ask = gateway.client().responses

    with pytest.raises(openai.BadRequestError, match="keeps no responses") as refused:
        await ask.create(model="small", input="hi", previous_response_id="resp_1")
    with pytest.raises(openai.NotFoundError, match="keeps no responses"):
        await ask.retrieve("resp_1")
    with pytest.raises(openai.NotFoundError):
        await ask.delete("resp_1")
    with pytest.raises(openai.NotFoundError):
        await ask.cancel("resp_1")
    with pytest.raises(openai.NotFoundError):
        await ask.input_items.list("resp_1")
    with pytest.raises(openai.NotFoundError, match="does not offer"):
        await ask.compact(model="small", input="hi")
    with pytest.raises(openai.AuthenticationError):
        await gateway.client("nonsense").responses.retrieve("resp_1")

    assert (refused.value.param, refused.value.code) == (
        "previous_response_id",
        "previous_response_not_found",
    )
    assert upstream.attempts == []


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"input": "word " * 5_000}, "input"),
    ({"max_output_tokens": 4_000}, "max_output_tokens"),
    ({"text": {"format": {"type": "json_object"}}}, "text.format"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"model": "claude", "text": {"verbosity": "low"}}, "text.verbosity"),
    ({"model": "claude", "tools": [{"type": "custom", "name": "patch"}]}, "tools.custom"),
    ({"store": True}, "store"),
    ({"messages": [{"role": "user", "content": "hi"}]}, "messages"),
    ({"model": None}, "model"),
]


async def test_what_is_wrong_is_named_as_the_caller_knows_it(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    body = {"model": "small", "input": "hi"}

    async with gateway.http() as http:
        replies = [await http.post("/v1/responses", json={**body, **fields}) for fields, _ in WRONG]

    assert [reply.status_code for reply in replies] == [400] * len(WRONG)
    errors = [reply.json()["error"] for reply in replies]
    assert [error["param"] for error in errors] == [param for _, param in WRONG]
    assert {error["type"] for error in errors} == {"invalid_request_error"}
    assert upstream.attempts == []


async def test_an_upstream_that_blames_the_chat_is_told_of_the_input(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.refuses(
        400, message="Invalid 'messages': no.", code="invalid_value", param="messages[0].content"
    )

    with pytest.raises(openai.BadRequestError, match="Invalid 'input': no") as refused:
        await gateway.client().responses.create(model="small", input="hi")

    assert refused.value.param == "input"


async def test_answers_of_many_callers_at_once_are_not_mixed_up(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Pa", "ris")

    async def ask(number: int) -> str:
        stream = await client(gateway).responses.create(model="small", input=f"hi {number}", stream=True)
        return [event async for event in stream][-1].response.id  # type: ignore[union-attr]  # the last has one

    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(ask(number)) for number in range(8)]

    assert max(Counter(task.result() for task in asked).values()) == 1
