"""Chat completions: replies, streams, formats and settings."""

import time
from typing import Any

import openai
from pydantic import BaseModel

from tests.clients.cases import setting
from tests.clients.openai_python.start import (
    CROSS_MODEL,
    MODEL,
    REASONING_MODEL,
    ask,
    async_client,
    cases,
    client,
    each_model,
    lenient,
    raised,
    said,
    user,
)

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SILENCE = "UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA="
PAGE = "data:application/pdf;base64,JVBERi0xLjAKJSVFT0YK"


class Person(BaseModel):
    name: str
    age: int


def streamed(text: str, model: str, **options: Any) -> list[Any]:
    return list(client.chat.completions.create(model=model, messages=user(text), stream=True, **options))


def text_of(chunks: list[Any]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


@each_model("chat: a plain reply")
def _(model: str) -> None:
    reply = ask("Hello there", model)

    assert said(reply) == "You said: Hello there"
    assert reply.choices[0].finish_reason == "stop"
    assert reply.model.startswith(model)
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


@cases.case("chat: a plain reply, async")
async def _() -> None:
    async with async_client() as client:
        reply = await client.chat.completions.create(model=MODEL, messages=user("Hello there"))

    assert said(reply) == "You said: Hello there"


@each_model("chat: what was said before is known")
def _(model: str) -> None:
    messages: list[Any] = [
        {"role": "system", "content": "Answer in one sentence."},
        {"role": "user", "content": "My name is Bob."},
        {"role": "assistant", "content": "Hello Bob."},
        {"role": "user", "content": "What is my name?"},
    ]

    reply = client.chat.completions.create(model=model, messages=messages)

    assert said(reply) == "Your name is Bob."


@each_model("chat: instructions from system and developer arrive")
def _(model: str) -> None:
    for role in ("system", "developer"):
        messages: list[Any] = [{"role": role, "content": "Speak like a pirate."}]
        messages += user("Repeat your instructions.")

        reply = client.chat.completions.create(model=model, messages=messages)

        assert "Speak like a pirate." in said(reply)


@each_model("chat: text in any language, and every character of it")
def _(model: str) -> None:
    text = 'Grüße, 東京 🗼 👩‍👩‍👧 \\n "quoted" \u2028 end'

    assert said(ask(text, model)) == f"You said: {text}"
    assert text_of(streamed(text, model)) == f"You said: {text}"


@each_model("stream: pieces that add up, a finish reason, no usage that was not asked for")
def _(model: str) -> None:
    chunks = streamed("Count to 20", model)

    assert text_of(chunks).split() == [str(number) for number in range(1, 21)]
    assert [c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason] == ["stop"]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


@each_model("stream: what is there is sent, and not kept until the end")
def _(model: str) -> None:
    stream = client.chat.completions.create(model=model, messages=user("[pause 0.4] Count to 9"), stream=True)

    times = [time.monotonic() for chunk in stream if text_of([chunk])]  # noqa: TID251 - a client's own clock

    assert times[-1] - times[0] > 0.2


@each_model("stream: one that the provider breaks off ends in an error, and not as if it were whole")
def _(model: str) -> None:
    stream = client.chat.completions.create(model=model, messages=user("[cut] Count to 9"), stream=True)

    raised(openai.APIError, lambda: list(stream))


@each_model("stream: include_usage brings one more chunk, with usage and no choices")
def _(model: str) -> None:
    chunks = streamed("Hello there", model, stream_options={"include_usage": True})

    *others, last = chunks
    assert last.choices == []
    assert last.usage.total_tokens == last.usage.prompt_tokens + last.usage.completion_tokens
    assert last.usage.completion_tokens > 0
    assert all(chunk.usage is None for chunk in others)


@cases.case("stream: async")
async def _() -> None:
    async with async_client() as client:
        stream = await client.chat.completions.create(model=MODEL, messages=user("Count to 5"), stream=True)
        chunks = [chunk async for chunk in stream]

    assert text_of(chunks) == "1 2 3 4 5"


@each_model("stream: the SDK's helper tells the events and the whole")
def _(model: str) -> None:
    with client.chat.completions.stream(model=model, messages=user("Count to 5")) as stream:
        events = list(stream)
        whole = stream.get_final_completion()

    kinds = [event.type for event in events]
    assert "content.delta" in kinds
    assert kinds.count("content.done") == 1
    assert said(whole) == "1 2 3 4 5"


@cases.case("stream: the SDK's helper, async")
async def _() -> None:
    async with (
        async_client() as client,
        client.chat.completions.stream(model=MODEL, messages=user("Count to 5")) as stream,
    ):
        whole = await stream.get_final_completion()

    assert said(whole) == "1 2 3 4 5"


@cases.case("stream: left early, and the next request is served")
def _() -> None:
    with client.chat.completions.create(model=MODEL, messages=user("Count to 2000"), stream=True) as stream:
        next(iter(stream))

    assert said(ask("Still there?")) == "You said: Still there?"


@cases.case("format: json_object")
def _() -> None:
    reply = ask(
        "Reply in JSON with the keys `setup` and `punchline`", response_format={"type": "json_object"}
    )

    assert said(reply).startswith("{")


@each_model("format: json_schema through .parse()")
def _(model: str) -> None:
    reply = client.chat.completions.parse(
        model=model, messages=user("Anna is 31 years old."), response_format=Person
    )

    assert reply.choices[0].message.parsed == Person(name="Anna", age=31)


@each_model("format: json_schema in a stream")
def _(model: str) -> None:
    with client.chat.completions.stream(
        model=model, messages=user("Anna is 31 years old."), response_format=Person
    ) as stream:
        whole = stream.get_final_completion()

    assert whole.choices[0].message.parsed == Person(name="Anna", age=31)


@cases.case("choices: n")
def _() -> None:
    reply = ask("Hello", n=3)

    assert [choice.index for choice in reply.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in reply.choices}) == 3


