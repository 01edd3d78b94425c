"""anthropic-sdk-python: messages to both dialects, with the SDK's own types in strict mode."""

import itertools
import time
from collections.abc import Callable
from typing import Any, TypeVar

import anthropic
from anthropic import beta_tool
from pydantic import BaseModel

from tests.clients.cases import API_KEY, ROOT_URL, Cases, setting

Kind = TypeVar("Kind", bound=anthropic.APIError)

MODEL = setting("CROSS_MODEL")
OPENAI_MODEL = setting("MODEL")
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PARIS = "What is the weather in Paris?"
WEATHER: Any = {
    "name": "get_weather",
    "description": "Tells the weather in a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
STOCKS: Any = {
    "name": "get_stock_price",
    "description": "Tells the price of a stock.",
    "input_schema": {"type": "object", "properties": {"ticker": {"type": "string"}}, "required": ["ticker"]},
}

cases = Cases("anthropic-sdk-python", anthropic.__version__)
client = anthropic.Anthropic(
    base_url=ROOT_URL, api_key=API_KEY, max_retries=0, timeout=30, _strict_response_validation=True
)


def async_client() -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(
        base_url=ROOT_URL, api_key=API_KEY, max_retries=0, timeout=30, _strict_response_validation=True
    )


def each_model(name: str) -> Callable[[Callable[[str], Any]], None]:
    """Once to a provider of Anthropic's dialect, and once to one of OpenAI's."""

    def add(body: Callable[[str], Any]) -> None:
        for where, model in (("", MODEL), (", at OpenAI's", OPENAI_MODEL)):
            if model:
                cases.case(name + where)(lambda model=model: body(model))

    return add


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def ask(text: str, model: str = MODEL, **options: Any) -> anthropic.types.Message:
    options.setdefault("max_tokens", 500)
    reply: anthropic.types.Message = client.messages.create(model=model, messages=user(text), **options)
    return reply


def said(reply: anthropic.types.Message) -> str:
    [block] = [block for block in reply.content if block.type == "text"]
    return block.text


def called(reply: anthropic.types.Message) -> list[tuple[str, object]]:
    return [(block.name, block.input) for block in reply.content if block.type == "tool_use"]


def raised(kind: type[Kind], act: Callable[[], Any]) -> Kind:
    try:
        act()
    except kind as exc:
        return exc
    raise AssertionError(f"no {kind.__name__}")


@each_model("messages: a plain reply")
def _(model: str) -> None:
    reply = ask("Hello there", model)

    assert said(reply) == "You said: Hello there"
    assert (reply.role, reply.stop_reason, reply.stop_sequence) == ("assistant", "end_turn", None)
    assert reply.model.startswith(model)
    assert reply.usage.input_tokens > 0
    assert reply.usage.output_tokens > 0


@each_model("messages: async")
async def _(model: str) -> None:
    async with async_client() as client:
        reply = await client.messages.create(model=model, max_tokens=50, messages=user("Hello there"))

    assert said(reply) == "You said: Hello there"


@each_model("messages: a system prompt, as text and as blocks")
def _(model: str) -> None:
    blocks: Any = [
        {"type": "text", "text": "Speak like a pirate."},
        {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}},
    ]

    plain = ask("Repeat your instructions.", model, system="Speak like a pirate.")
    split = ask("Repeat your instructions.", model, system=blocks)

    assert "Speak like a pirate." in said(plain)
    assert "Speak like a pirate." in said(split)
    assert "Be brief." in said(split)


@each_model("messages: what was said before is known")
def _(model: str) -> None:
    messages: Any = [
        {"role": "user", "content": [{"type": "text", "text": "My name is Bob."}]},
        {"role": "assistant", "content": "Hello Bob."},
        {"role": "user", "content": "What is my name?"},
    ]

    reply = client.messages.create(model=model, max_tokens=50, messages=messages)

    assert said(reply) == "Your name is Bob."


