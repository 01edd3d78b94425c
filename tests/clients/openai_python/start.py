"""What the parts of the suite share: the clients, the cases, and things to ask for."""

from collections.abc import Callable
from typing import Any, TypeVar

import openai
from openai.types.chat import ChatCompletion

from tests.clients.cases import API_KEY, BASE_URL, Cases, setting

Kind = TypeVar("Kind", bound=openai.APIError)

MODEL = setting("MODEL")
CROSS_MODEL = setting("CROSS_MODEL")
REASONING_MODEL = setting("REASONING_MODEL")

cases = Cases("openai-python", openai.__version__)
client = openai.OpenAI(
    base_url=BASE_URL, api_key=API_KEY, max_retries=0, timeout=30, _strict_response_validation=True
)
lenient = openai.OpenAI(base_url=BASE_URL, api_key=API_KEY, max_retries=0, timeout=30)
"""Where strict mode refuses what OpenAI itself sends: embeddings in base64, which the SDK decodes only afterwards."""


def async_client() -> openai.AsyncOpenAI:
    """One for each case, because each has an event loop of its own."""
    return openai.AsyncOpenAI(
        base_url=BASE_URL, api_key=API_KEY, max_retries=0, timeout=30, _strict_response_validation=True
    )


def each_model(name: str) -> Callable[[Callable[[str], Any]], None]:
    """Once to a provider of OpenAI's dialect, and once to one of Anthropic's."""

    def add(body: Callable[[str], Any]) -> None:
        for where, model in (("", MODEL), (", at Anthropic's", CROSS_MODEL)):
            if model:
                cases.case(name + where)(lambda model=model: body(model))

    return add


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def ask(text: str, model: str = MODEL, **options: Any) -> ChatCompletion:
    reply: ChatCompletion = client.chat.completions.create(model=model, messages=user(text), **options)
    return reply


def said(reply: ChatCompletion) -> str:
    [choice] = reply.choices
    assert choice.message.content is not None
    return choice.message.content


def raised(kind: type[Kind], act: Callable[[], Any]) -> Kind:
    try:
        act()
    except kind as exc:
        return exc
    raise AssertionError(f"no {kind.__name__}")


def function(name: str, description: str, **properties: Any) -> Any:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": schema},
    }


WEATHER = function("get_weather", "Tells the weather in a city.", city={"type": "string"})
STOCKS = function("get_stock_price", "Tells the price of a stock.", ticker={"type": "string"})
