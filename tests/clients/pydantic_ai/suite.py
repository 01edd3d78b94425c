"""pydantic-ai: agents over its three models that a gateway can serve, each to providers of both dialects."""

from collections.abc import Awaitable, Callable

from pydantic import BaseModel
from pydantic_ai import (
    Agent,
    BinaryContent,
    ModelHTTPError,
    ModelRetry,
    NativeOutput,
    ToolOutput,
    UsageLimits,
    __version__,
)
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

from tests.clients.cases import API_KEY, BASE_URL, ROOT_URL, Cases, NotApplicableError, setting

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6364f8cf500f000e1801805a347d6b0000000049454e44ae426082"
)
cases = Cases("pydantic-ai", __version__)


class Person(BaseModel):
    name: str
    age: int


def models() -> dict[str, Model]:
    openai = OpenAIProvider(base_url=BASE_URL, api_key=API_KEY)
    anthropic = AnthropicProvider(base_url=ROOT_URL, api_key=API_KEY)
    made: dict[str, Model] = {}
    for where, name in (("at OpenAI's", setting("MODEL")), ("at Anthropic's", setting("CROSS_MODEL"))):
        if name:
            made[f"chat, {where}"] = OpenAIChatModel(name, provider=openai)
            made[f"responses, {where}"] = OpenAIResponsesModel(name, provider=openai)
            made[f"messages, {where}"] = AnthropicModel(name, provider=anthropic)
    return made


MODELS = models()


def each_model(name: str) -> Callable[[Callable[[Model], Awaitable[None]]], None]:
    """For each of pydantic-ai's models, to a provider of OpenAI's dialect and to one of Anthropic's."""

    def add(body: Callable[[Model], Awaitable[None]]) -> None:
        for where, model in MODELS.items():
            surface, _, provider = where.partition(", ")
            cases.case(f"{surface}: {name}, {provider}")(lambda model=model: body(model))

    return add


@each_model("a plain answer, with instructions and usage")
async def _(model: Model) -> None:
    agent = Agent(model, instructions="Speak like a pirate.")

    answer = await agent.run("Repeat your instructions.")

    assert "Speak like a pirate." in answer.output
    assert answer.usage.input_tokens > 0
    assert answer.usage.output_tokens > 0


@each_model("a conversation goes on")
async def _(model: Model) -> None:
    agent = Agent(model)
    first = await agent.run("My name is Bob.")

    second = await agent.run("What is my name?", message_history=first.all_messages())

    assert second.output == "Your name is Bob."


@each_model("a stream of text")
async def _(model: Model) -> None:
    async with Agent(model).run_stream("Count to 5") as stream:
        pieces = [piece async for piece in stream.stream_text(delta=True, debounce_by=None)]

    assert "".join(pieces) == "1 2 3 4 5"
    assert stream.usage.output_tokens > 0


def with_tools(model: Model) -> tuple[Agent[None, str], list[str]]:
    agent = Agent(model)
    asked: list[str] = []

    @agent.tool_plain
    async def get_weather(city: str) -> str:
        """Tells the weather in a city."""
        asked.append(city)
        return f"sunny in {city}"

    @agent.tool_plain
    async def get_stock_price(ticker: str) -> float:
        """Tells the price of a stock."""
        raise AssertionError(ticker)

    return agent, asked


@each_model("a tool is called, and its result is told")
async def _(model: Model) -> None:
    agent, asked = with_tools(model)

    answer = await agent.run("What is the weather in Paris?")

    assert asked == ["Paris"]
    assert answer.output == "The result is: sunny in Paris."


@each_model("several calls at once")
async def _(model: Model) -> None:
    agent, asked = with_tools(model)

    answer = await agent.run("What is the weather in Paris and Tokyo?")

    assert sorted(asked) == ["Paris", "Tokyo"]
    assert answer.output == "The result is: sunny in Paris and sunny in Tokyo."


@each_model("a tool in a stream")
async def _(model: Model) -> None:
    agent, asked = with_tools(model)

    async with agent.run_stream("What is the weather in Paris?") as stream:
        text = await stream.get_output()

    assert asked == ["Paris"]
    assert text == "The result is: sunny in Paris."


@each_model("a tool that asks for another try")
async def _(model: Model) -> None:
    agent = Agent(model, retries=2)
    tries = []

    @agent.tool_plain
    async def get_weather(city: str) -> str:
        """Tells the weather in a city."""
        tries.append(city)
        if len(tries) == 1:
            raise ModelRetry("Ask again.")
        return "sunny"

    answer = await agent.run("What is the weather in Paris?")

    assert "Ask again." in answer.output


@each_model("structured output by a tool")
async def _(model: Model) -> None:
    answer = await Agent(model, output_type=ToolOutput(Person)).run("Anna is 31 years old.")

    assert answer.output == Person(name="Anna", age=31)


@each_model("structured output by the provider's own schema")
async def _(model: Model) -> None:
    if not model.profile.get("supports_json_schema_output"):
        raise NotApplicableError  # pydantic-ai knows by their names which models of Anthropic's dialect have it

    answer = await Agent(model, output_type=NativeOutput(Person)).run("Anna is 31 years old.")

    assert answer.output == Person(name="Anna", age=31)


@each_model("structured output in a stream")
async def _(model: Model) -> None:
    async with Agent(model, output_type=Person).run_stream("Anna is 31 years old.") as stream:
        output = await stream.get_output()

    assert output == Person(name="Anna", age=31)


@each_model("structured output after a tool")
async def _(model: Model) -> None:
    agent = Agent(model, output_type=ToolOutput(Person))

    @agent.tool_plain
    async def look_up_person(name: str) -> str:
        """Looks a person up."""
        return f"{name} is 31 years old."

    answer = await agent.run("Look up the person Anna.", usage_limits=UsageLimits(request_limit=4))

    assert answer.output == Person(name="Anna", age=31)


@each_model("an image")
async def _(model: Model) -> None:
    answer = await Agent(model).run(["What is this?", BinaryContent(PIXEL, media_type="image/png")])

    assert answer.output == "I see the image. You said: What is this?"


@each_model("settings: max_tokens, temperature, stop")
async def _(model: Model) -> None:
    settings = {"max_tokens": 20, "temperature": 0.5, "timeout": 20}

    answer = await Agent(model, model_settings=settings).run("Count to 100")

    assert answer.output.split()[:3] == ["1", "2", "3"]
    assert answer.usage.output_tokens == 20


@each_model("a refusal is told with its status")
async def _(model: Model) -> None:
    try:
        await Agent(model).run("[refuse 400] Hello")
    except ModelHTTPError as exc:
        status = exc.status_code
    else:
        raise AssertionError("it was answered")

    assert status == 400


if __name__ == "__main__":
    cases.main()