@each_model("messages: text in any language, and every character of it")
def _(model: str) -> None:
    text = 'Grüße, 東京 🗼 👩‍👩‍👧 \\n "quoted" \u2028 end'

    assert said(ask(text, model)) == f"You said: {text}"


@each_model("messages: an image as data, and one by its URL")
def _(model: str) -> None:
    for source in (
        {"type": "base64", "media_type": "image/png", "data": PIXEL},
        {"type": "url", "url": "https://example.com/cat.png"},
    ):
        blocks: Any = [{"type": "image", "source": source}, {"type": "text", "text": "What is this?"}]

        reply = client.messages.create(
            model=model, max_tokens=50, messages=[{"role": "user", "content": blocks}]
        )

        assert said(reply) == "I see the image. You said: What is this?"


@each_model("messages: documents")
def _(model: str) -> None:
    page = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjAKJSVFT0YK"}
    blocks: Any = [{"type": "document", "source": page}, {"type": "text", "text": "Read this."}]

    reply = client.messages.create(model=model, max_tokens=50, messages=[{"role": "user", "content": blocks}])

    assert said(reply) == "I see the file. You said: Read this."


@cases.case("messages: an answer that is begun for the model")
def _() -> None:
    messages: Any = [*user("Hello there"), {"role": "assistant", "content": "You said:"}]

    reply = client.messages.create(model=MODEL, max_tokens=50, messages=messages)

    assert said(reply) == " Hello there"


@each_model("messages: with cache_control everywhere")
def _(model: str) -> None:
    marked = {"cache_control": {"type": "ephemeral"}}
    blocks: Any = [{"type": "text", "text": "Hello there", **marked}]

    reply = client.messages.create(
        model=model,
        max_tokens=50,
        system=[{"type": "text", "text": "Be brief.", **marked}],
        tools=[{**WEATHER, **marked}],
        messages=[{"role": "user", "content": blocks}],
    )

    assert said(reply) == "You said: Hello there"


@each_model("messages: through the beta resource, with a beta header")
def _(model: str) -> None:
    reply = client.beta.messages.create(
        model=model, max_tokens=50, messages=user("Hello there"), betas=["context-1m-2025-08-07"]
    )

    assert reply.content[0].type == "text"
    assert reply.content[0].text == "You said: Hello there"


@each_model("messages: stop_sequences")
def _(model: str) -> None:
    reply = ask("Count to 9", model, stop_sequences=["5", "7"])

    assert said(reply).split() == ["1", "2", "3", "4"]
    if model == MODEL:  # OpenAI's dialect does not tell which it was
        assert (reply.stop_reason, reply.stop_sequence) == ("stop_sequence", "5")


@each_model("messages: max_tokens cuts, and says so")
def _(model: str) -> None:
    reply = ask("Count to 100", model, max_tokens=7)

    assert reply.stop_reason == "max_tokens"
    assert reply.usage.output_tokens == 7


# The newest SDK no longer offers these, and older ones do: the API takes them.
@each_model("messages: temperature, top_p, metadata")
def _(model: str) -> None:
    assert said(ask("Hello", model, extra_body={"temperature": 0.3})) == "You said: Hello"
    assert said(ask("Hello", model, extra_body={"top_p": 0.9})) == "You said: Hello"
    assert said(ask("Hello", model, metadata={"user_id": "u-1"})) == "You said: Hello"


@cases.case("messages: top_k")
def _() -> None:
    assert said(ask("Hello", extra_body={"top_k": 5})) == "You said: Hello"


@cases.case("messages: top_k is refused by name, at OpenAI's")
def _() -> None:
    error = raised(anthropic.BadRequestError, lambda: ask("Hello", OPENAI_MODEL, extra_body={"top_k": 5}))

    assert "top_k" in str(error)


EVENTS = [
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
]