@cases.case("choices: n in a stream")
def _() -> None:
    chunks = streamed("Hello", MODEL, n=2)

    texts = ["", ""]
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == ["You said: Hello", "You said: Hello (2)"]


@each_model("format: text, said in so many words")
def _(model: str) -> None:
    assert said(ask("Hello", model, response_format={"type": "text"})) == "You said: Hello"


@each_model("settings: stop")
def _(model: str) -> None:
    assert said(ask("Count to 9", model, stop=["5", "7"])).split() == ["1", "2", "3", "4"]
    assert said(ask("Count to 9", model, stop="3")).split() == ["1", "2"]


@each_model("settings: max_tokens cuts, and says so")
def _(model: str) -> None:
    reply = ask("Count to 100", model, max_tokens=7)

    assert reply.choices[0].finish_reason == "length"
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 7


@each_model("settings: max_completion_tokens cuts, and says so")
def _(model: str) -> None:
    chunks = streamed("Count to 100", model, max_completion_tokens=7)

    assert [c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason] == ["length"]
    assert len(text_of(chunks).split()) == 7


@each_model("settings: temperature and top_p")
def _(model: str) -> None:
    assert said(ask("Hello", model, temperature=0.2)) == "You said: Hello"
    assert said(ask("Hello", model, top_p=0.9)) == "You said: Hello"


@cases.case("settings: seed, penalties, logit_bias")
def _() -> None:
    reply = ask("Hello", seed=7, presence_penalty=0.5, frequency_penalty=-0.5, logit_bias={"50256": -100})

    assert said(reply) == "You said: Hello"


@cases.case("settings: logprobs and top_logprobs")
def _() -> None:
    reply = ask("Hello there", logprobs=True, top_logprobs=3)

    logprobs = reply.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert "".join(token.token for token in logprobs.content) == said(reply)
    assert all(len(token.top_logprobs) == 3 for token in logprobs.content)


@cases.case("settings: logprobs in a stream")
def _() -> None:
    chunks = streamed("Hello there", MODEL, logprobs=True, top_logprobs=1)

    tokens = [
        token.token
        for chunk in chunks
        for choice in chunk.choices
        if choice.logprobs
        for token in choice.logprobs.content
    ]
    assert "".join(tokens) == "You said: Hello there"


@cases.case("settings: metadata, user and store: false")
def _() -> None:
    reply = ask("Hello", metadata={"team": "blue"}, user="u-1", store=False)

    assert said(reply) == "You said: Hello"


@cases.case("settings: service_tier, prompt_cache_key, safety_identifier")
def _() -> None:
    reply = ask("Hello", service_tier="auto", prompt_cache_key="k", safety_identifier="s")

    assert said(reply) == "You said: Hello"


if REASONING_MODEL:

    @cases.case("settings: verbosity")
    def _() -> None:
        assert said(ask("Hello", REASONING_MODEL, verbosity="low")) == "You said: Hello"

    @cases.case("settings: reasoning_effort none")
    def _() -> None:
        reply = ask("Hello", REASONING_MODEL, reasoning_effort="none")

        assert reply.usage is not None
        assert reply.usage.completion_tokens == 3

    @cases.case("settings: reasoning_effort, and reasoning tokens are told")
    def _() -> None:
        reply = ask("Hello", REASONING_MODEL, reasoning_effort="low")

        assert reply.usage is not None
        assert reply.usage.completion_tokens_details is not None
        assert reply.usage.completion_tokens_details.reasoning_tokens


