"""instructor: objects out of text, by each of the ways in which it asks OpenAI and Anthropic for them."""

from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from importlib.metadata import version
from typing import Annotated, Any, Literal, TypeVar

import anthropic
import instructor
import openai
from instructor.core.exceptions import IncompleteOutputException, InstructorRetryException
from pydantic import AfterValidator, BaseModel, Field

from tests.clients.cases import API_KEY, BASE_URL, ROOT_URL, Cases, setting

Error = TypeVar("Error", bound=Exception)

MODEL = setting("MODEL")
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
ANNA = "Anna is 31 years old."
MODES = {
    "tools": instructor.Mode.TOOLS,
    "a schema": instructor.Mode.JSON_SCHEMA,
    "JSON": instructor.Mode.JSON,
    "JSON in Markdown": instructor.Mode.MD_JSON,
    "responses": instructor.Mode.RESPONSES_TOOLS,
}
ANTHROPIC_MODES = {
    "messages": instructor.Mode.TOOLS,
    "messages with JSON": instructor.Mode.JSON,
}
cases = Cases("instructor", version("instructor"))


class Person(BaseModel):
    name: str
    age: int


def over(way: str, model: str, api_key: str = API_KEY) -> Any:
    if way in ANTHROPIC_MODES:
        messages = anthropic.Anthropic(base_url=ROOT_URL, api_key=api_key, max_retries=0)
        return instructor.from_anthropic(messages, mode=ANTHROPIC_MODES[way], model=model)
    chat = openai.OpenAI(base_url=BASE_URL, api_key=api_key, max_retries=0)
    return instructor.from_openai(chat, mode=MODES[way], model=model)


def each(name: str, *ways: str) -> Callable[[Callable[[Any], None]], None]:
    """By each of the ways, at a provider of OpenAI's dialect and at one of Anthropic's."""

    def add(body: Callable[[Any], None]) -> None:
        for way in ways:
            for where, model in (("", MODEL), (", at Anthropic's", setting("CROSS_MODEL"))):
                if model and not (where and way == "JSON"):  # it has schemas, and no JSON without one
                    cases.case(f"{way}: {name}{where}")(lambda way=way, model=model: body(over(way, model)))

    return add


def raised(kind: type[Error], act: Callable[[], Any]) -> Error:
    try:
        act()
    except kind as exc:
        return exc
    raise AssertionError(f"no {kind.__name__}")


def causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def user(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "max_tokens": 1000}


def of(way: Any, text: str) -> dict[str, Any]:
    """As `user`, with the word that the Responses API has for a limit."""
    asked = user(text)
    if way.mode is instructor.Mode.RESPONSES_TOOLS:
        asked["max_output_tokens"] = asked.pop("max_tokens")
    return asked


@each("an object, and what it cost", *MODES, *ANTHROPIC_MODES)
def _(way: Any) -> None:
    person, reply = way.create_with_completion(response_model=Person, max_retries=0, **of(way, ANNA))

    assert (person.name, person.age) == ("Anna", 31)
    assert reply.usage is not None


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Wheel(BaseModel):
    inches: float
    position: Literal["front", "rear"]


class Car(BaseModel):
    """A car."""

    maker: str | None
    colour: Colour
    wheels: list[Wheel]


@each("an object of objects, lists and choices", "tools", "a schema", "messages")
def _(way: Any) -> None:
    asked = user("A blue car whose maker is Saab, with 17 inches at the rear.")

    car = way.create(response_model=Car, max_retries=0, **asked)

    assert (car.maker, car.colour) == ("Saab", Colour.BLUE)
    assert car.wheels == [Wheel(inches=17, position="rear")]


class Team(BaseModel):
    names: list[str] = Field(min_length=2)
    score: int = Field(ge=10, le=20)


@each("an object within limits", "tools", "messages")
def _(way: Any) -> None:
    team = way.create(response_model=Team, max_retries=0, **user("Anna and Bob, 31 points."))

    assert (len(team.names), team.score) == (2, 20)


