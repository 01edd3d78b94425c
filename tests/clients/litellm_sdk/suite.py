"""LiteLLM's SDK, which takes the gateway for OpenAI (`openai/...`) and for Anthropic (`anthropic/...`)."""

import json
import os
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, TypeVar

from pydantic import BaseModel

from tests.clients.cases import API_KEY, BASE_URL, ROOT_URL, Cases, setting

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # noqa: TID251 - else it fetches prices when it is imported
os.environ["LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS"] = "True"  # noqa: TID251 - likewise

import litellm

Error = TypeVar("Error", bound=Exception)
MODEL = setting("MODEL")
CROSS_MODEL = setting("CROSS_MODEL")
OPENAI = {"api_base": BASE_URL, "api_key": API_KEY, "max_retries": 0}
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
cases = Cases("litellm", version("litellm"))
litellm.suppress_debug_info = True


class Person(BaseModel):
    name: str
    age: int


def each(name: str) -> Callable[[Callable[[dict[str, Any]], Any]], None]:
    """In either dialect, at a provider of OpenAI's and at one of Anthropic's."""

    def add(body: Callable[[dict[str, Any]], Any]) -> None:
        for dialect, base in (("openai", BASE_URL), ("anthropic", ROOT_URL)):
            for where, model in (("", MODEL), (", at Anthropic's", CROSS_MODEL)):
                if model:
                    call = {
                        "model": f"{dialect}/{model}",
                        "api_base": base,
                        "api_key": API_KEY,
                        "max_retries": 0,
                    }
                    cases.case(f"{dialect}: {name}{where}")(lambda call=call: body(call))

    return add


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def said(reply: Any) -> str:
    text: str = reply.choices[0].message.content
    return text


def raised(kind: type[Error], act: Callable[[], Any]) -> Error:
    try:
        act()
    except kind as exc:
        return exc
    raise AssertionError(f"no {kind.__name__}")


@each("a plain reply, and its usage")
def _(call: dict[str, Any]) -> None:
    reply = litellm.completion(**call, messages=user("Hello there"))

    assert said(reply) == "You said: Hello there"
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens > 0


@each("asynchronously")
async def _(call: dict[str, Any]) -> None:
    reply = await litellm.acompletion(**call, messages=user("Hello there"))

    assert said(reply) == "You said: Hello there"


@each("a stream that adds up to the whole, with usage")
def _(call: dict[str, Any]) -> None:
    asked = user("Count to 20")
    chunks = list(
        litellm.completion(**call, messages=asked, stream=True, stream_options={"include_usage": True})
    )

    whole = litellm.stream_chunk_builder(chunks, messages=asked)
    assert len(chunks) > 10
    assert said(whole).split() == [str(number) for number in range(1, 21)]
    assert whole.usage.completion_tokens == 20


@each("a tool's round trip")
def _(call: dict[str, Any]) -> None:
    asked = user("What is the weather in Paris?")
    first = litellm.completion(**call, messages=asked, tools=[WEATHER])
    [used] = first.choices[0].message.tool_calls
    answer = {"role": "tool", "tool_call_id": used.id, "content": "sunny"}

    second = litellm.completion(**call, messages=[*asked, first.choices[0].message, answer], tools=[WEATHER])

    assert first.choices[0].finish_reason == "tool_calls"
    assert json.loads(used.function.arguments) == {"city": "Paris"}
    assert said(second) == "The result is: sunny."


@each("several calls in a stream")
def _(call: dict[str, Any]) -> None:
    asked = user("What is the weather in Paris and Tokyo?")
    chunks = list(litellm.completion(**call, messages=asked, tools=[WEATHER], stream=True))

    used = litellm.stream_chunk_builder(chunks).choices[0].message.tool_calls
    assert [json.loads(one.function.arguments)["city"] for one in used] == ["Paris", "Tokyo"]


@each("an object by its schema")
def _(call: dict[str, Any]) -> None:
    reply = litellm.completion(**call, messages=user("Anna is 31 years old."), response_format=Person)

    assert Person.model_validate_json(said(reply)) == Person(name="Anna", age=31)


@each("an image, a system prompt and what was said before")
def _(call: dict[str, Any]) -> None:
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    messages = [
        {"role": "system", "content": "Speak like a pirate."},
        *user("My name is Bob."),
        {"role": "assistant", "content": "Hello Bob."},
        {"role": "user", "content": parts},
    ]

    assert said(litellm.completion(**call, messages=messages)) == "I see the image. You said: What is this?"


