"""Tool calls in each family's own writing: read from any cut into pieces, and enforced where they are required."""

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import msgspec
import pytest

from tests.fixtures.tiny_model import CHATML, Asker, Reply, running_engine, write_model, write_tokenizer
from workers.engines.transformers_engine.tools import (
    HERMES,
    LLAMA,
    MISTRAL,
    CallReader,
    Family,
    family_of,
)
from workers.errors import InvalidRequestError
from workers.request import Function, Tool

HERMES_TEMPLATE = CHATML + (
    "{% if tools %}<tool_call>{{ tools | tojson }} arguments"
    "{% for m in messages %}{% for c in m.tool_calls %}{{ c.function.arguments.city }}{% endfor %}{% endfor %}{% endif %}"
)
MISTRAL_TEMPLATE = CHATML + "{% if tools %}[TOOL_CALLS]{{ tools | tojson }}{% endif %}"
LLAMA_TEMPLATE = CHATML + "{% if tools %}<|eot_id|> parameters {{ tools | tojson }}{% endif %}"

WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"$ref": "#/$defs/city"}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["city"],
    "additionalProperties": False,
    "$defs": {"city": {"enum": ["Rome", "Paris"]}},
}
TOOLS = [
    {"type": "function", "function": {"name": "weather", "parameters": WEATHER}},
    {"type": "function", "function": {"name": "stop"}},
]


def reader(family: Family) -> CallReader:
    tools = [Tool(Function("weather")), Tool(Function("stop"))]
    return CallReader(family, tools, lambda index: f"id-{index}")


def read(family: Family, text: str, size: int) -> tuple[str, list[tuple[str, str]]]:
    """Cut into pieces of `size`: the text, and the calls."""
    parts, whole = [text[at : at + size] for at in range(0, len(text), size)], reader(family)
    deltas = [
        delta for i, part in enumerate(parts) for delta in whole.read(part, is_last=i == len(parts) - 1)
    ]
    calls = [call for delta in deltas for call in delta.get("tool_calls", [])]
    assert [call["index"] for call in calls] == list(range(len(calls)))
    return (
        "".join(delta.get("content", "") for delta in deltas),
        [(call["function"]["name"], call["function"]["arguments"]) for call in calls],
    )


ROME = ("weather", '{"city": "Rome"}')


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
@pytest.mark.parametrize(
    ("family", "written", "text", "calls"),
    [
        (HERMES, '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>', "", [ROME]),
        (HERMES, 'Wait.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>\n<tool_call>\n{"name": "stop", "arguments": {}}\n</tool_call>', "Wait.\n", [ROME, ("stop", "{}")]),
        (HERMES, '<tool_call>{"name": "weather", "arguments": {"city": "Rome"}}', "", [ROME]),
        (HERMES, "a < b, <tool is none", "a < b, <tool is none", []),
        (HERMES, "<tool_call>nothing</tool_call>.", "<tool_call>nothing</tool_call>.", []),
        (HERMES, '<tool_call>{"name": "unheard", "arguments": {}}</tool_call>', '<tool_call>{"name": "unheard", "arguments": {}}</tool_call>', []),
        (MISTRAL, '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Rome"}}, {"name": "stop", "arguments": {}}]', "", [ROME, ("stop", "{}")]),
        (MISTRAL, "[TO be or not", "[TO be or not", []),
        (LLAMA, '{"name": "weather", "parameters": {"city": "Rome"}}', "", [ROME]),
        (LLAMA, '<|python_tag|>{"name": "weather", "parameters": {"city": "Rome"}}; {"name": "stop", "parameters": {}}', "", [ROME, ("stop", "{}")]),
        (LLAMA, 'See {"name": "weather", "parameters": {}}', 'See {"name": "weather", "parameters": {}}', []),
        (LLAMA, '{"a": 1}', '{"a": 1}', []),
    ],
)  # fmt: skip
def test_calls_are_parted_from_text_however_the_pieces_fall(
    family: Family, written: str, text: str, calls: list[tuple[str, str]], size: int
) -> None:
    assert read(family, written, size) == (text, calls)