@each_model("stream: every event, in order")
def _(model: str) -> None:
    events: list[Any] = list(
        client.messages.create(model=model, max_tokens=50, messages=user("Count to 5"), stream=True)
    )

    assert [kind for kind, _ in itertools.groupby(event.type for event in events)] == EVENTS
    deltas = [event.delta.text for event in events if event.type == "content_block_delta"]
    assert "".join(deltas) == "1 2 3 4 5"
    assert events[-2].delta.stop_reason == "end_turn"
    assert events[-2].usage.output_tokens == 5


@each_model("stream: what is there is sent, and not kept until the end")
def _(model: str) -> None:
    stream = client.messages.create(
        model=model, max_tokens=50, messages=user("[pause 0.4] Count to 9"), stream=True
    )

    times = [
        time.monotonic()  # noqa: TID251 - a client's own clock
        for event in stream
        if event.type == "content_block_delta"
    ]

    assert times[-1] - times[0] > 0.2


@each_model("stream: one that the provider breaks off ends in an error, and not as if it were whole")
def _(model: str) -> None:
    stream = client.messages.create(
        model=model, max_tokens=50, messages=user("[cut] Count to 9"), stream=True
    )

    raised(anthropic.APIStatusError, lambda: list(stream))


@each_model("stream: the SDK's helper tells the text and the whole")
def _(model: str) -> None:
    with client.messages.stream(model=model, max_tokens=50, messages=user("Count to 5")) as stream:
        text = "".join(stream.text_stream)
        whole = stream.get_final_message()

    assert text == said(whole) == "1 2 3 4 5"
    assert whole.usage.input_tokens > 0
    assert whole.usage.output_tokens == 5


@each_model("stream: async")
async def _(model: str) -> None:
    async with (
        async_client() as client,
        client.messages.stream(model=model, max_tokens=50, messages=user("Count to 5")) as stream,
    ):
        whole = await stream.get_final_message()

    assert said(whole) == "1 2 3 4 5"


@each_model("stream: calls, block by block")
def _(model: str) -> None:
    with client.messages.stream(
        model=model,
        max_tokens=500,
        messages=user("What is the weather in Paris and Tokyo?"),
        tools=[WEATHER],
    ) as stream:
        kinds = [event.type for event in stream]
        whole = stream.get_final_message()

    assert called(whole) == [("get_weather", {"city": "Paris"}), ("get_weather", {"city": "Tokyo"})]
    assert whole.stop_reason == "tool_use"
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 2
    assert "input_json" in kinds


@each_model("tools: auto calls the one that is needed, or none")
def _(model: str) -> None:
    needed = ask(PARIS, model, tools=[STOCKS, WEATHER])
    needless = ask("Hello there", model, tools=[STOCKS, WEATHER], tool_choice={"type": "auto"})

    assert called(needed) == [("get_weather", {"city": "Paris"})]
    assert needed.stop_reason == "tool_use"
    assert said(needless) == "You said: Hello there"


@each_model("tools: any, tool, none")
def _(model: str) -> None:
    some = ask("Hello there", model, tools=[STOCKS, WEATHER], tool_choice={"type": "any"})
    named = ask(
        PARIS, model, tools=[STOCKS, WEATHER], tool_choice={"type": "tool", "name": "get_stock_price"}
    )
    none = ask(PARIS, model, tools=[WEATHER], tool_choice={"type": "none"})

    assert len(called(some)) == 1
    assert [name for name, _ in called(named)] == ["get_stock_price"]
    assert called(none) == []


@each_model("tools: disable_parallel_tool_use")
def _(model: str) -> None:
    reply = ask(
        "What is the weather in Paris and Tokyo?",
        model,
        tools=[WEATHER],
        tool_choice={"type": "auto", "disable_parallel_tool_use": True},
    )

    assert len(called(reply)) == 1


