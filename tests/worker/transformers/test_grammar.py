"""Structured output of a model that knows no words: whatever is valid is the grammar's doing."""

import asyncio
import re
from typing import Any

import jsonschema_rs
import msgspec
import pytest

from tests.fixtures.tiny_model import Asker
from workers.errors import EngineError, InvalidRequestError

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}


def of_schema(schema: dict[str, Any]) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}


async def test_two_hundred_of_two_hundred_answers_keep_to_the_schema(tiny: Asker) -> None:
    places = asyncio.Semaphore(tiny.engine.slots)
    is_valid = jsonschema_rs.validator_for(PERSON).is_valid

    async def one(seed: int) -> str:
        async with places:
            reply = await tiny.ask(seed=seed, temperature=1.5, max_tokens=300, **of_schema(PERSON))
            return reply.text if reply.end == "stop" else ""

    texts = await asyncio.gather(*(one(seed) for seed in range(200)))

    assert [text for text in texts if not text or not is_valid(msgspec.json.decode(text))] == []
    assert len(set(texts)) > 150


async def test_a_json_object_is_one_as_far_as_it_goes(tiny: Asker) -> None:
    reply = await tiny.ask(
        response_format={"type": "json_object"}, max_tokens=200, seed=3, logit_bias={"2": 100}
    )

    assert isinstance(msgspec.json.decode(reply.text), dict)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "unheard-of"},
        {"type": "string", "pattern": "^((+$"},
        {"$ref": "http://localhost:1/schema.json"},
        {"$ref": "#"},
        {"allOf": [{"type": "string"}, {"type": "integer"}]},
    ],
)  # fmt: skip
async def test_what_no_grammar_can_enforce_is_refused(tiny: Asker, schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        await tiny.ask(max_tokens=5, **of_schema(schema))

    assert refused.value.param == "response_format"


PATTERNS = [
    r"[A-Z]{2}-\d{4}",
    r"^(yes|no|perhaps)$",
    r"(\+\d{1,3} )?\d{3}-\d{4}",
    r"[\w.]{1,12}@[a-z]{2,8}\.(com|org)",
    r"\$\d{1,5}\.\d\d|free\$",
]


async def test_fifty_of_fifty_answers_match_their_regular_expression(tiny: Asker) -> None:
    places = asyncio.Semaphore(tiny.engine.slots)

    async def one(seed: int) -> tuple[str, str]:
        pattern = PATTERNS[seed % len(PATTERNS)]
        async with places:
            reply = await tiny.ask(
                seed=seed, temperature=1.5, max_tokens=100, structured_outputs={"regex": pattern}
            )
            return pattern, reply.text if reply.end == "stop" else "(cut)"

    answers = await asyncio.gather(*(one(seed) for seed in range(50)))

    assert [answer for answer in answers if not re.fullmatch(*answer)] == []
    assert len(set(answers)) > 25


async def test_a_completion_keeps_to_a_regular_expression_too(tiny: Asker) -> None:
    reply = await tiny.ask(prompt="Code:", n=3, max_tokens=50, structured_outputs={"regex": PATTERNS[0]})

    assert [text for text in reply.texts.values() if not re.fullmatch(PATTERNS[0], text)] == []


@pytest.mark.parametrize(
    "pattern",
    [
        "(a",
        "a{2,1}",
        r"(?=a)b",
        r"(a)\1",
        "a$b",
        r"[^\s\S]",
        "[ab]{1001}",
        "[ab]{1,1001}c",
        "(" * 999 + "a" + ")" * 999,
    ],
)
async def test_a_regular_expression_that_is_broken_or_too_large_is_refused(tiny: Asker, pattern: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        await tiny.ask(max_tokens=5, structured_outputs={"regex": pattern})

    assert refused.value.param == "structured_outputs.regex"


class Broken:
    def copy(self) -> "Broken":
        return self

    def fill(self, mask: Any, index: int) -> None:
        raise RuntimeError

    def consume(self, token: int) -> None: ...


async def test_a_grammar_that_breaks_fails_its_own_request_and_no_other(
    tiny: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    grammars = tiny.engine._loaded().grammars
    honest = grammars.of
    is_wanted: Any = lambda request: Broken() if request.seed == 13 else honest(request)  # noqa: E731 - it stands for a method
    monkeypatch.setattr(grammars, "of", is_wanted)

    replies = await asyncio.gather(
        *(tiny.ask(seed=seed, max_tokens=30, **of_schema(PERSON)) for seed in range(11, 16)),
        return_exceptions=True,
    )

    assert [isinstance(reply, EngineError) for reply in replies] == [False, False, True, False, False]
    assert await tiny.blocks_used() == 0