if CROSS_MODEL:

    @cases.case("settings: reasoning_effort, at Anthropic's")
    def _() -> None:
        reply = ask("Hello", CROSS_MODEL, reasoning_effort="low", max_completion_tokens=8000)

        assert said(reply) == "You said: Hello"

    @cases.case("settings: what the provider cannot do is refused by name, at Anthropic's")
    def _() -> None:
        for name, value in (
            ("logprobs", True),
            ("seed", 7),
            ("logit_bias", {"1": 1}),
            ("n", 2),
        ):
            error = raised(
                openai.BadRequestError,
                lambda name=name, value=value: ask("Hello in JSON", CROSS_MODEL, **{name: value}),
            )

            assert error.param == name or name in error.message

    @cases.case("format: json_object is served or refused by name, at Anthropic's")
    def _() -> None:
        wanted: Any = {"type": "json_object"}
        try:
            came = said(ask("Reply in JSON with the key `answer`", CROSS_MODEL, response_format=wanted))
        except openai.BadRequestError as exc:
            came = "{}" if "response_format" in (exc.param, *exc.message.split()) else exc.message

        assert came.startswith("{"), came


@each_model("parts: an image as data, and one by its URL")
def _(model: str) -> None:
    for url in (f"data:image/png;base64,{PIXEL}", "https://example.com/cat.png"):
        parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]

        reply = client.chat.completions.create(model=model, messages=[{"role": "user", "content": parts}])

        assert said(reply) == "I see the image. You said: What is this?"


@cases.case("parts: audio")
def _() -> None:
    sound = {"type": "input_audio", "input_audio": {"data": SILENCE, "format": "wav"}}
    parts = [{"type": "text", "text": "Listen"}, sound]

    reply = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": parts}])

    assert said(reply) == "I see the audio. You said: Listen"


@each_model("parts: a file")
def _(model: str) -> None:
    file = {"type": "file", "file": {"filename": "a.pdf", "file_data": PAGE}}
    parts = [{"type": "text", "text": "Read"}, file]

    reply = client.chat.completions.create(model=model, messages=[{"role": "user", "content": parts}])

    assert said(reply) == "I see the file. You said: Read"


@each_model("parts: names, and text in parts, in every role")
def _(model: str) -> None:
    def parts(text: str) -> list[Any]:
        return [{"type": "text", "text": text}]

    messages: list[Any] = [
        {"role": "system", "content": parts("Be brief."), "name": "rules"},
        {"role": "user", "content": parts("My name is Bob."), "name": "bob"},
        {"role": "assistant", "content": parts("Hello Bob."), "name": "helper"},
        {"role": "user", "content": [*parts("What is my name?"), *parts("Tell me.")]},
    ]

    reply = client.chat.completions.create(model=model, messages=messages)

    assert said(reply) == "Your name is Bob."


@cases.case("usage: cached tokens are told")
def _() -> None:
    reply = ask("word " * 1500)

    assert reply.usage is not None
    assert reply.usage.prompt_tokens_details is not None
    assert reply.usage.prompt_tokens_details.cached_tokens == 1408


if setting("COMPLETION_MODEL"):

    @cases.case("legacy completions: a reply")
    def _() -> None:
        reply = client.completions.create(
            model=setting("COMPLETION_MODEL"), prompt="Hello there", max_tokens=20, logprobs=1
        )

        assert reply.choices[0].text == "You said: Hello there"
        assert reply.choices[0].finish_reason == "stop"
        assert reply.usage is not None

    @cases.case("legacy completions: a stream")
    def _() -> None:
        # Strict mode wants a finish_reason in every chunk here, where OpenAI itself sends null.
        chunks = list(
            lenient.completions.create(
                model=setting("COMPLETION_MODEL"), prompt="Count to 50", max_tokens=7, stream=True
            )
        )

        assert "".join(chunk.choices[0].text for chunk in chunks) == "1 2 3 4 5 6 7"
        assert [chunk.choices[0].finish_reason for chunk in chunks][-1] == "length"

    @cases.case("legacy completions: several prompts, echo, n, stop")
    def _() -> None:
        reply = client.completions.create(
            model=setting("COMPLETION_MODEL"), prompt=["Count to 5", "Hello"], echo=True, n=2, stop=["4"]
        )

        assert [choice.index for choice in reply.choices] == [0, 1, 2, 3]
        assert reply.choices[0].text.rstrip() == "Count to 51 2 3"
        assert reply.choices[2].text == "HelloYou said: Hello"


@cases.case("legacy completions: with a chat model")
def _() -> None:
    reply = client.completions.create(model=MODEL, prompt="Hello there", max_tokens=20)

    assert reply.choices[0].text == "You said: Hello there"