@each_model("tools: results are told to the model")
def _(model: str) -> None:
    prompt = "What is the weather in Paris and Tokyo?"
    reply = ask(prompt, model, tools=[WEATHER])
    calls = [block for block in reply.content if block.type == "tool_use"]
    results: Any = [
        {"type": "tool_result", "tool_use_id": calls[0].id, "content": "sunny"},
        {"type": "tool_result", "tool_use_id": calls[1].id, "content": [{"type": "text", "text": "rain"}]},
    ]
    messages: Any = [
        *user(prompt),
        {"role": "assistant", "content": reply.content},
        {"role": "user", "content": results},
    ]

    last = client.messages.create(model=model, max_tokens=500, messages=messages, tools=[WEATHER])

    assert said(last) == "The result is: sunny and rain."


@each_model("tools: a result that is an error, and words of the user beside it")
def _(model: str) -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "no such city", "is_error": True}
    messages: Any = [
        *user(PARIS),
        {"role": "assistant", "content": [{"type": "text", "text": "Let me look."}, call]},
        {"role": "user", "content": [result, {"type": "text", "text": "Go on."}]},
    ]

    reply = client.messages.create(model=model, max_tokens=500, messages=messages, tools=[WEATHER])

    assert said(reply) == "You said: Go on."


@beta_tool
def get_weather(city: str) -> str:
    """Tells the weather in a city."""
    return f"sunny in {city}"


@each_model("tools: the SDK's runner calls them by itself")
def _(model: str) -> None:
    runner = client.beta.messages.tool_runner(
        model=model, max_tokens=500, messages=user(PARIS), tools=[get_weather], thread=False
    )

    assert said(runner.until_done()) == "The result is: sunny in Paris."


@each_model("tools: the SDK's runner learns that no conversation is kept here, and goes on without")
def _(model: str) -> None:
    runner = client.beta.messages.tool_runner(
        model=model, max_tokens=500, messages=user(PARIS), tools=[get_weather]
    )

    assert said(runner.until_done()) == "The result is: sunny in Paris."


class Person(BaseModel):
    name: str
    age: int


@each_model("format: a schema through .parse()")
def _(model: str) -> None:
    reply = client.messages.parse(
        model=model, max_tokens=500, messages=user("Anna is 31 years old."), output_format=Person
    )

    assert reply.parsed_output == Person(name="Anna", age=31)


@cases.case("thinking: blocks with a signature, whole and streamed, and given back with a tool's result")
def _() -> None:
    thinking: Any = {"type": "enabled", "budget_tokens": 1024}
    options: Any = {"model": MODEL, "max_tokens": 2000, "thinking": thinking, "tools": [WEATHER]}
    whole = client.messages.create(messages=user(PARIS), **options)
    with client.messages.stream(messages=user(PARIS), **options) as stream:
        streamed = stream.get_final_message()
    [call] = [block for block in whole.content if block.type == "tool_use"]
    messages: Any = [
        *user(PARIS),
        {"role": "assistant", "content": whole.content},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}]},
    ]

    last = client.messages.create(messages=messages, **options)

    for reply in (whole, streamed):
        first = reply.content[0]
        assert first.type == "thinking"
        assert first.thinking
        assert first.signature
        assert called(reply) == [("get_weather", {"city": "Paris"})]
    assert said(last) == "The result is: sunny."


@cases.case("thinking: adaptive, with an effort")
def _() -> None:
    reply = ask("Hello", thinking={"type": "adaptive"}, output_config={"effort": "low"})

    assert [block.type for block in reply.content] == ["thinking", "text"]


if setting("REASONING_MODEL"):

    @cases.case("thinking: at OpenAI's")
    def _() -> None:
        reply = ask(
            "Hello",
            setting("REASONING_MODEL"),
            max_tokens=8000,
            thinking={"type": "enabled", "budget_tokens": 2048},
        )

        assert said(reply) == "You said: Hello"


@each_model("count_tokens")
def _(model: str) -> None:
    short = client.messages.count_tokens(model=model, messages=user("Hello"))
    long = client.messages.count_tokens(
        model=model, messages=user("Hello there, how are you?"), system="Be brief.", tools=[WEATHER]
    )

    assert 0 < short.input_tokens < long.input_tokens


