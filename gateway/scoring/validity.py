"""Whether an answer is the JSON that was asked for. Of a schema only the outermost keys and their types are looked at:
upstreams that follow one at all follow it to the letter, and those that ignore it fail already there."""

from collections.abc import Sequence
from typing import Any

import msgspec

_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "number": (int, float),
    "integer": (int, float),
    "boolean": bool,
    "null": type(None),
}
_UNREADABLE = object()


def is_valid_reply(text: str, schema: dict[str, Any] | None) -> bool:
    """An object, or what the schema says; `{}` as a schema asks for no more than JSON."""
    value = _parsed(text)
    if value is _UNREADABLE:
        return False
    if schema is None:
        return isinstance(value, dict)
    if not _is_of(value, schema):
        return False
    if not isinstance(value, dict):
        return True
    required, properties = schema.get("required"), schema.get("properties")
    if isinstance(required, list) and any(isinstance(name, str) and name not in value for name in required):
        return False
    parts = properties.items() if isinstance(properties, dict) else ()
    return all(_is_of(value[name], part) for name, part in parts if name in value)


def are_valid_calls(calls: Sequence[str]) -> bool | None:
    """None: there is no JSON among them. What does not begin as an object is a custom tool's, and may be anything."""
    due = [call for call in calls if call.lstrip().startswith("{")]
    return all(isinstance(_parsed(call), dict) for call in due) if due else None


def _parsed(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return _UNREADABLE


def _is_of(value: Any, schema: Any) -> bool:
    """By the schema's own `type` alone."""
    named = schema.get("type") if isinstance(schema, dict) else None
    kinds = [kind for kind in (named if isinstance(named, list) else [named]) if isinstance(kind, str)]
    if not kinds or any(kind not in _TYPES for kind in kinds):
        return True
    return any(
        isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))
        for kind in kinds
    )