@pytest.mark.parametrize(
    ("template", "family"),
    [
        (HERMES_TEMPLATE, HERMES),
        (MISTRAL_TEMPLATE, MISTRAL),
        (LLAMA_TEMPLATE, LLAMA),
        (CHATML, None),
        (None, None),
        (HERMES_TEMPLATE + "<function=", None),
        (MISTRAL_TEMPLATE + "[ARGS]", None),
    ],
)
def test_a_family_is_known_by_its_template(template: str | None, family: Family | None) -> None:
    assert family_of(template) is family


@pytest.fixture(scope="module", params=["hermes", "hermes without marks", "mistral", "llama"])
def caller(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asker]:
    folder = tmp_path_factory.mktemp("tools")
    template, marks = {
        "hermes": (HERMES_TEMPLATE, HERMES.marks),
        "hermes without marks": (HERMES_TEMPLATE, ()),
        "mistral": (MISTRAL_TEMPLATE, MISTRAL.marks),
        "llama": (LLAMA_TEMPLATE, ()),
    }[request.param]
    write_model(folder, write_tokenizer(folder, template, marks), window=1024)
    with running_engine(folder, slots=4, context=1024) as asker:
        yield asker


def assert_calls(reply: Reply, names: set[str]) -> None:
    assert (reply.end, reply.text) == ("tool_calls", "")
    assert reply.calls
    for call in reply.calls:
        assert call["function"]["name"] in names
        arguments = msgspec.json.decode(call["function"]["arguments"])
        if call["function"]["name"] == "weather":
            jsonschema_rs.validate(WEATHER, arguments)


ENDS_SOON = {"logit_bias": {"2": 8}, "max_tokens": 300, "temperature": 1}


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_required_call_is_made_and_keeps_to_its_schema(caller: Asker, seed: int) -> None:
    reply = await caller.ask(tools=TOOLS, tool_choice="required", seed=seed, **ENDS_SOON)

    assert_calls(reply, {"weather", "stop"})


async def test_a_named_tool_is_the_one_that_is_called_and_once(caller: Asker) -> None:
    named = {"type": "function", "function": {"name": "weather"}}

    reply = await caller.ask(tools=TOOLS, tool_choice=named, seed=5, **ENDS_SOON)

    assert_calls(reply, {"weather"})
    assert len(reply.calls) == 1


async def test_a_free_choice_may_end_in_text(caller: Asker) -> None:
    reply = await caller.ask(tools=TOOLS, seed=4, max_tokens=12, temperature=1)

    assert reply.end in {"stop", "length", "tool_calls"}
    assert reply.text or reply.calls


async def test_no_choice_shows_the_model_no_tools(caller: Asker) -> None:
    without = await caller.ask(max_tokens=3)
    none = await caller.ask(tools=TOOLS, tool_choice="none", max_tokens=3)
    auto = await caller.ask(tools=TOOLS, max_tokens=3)

    assert without.usage is not None
    assert none.usage is not None
    assert auto.usage is not None
    assert none.usage.prompt == without.usage.prompt < auto.usage.prompt


async def test_what_was_called_before_is_read_again(caller: Asker) -> None:
    call = {"id": "call_of_another_model", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}  # fmt: skip
    messages = [
        {"role": "user", "content": "Rome?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_of_another_model", "content": "Sunny"},
    ]

    reply = await caller.ask(messages=messages, tools=TOOLS, max_tokens=3)

    assert reply.tokens


async def test_a_tool_whose_schema_cannot_be_kept_to_is_refused(caller: Asker) -> None:
    broken = {"type": "function", "function": {"name": "x", "parameters": {"properties": {"a": {"type": "unheard-of"}}}}}  # fmt: skip

    with pytest.raises(InvalidRequestError) as refused:
        await caller.ask(tools=[broken], tool_choice="required")

    assert refused.value.param == "tools"
