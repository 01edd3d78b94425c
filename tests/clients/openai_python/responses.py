"""The Responses API, without state on the server."""

import contextlib
import itertools
import json
import time
from typing import Any

import openai
from pydantic import BaseModel

from tests.clients.openai_python.start import (
    CROSS_MODEL,
    MODEL,
    REASONING_MODEL,
    async_client,
    cases,
    client,
    each_model,
    raised,
)

PARIS = "What is the weather in Paris?"
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "Tells the weather in a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


class Person(BaseModel):
    name: str
    age: int


@each_model("responses: a plain reply")
def _(model: str) -> None:
    reply = client.responses.create(model=model, input="Hello there", store=False)

    assert reply.output_text == "You said: Hello there"
    assert reply.status == "completed"
    assert reply.id.startswith("resp_")
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.input_tokens + reply.usage.output_tokens


@cases.case("responses: async")
async def _() -> None:
    async with async_client() as client:
        reply = await client.responses.create(model=MODEL, input="Hello there")

    assert reply.output_text == "You said: Hello there"


@each_model("responses: instructions and a conversation")
def _(model: str) -> None:
    conversation: Any = [
        {"role": "user", "content": "My name is Bob."},
        {"role": "assistant", "content": "Hello Bob."},
        {"role": "user", "content": "What is my name?"},
    ]

    named = client.responses.create(model=model, input=conversation)
    told = client.responses.create(
        model=model, instructions="Speak like a pirate.", input="Repeat your instructions."
    )

    assert named.output_text == "Your name is Bob."
    assert "Speak like a pirate." in told.output_text


@each_model("responses: the output of one turn is the input of the next")
def _(model: str) -> None:
    first = client.responses.create(model=model, input="My name is Bob.")
    conversation: Any = [
        {"role": "user", "content": "My name is Bob."},
        *[item.to_dict() for item in first.output],
        {"role": "user", "content": "What is my name?"},
    ]

    assert client.responses.create(model=model, input=conversation).output_text == "Your name is Bob."


def _text_events(pieces: int) -> list[str]:
    return [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * pieces,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]


@each_model("responses: a stream has every event, in order")
def _(model: str) -> None:
    events = list(client.responses.create(model=model, input="Count to 5", stream=True))

    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == "1 2 3 4 5"
    assert [event.type for event in events] == _text_events(len(deltas))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == "1 2 3 4 5"
    assert events[-1].response.usage is not None


@each_model("responses: what is there is sent, and not kept until the end")
def _(model: str) -> None:
    stream = client.responses.create(model=model, input="[pause 0.4] Count to 9", stream=True)

    times = [
        time.monotonic()  # noqa: TID251 - a client's own clock
        for event in stream
        if event.type == "response.output_text.delta"
    ]

    assert times[-1] - times[0] > 0.2


@each_model("responses: the SDK's stream helper")
def _(model: str) -> None:
    with client.responses.stream(model=model, input="Count to 5") as stream:
        for _event in stream:
            pass
        whole = stream.get_final_response()

    assert whole.output_text == "1 2 3 4 5"


@cases.case("responses: a stream, async")
async def _() -> None:
    async with async_client() as client:
        stream = await client.responses.create(model=MODEL, input="Count to 5", stream=True)
        kinds = [event.type async for event in stream]

    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"