@each("a limit of tokens, stop, temperature and user")
def _(call: dict[str, Any]) -> None:
    wishes = {"temperature": 0.5, "user": "u-1", "stop": ["7"]}

    short = litellm.completion(**call, messages=user("Count to 100"), max_tokens=5, **wishes)
    stopped = litellm.completion(**call, messages=user("Count to 9"), **wishes)

    assert short.choices[0].finish_reason == "length"
    assert short.usage.completion_tokens == 5
    assert said(stopped).split() == ["1", "2", "3", "4", "5", "6"]


@each("a wrong field and a wrong key have LiteLLM's classes")
def _(call: dict[str, Any]) -> None:
    stranger = {**call, "api_key": "sk-wrong"}

    raised(litellm.BadRequestError, lambda: litellm.completion(**call, messages=user("[refuse 400] Hello")))
    raised(litellm.AuthenticationError, lambda: litellm.completion(**stranger, messages=user("Hello")))


@each("a limit that is reached has LiteLLM's class")
def _(call: dict[str, Any]) -> None:
    limited = {**call, "api_key": setting("LIMITED_API_KEY") or API_KEY}
    mark = "" if setting("LIMITED_API_KEY") else "[refuse 429] "

    def twice() -> None:
        for _ in range(2):
            litellm.completion(**limited, messages=user(f"{mark}Hello"))

    raised(litellm.RateLimitError, twice)


@cases.case("openai: n, seed, logprobs and penalties")
def _() -> None:
    wishes = {"n": 2, "seed": 7, "logprobs": True, "top_logprobs": 2, "presence_penalty": 0.5}

    reply = litellm.completion(f"openai/{MODEL}", messages=user("Hello there"), **wishes, **OPENAI)

    assert len(reply.choices) == 2
    assert len(reply.choices[0].logprobs.content[0].top_logprobs) == 2


@cases.case("openai: json_object")
def _() -> None:
    wanted = {"type": "json_object"}

    reply = litellm.completion(
        f"openai/{MODEL}",
        messages=user("Reply in JSON with the key `answer`"),
        response_format=wanted,
        **OPENAI,
    )

    assert said(reply) == '{"answer": "some answer"}'


if setting("REASONING_MODEL"):

    @cases.case("openai: reasoning_effort, and the tokens that it took")
    def _() -> None:
        model = f"openai/{setting('REASONING_MODEL')}"

        reply = litellm.completion(model, messages=user("Hello"), reasoning_effort="low", **OPENAI)

        assert reply.usage.completion_tokens_details.reasoning_tokens > 0


if CROSS_MODEL:

    @cases.case("anthropic: reasoning_effort brings the thinking, at Anthropic's")
    def _() -> None:
        call = {"api_base": ROOT_URL, "api_key": API_KEY, "max_tokens": 8000}

        reply = litellm.completion(
            f"anthropic/{CROSS_MODEL}", messages=user("Hello"), reasoning_effort="low", **call
        )

        assert reply.choices[0].message.reasoning_content
        assert said(reply) == "You said: Hello"


@cases.case("openai: a model that does not exist has LiteLLM's class")
def _() -> None:
    asked = {"model": "openai/no-such-model", "messages": user("Hello")}

    raised(litellm.NotFoundError, lambda: litellm.completion(**asked, **OPENAI))


@cases.case("openai: a prompt that is too long has its own class")
def _() -> None:
    if setting("COMPLETION_MODEL"):
        model = f"text-completion-openai/{setting('COMPLETION_MODEL')}"
        raised(
            litellm.ContextWindowExceededError,
            lambda: litellm.text_completion(model=model, prompt="word " * 20_000, **OPENAI),
        )


@cases.case("openai: tries again when told to")
def _() -> None:
    reply = litellm.completion(
        f"openai/{MODEL}",
        messages=user("[refuse 503 x1 litellm-sdk] Hello"),
        num_retries=2,
        api_base=BASE_URL,
        api_key=API_KEY,
    )

    assert said(reply).endswith("Hello")