@each("an object that grows while it arrives", "tools", "a schema", "messages")
def _(way: Any) -> None:
    parts = list(way.create_partial(response_model=Person, **user(ANNA)))

    assert len(parts) > 1
    assert parts[-1].model_dump() == {"name": "Anna", "age": 31}


@each("objects, one after the other", "tools", "messages")
def _(way: Any) -> None:
    people = list(way.create_iterable(response_model=Person, **user(ANNA)))

    assert [(person.name, person.age) for person in people] == [("Anna", 31)]


@each("a plain answer, where no object is asked for", "tools", "messages")
def _(way: Any) -> None:
    reply = way.create(response_model=None, **user("Hello there"))

    text = reply.choices[0].message.content if hasattr(reply, "choices") else reply.content[0].text
    assert text == "You said: Hello there"


@each("an object that is not good enough is asked for again", "tools", "a schema", "responses", "messages")
def _(way: Any) -> None:
    seen: list[str] = []

    def checked(name: str) -> str:
        seen.append(name)
        if len(seen) == 1:
            raise ValueError("Write it with a title.")
        return name

    class Titled(BaseModel):
        name: Annotated[str, AfterValidator(checked)]

    way.create(response_model=Titled, max_retries=2, **of(way, "Her name is Anna."))

    assert len(seen) == 2


class Weather(BaseModel):
    """Tells the weather in a city."""

    city: str


class Stock(BaseModel):
    """Tells the price of a stock."""

    ticker: str


@cases.case("several kinds of objects at once")
def _() -> None:
    chat = openai.OpenAI(base_url=BASE_URL, api_key=API_KEY, max_retries=0)
    client = instructor.from_openai(chat, mode=instructor.Mode.PARALLEL_TOOLS, model=MODEL)

    found = list(
        client.create(
            response_model=Iterable[Weather | Stock], **user("The weather in Paris, and the stock?")
        )
    )

    assert {type(one) for one in found} == {Weather, Stock}


@each("an image", "tools", "messages")
def _(way: Any) -> None:
    image = instructor.Image.from_base64(f"data:image/png;base64,{PIXEL}")
    messages = [{"role": "user", "content": [ANNA, image]}]

    assert way.create(response_model=Person, messages=messages, max_tokens=1000, max_retries=0).age == 31


@cases.case("asynchronously, and as it arrives")
async def _() -> None:
    async with openai.AsyncOpenAI(base_url=BASE_URL, api_key=API_KEY, max_retries=0) as chat:
        client = instructor.from_openai(chat, model=MODEL)
        person = await client.create(response_model=Person, **user(ANNA))
        parts = [part async for part in client.create_partial(response_model=Person, **user(ANNA))]

    assert (person.name, person.age) == ("Anna", 31)
    assert parts[-1].age == 31


@cases.case("by the provider's name alone")
def _() -> None:
    client = instructor.from_provider(f"openai/{MODEL}", base_url=BASE_URL, api_key=API_KEY)

    assert client.create(response_model=Person, **user(ANNA)).name == "Anna"


@cases.case("what a moderation model does not let pass is no value")
def _() -> None:
    chat = openai.OpenAI(base_url=BASE_URL, api_key=API_KEY, max_retries=0)
    allowed = instructor.openai_moderation(chat)

    assert allowed("Hello") == "Hello"
    assert "violence" in str(raised(ValueError, lambda: allowed("I will kill you")))


@each("an object that was cut off is told as such", "a schema", "messages with JSON")
def _(way: Any) -> None:
    asked = {**user(ANNA), "max_tokens": 2}

    raised(IncompleteOutputException, lambda: way.create(response_model=Person, max_retries=0, **asked))


@cases.case("a refusal keeps its class, and a wrong key too")
def _() -> None:
    for key, text, kind in (
        (API_KEY, "[refuse 400] Hello", openai.BadRequestError),
        ("sk-wrong", "Hello", openai.AuthenticationError),
    ):
        client, asked = over("tools", MODEL, key), user(text)
        error = raised(
            InstructorRetryException,
            lambda client=client, asked=asked: client.create(response_model=Person, max_retries=0, **asked),
        )

        assert kind in [type(cause) for cause in causes(error)], error


if __name__ == "__main__":
    cases.main()