@cases.case("models: list and retrieve")
def _() -> None:
    models = {model.id: model for model in client.models.list()}

    assert {MODEL, OPENAI_MODEL} <= models.keys()
    assert client.models.retrieve(MODEL).id == MODEL
    assert models[MODEL].type == "model"


@each_model("errors: 400 says what is wrong")
def _(model: str) -> None:
    error = raised(anthropic.BadRequestError, lambda: ask("Hello", model, extra_body={"temperature": 7}))

    assert error.type == "invalid_request_error"
    assert "temperature" in error.message
    assert error.request_id


@cases.case("errors: 400 for a conversation that cannot be")
def _() -> None:
    messages: Any = [{"role": "wizard", "content": "Hello"}]

    raised(
        anthropic.BadRequestError,
        lambda: client.messages.create(model=MODEL, max_tokens=50, messages=messages),
    )


@cases.case("errors: a server's own tool is refused by name, at OpenAI's")
def _() -> None:
    tools: Any = [{"type": "web_search_20250305", "name": "web_search"}]

    error = raised(anthropic.BadRequestError, lambda: ask("Hello", OPENAI_MODEL, tools=tools))

    assert "tools" in str(error), error


@cases.case("errors: 401 for a wrong key, in either header")
def _() -> None:
    by_key = client.with_options(api_key="sk-wrong")
    by_token = anthropic.Anthropic(base_url=ROOT_URL, auth_token="sk-wrong", max_retries=0)

    for wrong in (by_key, by_token):
        error = raised(
            anthropic.AuthenticationError,
            lambda wrong=wrong: wrong.messages.create(model=MODEL, max_tokens=50, messages=user("Hello")),
        )

        assert error.type == "authentication_error"


@cases.case("errors: a bearer token is as good as x-api-key")
def _() -> None:
    bearer = anthropic.Anthropic(base_url=ROOT_URL, auth_token=API_KEY, max_retries=0, timeout=30)

    assert said(bearer.messages.create(model=MODEL, max_tokens=50, messages=user("Hi"))) == "You said: Hi"


@cases.case("errors: 404 for a model that does not exist")
def _() -> None:
    error = raised(anthropic.NotFoundError, lambda: ask("Hello", "no-such-model"))

    assert error.type == "not_found_error"


@cases.case("errors: 429 when a limit is reached, with the time to wait")
def _() -> None:
    limited = client.with_options(api_key=setting("LIMITED_API_KEY") or API_KEY)
    mark = "" if setting("LIMITED_API_KEY") else "[refuse 429] "

    def twice() -> None:
        for _ in range(2):
            limited.messages.create(model=MODEL, max_tokens=50, messages=user(f"{mark}Hello"))

    error = raised(anthropic.RateLimitError, twice)

    assert error.type == "rate_limit_error"
    assert float(error.response.headers["retry-after"]) > 0


@each_model("errors: a provider that fails is not the caller's fault")
def _(model: str) -> None:
    for status in (500, 503, 529):
        error = raised(
            anthropic.InternalServerError, lambda status=status: ask(f"[refuse {status}] Hello", model)
        )

        assert error.type in ("api_error", "overloaded_error", "timeout_error")


@each_model("retries: the SDK tries again when the provider was overloaded, and is served")
def _(model: str) -> None:
    reply = client.with_options(max_retries=2).messages.create(
        model=model, max_tokens=50, messages=user("[refuse 529 x1 anthropic] Hello")
    )

    assert said(reply).endswith("Hello")


@cases.case("headers: request id")
def _() -> None:
    raw = client.messages.with_raw_response.create(model=MODEL, max_tokens=50, messages=user("Hello"))

    assert raw.headers["request-id"]
    assert raw.parse()._request_id == raw.headers["request-id"]


if __name__ == "__main__":
    cases.main()