@cases.case("openai: a router falls back to another model")
def _() -> None:
    entries = {"first": "no-such-model", "second": MODEL}
    router = litellm.Router(
        model_list=[
            {"model_name": name, "litellm_params": {"model": f"openai/{model}", **OPENAI}}
            for name, model in entries.items()
        ],
        fallbacks=[{"first": ["second"]}],
        num_retries=0,
    )

    assert said(router.completion("first", messages=user("Hello there"))) == "You said: Hello there"


@cases.case("openai: what is left of the limits is told")
def _() -> None:
    reply = litellm.completion(f"openai/{MODEL}", messages=user("Hello"), **OPENAI)

    told = reply._hidden_params["additional_headers"]
    assert int(told["x-ratelimit-remaining-requests"]) <= int(told["x-ratelimit-limit-requests"])
    assert told["llm_provider-x-request-id"]


@cases.case("openai: a stream that the provider breaks off is not taken for whole")
def _() -> None:
    stream = litellm.completion(f"openai/{MODEL}", messages=user("[cut] Count to 9"), stream=True, **OPENAI)

    raised(Exception, lambda: list(stream))


@cases.case("embeddings: several texts, and fewer dimensions")
def _() -> None:
    model = f"openai/{setting('EMBEDDING_MODEL')}"
    whole = litellm.embedding(model, input=["Hello", "Bye"], **OPENAI)
    short = litellm.embedding(model, input=["Hello"], dimensions=8, **OPENAI)

    assert [len(one["embedding"]) for one in whole.data] == [1536, 1536]
    assert len(short.data[0]["embedding"]) == 8
    assert whole.usage.prompt_tokens == 2


if setting("MODERATION_MODEL"):

    @cases.case("moderations")
    def _() -> None:
        reply = litellm.moderation(
            "I will kill you", model=setting("MODERATION_MODEL"), api_base=BASE_URL, api_key=API_KEY
        )

        assert reply.results[0].flagged


if setting("COMPLETION_MODEL"):

    @cases.case("completions: whole, and as a stream")
    def _() -> None:
        call = {
            "model": f"text-completion-openai/{setting('COMPLETION_MODEL')}",
            "prompt": "Hello there",
            **OPENAI,
        }
        whole = litellm.text_completion(**call)
        pieces = [chunk.choices[0].text or "" for chunk in litellm.text_completion(**call, stream=True)]

        assert whole.choices[0].text == "".join(pieces) == "You said: Hello there"


def responses_model(name: str) -> Callable[[Callable[[str], Any]], None]:
    def add(body: Callable[[str], Any]) -> None:
        for where, model in (("", MODEL), (", at Anthropic's", CROSS_MODEL)):
            if model:
                cases.case(f"responses: {name}{where}")(lambda model=model: body(f"openai/{model}"))

    return add


@responses_model("a reply, and one after a tool")
def _(model: str) -> None:
    tool = {"type": "function", **WEATHER["function"]}
    asked = user("What is the weather in Paris?")
    first = litellm.responses(model=model, input=asked, tools=[tool], **OPENAI)
    [used] = [item for item in first.output if item.type == "function_call"]
    answer = {"type": "function_call_output", "call_id": used.call_id, "output": "sunny"}
    turn = {"type": "function_call", "call_id": used.call_id, "name": used.name, "arguments": used.arguments}

    second = litellm.responses(model=model, input=[*asked, turn, answer], tools=[tool], **OPENAI)

    assert second.output[-1].content[0].text == "The result is: sunny."


@responses_model("a stream")
async def _(model: str) -> None:
    stream = await litellm.aresponses(model=model, input="Count to 5", stream=True, **OPENAI)
    events = [event async for event in stream]

    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == "1 2 3 4 5"
    assert events[-1].type == "response.completed"


def messages_model(name: str) -> Callable[[Callable[[str], Any]], None]:
    def add(body: Callable[[str], Any]) -> None:
        for where, model in (("", MODEL), (", at Anthropic's", CROSS_MODEL)):
            if model:
                cases.case(f"messages: {name}{where}")(lambda model=model: body(f"anthropic/{model}"))

    return add


@messages_model("a reply")
async def _(model: str) -> None:
    reply = await litellm.anthropic.messages.acreate(
        model=model, messages=user("Hello there"), max_tokens=100, api_base=ROOT_URL, api_key=API_KEY
    )

    assert [block["text"] for block in reply["content"]] == ["You said: Hello there"]


if __name__ == "__main__":
    cases.main()
