"""Tools: whether, which and how many are called, and what comes of their results."""

import json
from typing import Any

import openai
from pydantic import BaseModel

from tests.clients.openai_python.start import (
    MODEL,
    STOCKS,
    WEATHER,
    ask,
    async_client,
    cases,
    client,
    each_model,
    function,
    raised,
    said,
    user,
)

PARIS = "What is the weather in Paris?"


def called(reply: Any) -> list[tuple[str, Any]]:
    calls = reply.choices[0].message.tool_calls or []
    return [(call.function.name, json.loads(call.function.arguments)) for call in calls]


@each_model("tools: auto calls the one that is needed")
def _(model: str) -> None:
    reply = ask(PARIS, model, tools=[STOCKS, WEATHER])

    assert called(reply) == [("get_weather", {"city": "Paris"})]
    assert reply.choices[0].finish_reason == "tool_calls"


@each_model("tools: auto calls none that is not needed")
def _(model: str) -> None:
    reply = ask("Hello there", model, tools=[STOCKS, WEATHER], tool_choice="auto")

    assert said(reply) == "You said: Hello there"


@each_model("tools: none")
def _(model: str) -> None:
    reply = ask(PARIS, model, tools=[WEATHER], tool_choice="none")

    assert called(reply) == []
    assert reply.choices[0].finish_reason == "stop"


@each_model("tools: required")
def _(model: str) -> None:
    reply = ask("Hello there", model, tools=[STOCKS, WEATHER], tool_choice="required")

    assert len(called(reply)) == 1


@each_model("tools: named")
def _(model: str) -> None:
    choice = {"type": "function", "function": {"name": "get_stock_price"}}

    reply = ask(PARIS, model, tools=[STOCKS, WEATHER], tool_choice=choice)

    assert [name for name, _ in called(reply)] == ["get_stock_price"]


@each_model("tools: strict, and one without parameters")
def _(model: str) -> None:
    strict = function("get_weather", "Tells the weather.", city={"type": "string"})
    strict["function"]["strict"] = True
    strict["function"]["parameters"]["additionalProperties"] = False
    clock = {"type": "function", "function": {"name": "get_time"}}

    assert called(ask(PARIS, model, tools=[strict, clock])) == [("get_weather", {"city": "Paris"})]
    assert called(ask("What time is it?", model, tools=[strict, clock])) == [("get_time", {})]


@each_model("tools: functions and function_call, as they were before tools")
def _(model: str) -> None:
    old = WEATHER["function"]

    reply = ask(PARIS, model, functions=[old], function_call="auto")

    call = reply.choices[0].message.function_call
    assert call is not None
    assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Paris"})
    assert reply.choices[0].finish_reason == "function_call"


@each_model("tools: parallel calls")
def _(model: str) -> None:
    reply = ask("What is the weather in Paris and Tokyo?", model, tools=[WEATHER])

    assert called(reply) == [("get_weather", {"city": "Paris"}), ("get_weather", {"city": "Tokyo"})]
    calls = reply.choices[0].message.tool_calls
    assert calls is not None
    assert len({call.id for call in calls}) == 2


@each_model("tools: parallel_tool_calls: false")
def _(model: str) -> None:
    reply = ask("What is the weather in Paris and Tokyo?", model, tools=[WEATHER], parallel_tool_calls=False)

    assert len(called(reply)) == 1


def _answered(reply: Any, results: list[str]) -> list[Any]:
    message = reply.choices[0].message
    answers = [
        {"role": "tool", "tool_call_id": call.id, "content": result}
        for call, result in zip(message.tool_calls, results, strict=True)
    ]
    return [message, *answers]


@each_model("tools: results are told to the model, one or many")
def _(model: str) -> None:
    for prompt, results in ((PARIS, ["sunny"]), ("The weather in Paris and Tokyo?", ["sunny", "rain"])):
        reply = ask(prompt, model, tools=[WEATHER])
        messages = user(prompt) + _answered(reply, results)

        last = client.chat.completions.create(model=model, messages=messages, tools=[WEATHER])

        assert said(last) == f"The result is: {' and '.join(results)}."


@each_model("tools: a result of text parts, after a reply that also spoke")
def _(model: str) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    messages: list[Any] = [
        *user(PARIS),
        {"role": "assistant", "content": "Let me look.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "sunny"}]},
    ]

    reply = client.chat.completions.create(model=model, messages=messages, tools=[WEATHER])

    assert said(reply) == "The result is: sunny."


@each_model("tools: a result that nobody called for is refused")
def _(model: str) -> None:
    messages: list[Any] = [*user(PARIS), {"role": "tool", "tool_call_id": "call_9", "content": "sunny"}]

    raised(
        openai.BadRequestError,
        lambda: client.chat.completions.create(model=model, messages=messages, tools=[WEATHER]),
    )


@each_model("tools: calls in a stream")
def _(model: str) -> None:
    chunks = list(
        client.chat.completions.create(
            model=model,
            messages=user("What is the weather in Paris and Tokyo?"),
            tools=[WEATHER],
            stream=True,
        )
    )

    calls: dict[int, dict[str, str]] = {}
    for delta in (choice.delta for chunk in chunks for choice in chunk.choices):
        for piece in delta.tool_calls or []:
            call = calls.setdefault(piece.index, {"id": "", "name": "", "arguments": ""})
            call["id"] += piece.id or ""
            if piece.function:
                call["name"] += piece.function.name or ""
                call["arguments"] += piece.function.arguments or ""
    assert [(call["name"], json.loads(call["arguments"])) for _, call in sorted(calls.items())] == [
        ("get_weather", {"city": "Paris"}),
        ("get_weather", {"city": "Tokyo"}),
    ]
    assert all(call["id"] for call in calls.values())
    assert [c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason] == ["tool_calls"]


class GetWeather(BaseModel):
    """Tells the weather."""

    city: str


@each_model("tools: the SDK's helpers parse the arguments")
def _(model: str) -> None:
    tools = [openai.pydantic_function_tool(GetWeather)]

    whole = client.chat.completions.parse(model=model, messages=user(PARIS), tools=tools)
    with client.chat.completions.stream(model=model, messages=user(PARIS), tools=tools) as stream:
        kinds = [event.type for event in stream]
        last = stream.get_final_completion()

    for reply in (whole, last):
        [call] = reply.choices[0].message.tool_calls or []
        assert call.function.parsed_arguments == GetWeather(city="Paris")
    assert "tool_calls.function.arguments.delta" in kinds
    assert "tool_calls.function.arguments.done" in kinds


@cases.case("tools: a round trip, async")
async def _() -> None:
    async with async_client() as client:
        reply = await client.chat.completions.create(model=MODEL, messages=user(PARIS), tools=[WEATHER])
        messages = user(PARIS) + _answered(reply, ["sunny"])
        last = await client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER])

    assert said(last) == "The result is: sunny."
