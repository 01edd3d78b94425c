"""The schema of an answer, as Anthropic's servers take it."""

from typing import Any

import pytest

from gateway.upstreams.anthropic.chat import UntranslatableError
from gateway.upstreams.anthropic.schema import takeable

Json = dict[str, Any]


def an_object(**properties: Json) -> Json:
    return {"type": "object", "properties": properties}


def closed(**properties: Json) -> Json:
    return {**an_object(**properties), "additionalProperties": False}


@pytest.mark.parametrize("is_strict", [False, True])
def test_every_object_is_closed_wherever_it_stands(is_strict: bool) -> None:
    name = an_object(name={"type": "string"})
    shut = closed(name={"type": "string"})
    schema = {
        **an_object(
            owner={"$ref": "#/$defs/Owner"},
            wheels={"type": "array", "items": name, "minItems": 1},
            colour={"anyOf": [name, {"type": "null"}]},
            engine={"oneOf": [name, {"allOf": [name]}]},
            maybe={**name, "type": ["object", "null"]},
        ),
        "$defs": {"Owner": name},
        "required": ["owner"],
    }

    taken = takeable(schema, is_strict=is_strict)

    assert taken == {
        **closed(
            owner={"$ref": "#/$defs/Owner"},
            wheels={"type": "array", "items": shut, "minItems": 1},
            colour={"anyOf": [shut, {"type": "null"}]},
            engine={"anyOf": [shut, {"allOf": [shut]}]},
            maybe={**shut, "type": ["object", "null"]},
        ),
        "$defs": {"Owner": shut},
        "required": ["owner"],
    }
    assert "additionalProperties" not in name


def test_a_limit_that_cannot_be_kept_becomes_a_part_of_the_description() -> None:
    schema = an_object(
        age={"type": "integer", "minimum": 0, "maximum": 150},
        names={"type": "array", "items": {"type": "string"}, "minItems": 2, "description": "All of them."},
    )

    taken = takeable(schema, is_strict=False)

    assert taken["properties"] == {
        "age": {"type": "integer", "description": 'Must keep to {"minimum":0,"maximum":150}.'},
        "names": {
            "type": "array",
            "items": {"type": "string"},
            "description": 'All of them. Must keep to {"minItems":2}.',
        },
    }


def test_a_property_may_have_the_name_of_a_limit() -> None:
    schema = closed(minimum={"type": "integer"}, items={"type": "string"})

    assert takeable(schema, is_strict=True) == schema


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        (an_object(age={"type": "integer", "minimum": 0}), "`minimum`"),
        (an_object(names={"type": "array", "items": {"type": "string", "maxLength": 3}}), "`maxLength`"),
    ],
)
def test_a_limit_that_cannot_be_kept_is_refused_where_it_is_asked_for_as_strict(
    schema: Json, named: str
) -> None:
    with pytest.raises(UntranslatableError, match=named) as refused:
        takeable(schema, is_strict=True)

    assert refused.value.param == "response_format.json_schema.schema"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        an_object(counts={"type": "object", "additionalProperties": {"type": "integer"}}),
        {**an_object(name={"type": "string"}), "additionalProperties": True},
    ],
)
def test_an_object_of_unnamed_properties_is_refused(schema: Json) -> None:
    with pytest.raises(UntranslatableError, match="not named"):
        takeable(schema, is_strict=False)


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": 1},
        {"anyOf": {}, "oneOf": [1, True]},
        {"type": "array", "items": True},
        {"description": 1, "minimum": []},
    ],
)
def test_a_schema_that_is_none_is_left_to_the_upstream_to_refuse(schema: Json) -> None:
    assert isinstance(takeable(schema, is_strict=False), dict)
