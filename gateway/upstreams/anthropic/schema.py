"""The schema of an answer, as Anthropic's servers take it: every object closed, and no limits that they cannot hold a
model to. What is asked for as `strict` is kept or refused; else a limit becomes a part of the description."""

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.upstreams.anthropic.chat import UntranslatableError

Json = dict[str, Any]

_LIMITS = frozenset(
    {
        "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
        "minLength", "maxLength",
        "minItems", "maxItems", "uniqueItems", "contains", "minContains", "maxContains", "prefixItems",
        "minProperties", "maxProperties", "patternProperties", "propertyNames",
        "dependentRequired", "dependentSchemas", "unevaluatedProperties",
        "if", "then", "else", "not",
    }
)  # fmt: skip
_NAMED = ("properties", "$defs", "definitions")
_LISTED = ("anyOf", "allOf", "oneOf")


def takeable(schema: Json, *, is_strict: bool) -> Json:
    """A copy. Raises UntranslatableError."""
    limits = {name: value for name, value in schema.items() if _is_limit(name, value)}
    if limits and is_strict:
        raise _refusal(f"cannot be held to `{min(limits)}`; leave it out, or do not ask for `strict`")
    taken = {name: _inner(name, value, is_strict) for name, value in schema.items() if name not in limits}
    if limits:
        told = f"Must keep to {msgspec.json.encode(limits).decode()}."
        taken["description"] = f"{taken['description']} {told}" if "description" in taken else told
    if "oneOf" in taken and "anyOf" not in taken:  # an answer is written by one of them in either case
        taken["anyOf"] = taken.pop("oneOf")
    if _is_object(taken):
        _close(taken)
    return taken


def _is_limit(name: str, value: object) -> bool:
    return name in _LIMITS and not (name == "minItems" and value in (0, 1))


def _inner(name: str, value: Any, is_strict: bool) -> Any:
    if name in _NAMED and isinstance(value, Mapping):
        return {key: _part(one, is_strict) for key, one in value.items()}
    if name in _LISTED and isinstance(value, list):
        return [_part(one, is_strict) for one in value]
    return _part(value, is_strict) if name == "items" else value


def _part(value: Any, is_strict: bool) -> Any:
    return takeable(value, is_strict=is_strict) if isinstance(value, dict) else value


def _is_object(schema: Json) -> bool:
    kind = schema.get("type")
    return kind == "object" or (isinstance(kind, list) and "object" in kind)


def _close(schema: Json) -> None:
    """What says nothing of further properties loses nothing by having none; what wants them cannot be had."""
    if not schema.get("properties") and "additionalProperties" not in schema:
        raise _refusal("writes no objects whose properties are not named")
    if schema.setdefault("additionalProperties", False) is not False:
        raise _refusal("writes no properties that are not named; set `additionalProperties` to false")


def _refusal(what: str) -> UntranslatableError:
    message = f"The model that was chosen {what}, in the schema of the response format."
    return UntranslatableError(message, param="response_format.json_schema.schema")
