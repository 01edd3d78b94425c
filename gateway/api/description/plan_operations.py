"""The planning tools in the admin listener's description: an operation each, instead of one for any name."""

from collections.abc import Mapping
from typing import Any

from gateway.api.admin.plan import COMPARE, MEDIA
from gateway.planning.contract import Tool
from gateway.planning.reading import Input, Kind, inputs_of
from gateway.planning.tools import NAMES, tool

PATH = "/admin/plan/{name}"

_ABOUT = """\
Inputs that are left out are defaults, and stand in `assumptions` with their sources. `compare` takes an earlier answer of \
the same tool and adds what changed since; `explain` adds the formulas, with numbers put in."""
_TYPES: Mapping[Kind, list[str]] = {
    "text": ["string"],
    "integer": ["integer"],
    "number": ["number"],
    "money": ["number", "string"],
    "yes or no": ["boolean"],
}
_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_COMPARE = {
    "type": "object",
    "description": "An earlier answer of this tool, as JSON: what changed since is added.",
}


def plan_schemas() -> dict[str, dict[str, Any]]:
    return {_schema_name(name): _body(tool(name)) for name in NAMES}


def plan_paths(operation: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """From the operation that Litestar described, with its refusals."""
    return {PATH.format(name=name): {"post": _of_tool(tool(name), operation)} for name in NAMES}


def _of_tool(chosen: Tool[Any], operation: dict[str, Any]) -> dict[str, Any]:
    reply = {
        **operation["responses"]["200"],
        "content": {media: {"schema": _written(media)} for media in MEDIA.values()},
    }
    body = {"schema": {"$ref": f"#/components/schemas/{_schema_name(chosen.name)}"}}
    return {
        **operation,
        "summary": f"Plan: {chosen.name}",
        "description": f"{chosen.help} {_ABOUT}",
        "operationId": f"post_admin_plan_{chosen.name}",
        "tags": ["Plan"],
        "parameters": [one for one in operation["parameters"] if one["in"] != "path"],
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": {**operation["responses"], "200": reply},
    }


def _written(media: str) -> dict[str, Any]:
    if media == "application/json":
        return {"type": "object"}
    return {"type": "string", "format": "binary"} if media == "image/png" else {"type": "string"}


def _schema_name(name: str) -> str:
    return f"{name.capitalize()}Inputs"


def _body(chosen: Tool[Any]) -> dict[str, Any]:
    inputs = inputs_of(chosen.inputs)
    return {
        "type": "object",
        "properties": {
            **{each.name: _described(each, is_file=each.name in chosen.files) for each in inputs},
            COMPARE: _COMPARE,
        },
        "required": [each.name for each in inputs if each.is_required],
        "additionalProperties": False,
    }


def _described(each: Input, *, is_file: bool) -> dict[str, Any]:
    item = _item(each, is_file=is_file)
    schema = {"type": "array", "items": item} if each.is_many else item
    schema["description"] = " ".join(_texts(each, is_file=is_file))
    if not each.is_required and each.default is not None:
        schema["default"] = each.json_default
    return schema


def _item(each: Input, *, is_file: bool) -> dict[str, Any]:
    kinds = [*_TYPES[each.kind], *(["object"] if is_file else []), *(["null"] if each.can_be_none else [])]
    schema: dict[str, Any] = {"type": kinds[0] if len(kinds) == 1 else kinds}
    if each.choices:
        schema["enum"] = [*each.choices, *([None] if each.can_be_none else [])]
    return schema | {_BOUNDS[sign]: bound for sign, bound in each.bounds.items()}


def _texts(each: Input, *, is_file: bool) -> list[str]:
    meaning = each.meaning[:1].upper() + each.meaning[1:]
    return [
        meaning if meaning.endswith(".") else f"{meaning}.",
        *(["The text of the file, or what its JSON holds."] if is_file else []),
        *([f"In {each.unit}."] if each.unit else []),
        *([f"{each.bounds_text.capitalize()}."] if each.bounds else []),
        *(
            [f"The default is from: {', '.join(filter(None, (each.source, each.as_of)))}."]
            if each.source
            else []
        ),
    ]