@each_model("responses: a tool is called, and its result is told")
def _(model: str) -> None:
    first = client.responses.create(model=model, input=PARIS, tools=[WEATHER])
    [call] = [item for item in first.output if item.type == "function_call"]
    assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Paris"})
    conversation: Any = [
        {"role": "user", "content": PARIS},
        *[item.to_dict() for item in first.output],
        {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"},
    ]

    last = client.responses.create(model=model, input=conversation, tools=[WEATHER])

    assert last.output_text == "The result is: sunny."


@each_model("responses: tool_choice none, required and named")
def _(model: str) -> None:
    def calls(choice: Any, text: str) -> list[str]:
        reply = client.responses.create(model=model, input=text, tools=[WEATHER], tool_choice=choice)
        return [item.name for item in reply.output if item.type == "function_call"]

    assert calls("none", PARIS) == []
    assert calls("required", "Hello") == ["get_weather"]
    assert calls({"type": "function", "name": "get_weather"}, "Hello") == ["get_weather"]


@each_model("responses: calls in a stream have every event, in order")
def _(model: str) -> None:
    text = "What is the weather in Paris and Tokyo?"
    events = list(client.responses.create(model=model, input=text, tools=[WEATHER], stream=True))

    kinds = [kind for kind, _ in itertools.groupby(event.type for event in events)]
    assert kinds == [
        "response.created",
        "response.in_progress",
        *[
            "response.output_item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "response.output_item.done",
        ]
        * 2,
        "response.completed",
    ]
    done = [event for event in events if event.type == "response.function_call_arguments.done"]
    assert [json.loads(event.arguments) for event in done] == [{"city": "Paris"}, {"city": "Tokyo"}]
    assert [event.output_index for event in done] == [0, 1]


@each_model("responses: a schema through .parse()")
def _(model: str) -> None:
    reply = client.responses.parse(model=model, input="Anna is 31 years old.", text_format=Person)

    assert reply.output_parsed == Person(name="Anna", age=31)


@cases.case("responses: json_object")
def _() -> None:
    reply = client.responses.create(
        model=MODEL, input="Reply in JSON with the key `name`", text={"format": {"type": "json_object"}}
    )

    assert reply.output_text.startswith("{")


@each_model("responses: an image")
def _(model: str) -> None:
    parts: Any = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": PIXEL, "detail": "auto"},
    ]

    reply = client.responses.create(model=model, input=[{"role": "user", "content": parts}])

    assert reply.output_text == "I see the image. You said: What is this?"


@each_model("responses: max_output_tokens leaves it incomplete, and says why")
def _(model: str) -> None:
    reply = client.responses.create(model=model, input="Count to 100", max_output_tokens=16)

    assert reply.status == "incomplete"
    assert reply.incomplete_details is not None
    assert reply.incomplete_details.reason == "max_output_tokens"
    assert reply.usage is not None
    assert reply.usage.output_tokens == 16


if REASONING_MODEL:

    @cases.case("responses: reasoning effort, and reasoning tokens are told")
    def _() -> None:
        reply = client.responses.create(model=REASONING_MODEL, input="Hello", reasoning={"effort": "low"})

        assert reply.output_text == "You said: Hello"
        assert reply.usage is not None
        assert reply.usage.output_tokens_details.reasoning_tokens > 0


@cases.case("responses: temperature, top_p, metadata, user, store: false are told back")
def _() -> None:
    reply = client.responses.create(
        model=MODEL,
        input="Hello",
        temperature=0.5,
        top_p=0.9,
        metadata={"team": "blue"},
        user="u",
        store=False,
    )

    assert (reply.temperature, reply.top_p, reply.metadata) == (0.5, 0.9, {"team": "blue"})


@cases.case("responses: previous_response_id is refused by name")
def _() -> None:
    error = raised(
        openai.BadRequestError,
        lambda: client.responses.create(model=MODEL, input="Hello", previous_response_id="resp_1"),
    )

    assert error.param == "previous_response_id"


@cases.case("responses: what needs state or tools of the server's own is refused by name")
def _() -> None:
    for name, value in (
        ("background", True),
        ("conversation", "conv_1"),
        ("prompt", {"id": "pmpt_1"}),
        ("tools", [{"type": "web_search"}]),
    ):
        options: Any = {name: value}
        error = raised(
            openai.BadRequestError,
            lambda options=options: client.responses.create(model=MODEL, input="Hello", **options),
        )

        assert name in (error.param or ""), error


@each_model("responses: one that the provider breaks off ends in an error, and not as if it were whole")
def _(model: str) -> None:
    stream = client.responses.create(model=model, input="[cut] Count to 9", stream=True)

    kinds = []
    with contextlib.suppress(openai.APIError):
        kinds.extend(event.type for event in stream)

    assert "response.completed" not in kinds


@cases.case("responses: errors")
def _() -> None:
    missing = raised(
        openai.NotFoundError, lambda: client.responses.create(model="no-such-model", input="Hello")
    )
    raised(openai.BadRequestError, lambda: client.responses.create(model=MODEL, input=[]))
    raised(
        openai.AuthenticationError,
        lambda: client.with_options(api_key="sk-wrong").responses.create(model=MODEL, input="Hello"),
    )

    assert missing.code == "model_not_found"


if CROSS_MODEL:

    @cases.case("responses: reasoning, at Anthropic's")
    def _() -> None:
        reply = client.responses.create(
            model=CROSS_MODEL, input="Hello", reasoning={"effort": "low"}, max_output_tokens=8000
        )

        assert reply.output_text == "You said: Hello"
