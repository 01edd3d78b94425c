"""Tools, and which of them may or must be called, as a chat says it."""

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.api.openai.responses.body import AllowedTools, CustomTool, FunctionTool, NamedTool, Tool, read
from gateway.api.openai.responses.refusals import unsupported
from gateway.errors import InvalidRequestError

CUSTOM = "tools.custom"
"""Told among the request's fields, because upstreams of other dialects know functions only."""


Key = tuple[str, str]
"""Type and name: a function and a custom tool may share a name."""


class Tools(msgspec.Struct, frozen=True):
    offered: list[dict[str, Any]]
    """In a chat's form."""
    choice: str | dict[str, Any] | None
    """In a chat's form; None: as the model likes."""
    has_custom: bool


def read_tools(tools: Sequence[dict[str, Any]], choice: str | dict[str, Any] | None) -> Tools:
    """Raises InvalidRequestError."""
    offered = dict([_tool(tool, f"tools[{i}]") for i, tool in enumerate(tools)])
    if len(offered) < len(tools):
        raise InvalidRequestError("Two of the `tools` have the same name.", param="tools")
    told = _choice(choice, offered)
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        allowed = read(choice, AllowedTools, "tool_choice").tools
        keys = [_known(tool, offered, f"tool_choice.tools[{i}]") for i, tool in enumerate(allowed)]
        offered = {key: offered[key] for key in keys}
    return Tools(
        list(offered.values()),
        None if told == "auto" or not offered else told,
        any(kind == "custom" for kind, _ in offered),
    )


def _choice(choice: str | dict[str, Any] | None, offered: dict[Key, Any]) -> Any:
    if choice is None or choice in ("auto", "none"):
        return choice
    if choice == "required":
        if not offered:
            raise InvalidRequestError(
                "`tool_choice` is 'required', but there are no `tools`.", param="tool_choice"
            )
        return choice
    if isinstance(choice, str):
        raise InvalidRequestError(
            f"Invalid value for 'tool_choice': {choice[:64]!r} is none of 'auto', 'none', 'required'.",
            param="tool_choice",
        )
    kind = choice.get("type")
    if kind == "allowed_tools":  # told by offering no others, which every model's server understands
        return read(choice, AllowedTools, "tool_choice").mode
    _known(choice, offered, "tool_choice")
    return {"type": kind, kind: {"name": choice["name"]}}


def _known(named: dict[str, Any], offered: dict[Key, Any], at: str) -> Key:
    kind = named.get("type")
    if kind not in ("function", "custom"):
        raise _not_ours(kind, f"{at}.type")
    key = (str(kind), read(named, NamedTool, at).name)
    if key not in offered:
        raise InvalidRequestError(f"Tool choice {key[1][:64]!r} not found in 'tools'.", param=at)
    return key


def _tool(tool: dict[str, Any], at: str) -> tuple[Key, dict[str, Any]]:
    kind = tool.get("type")
    asked: Tool
    fields: dict[str, Any]
    if kind == "function":
        asked = read(tool, FunctionTool, at)
        fields = {"parameters": asked.parameters, "strict": asked.strict}
    elif kind == "custom":
        asked = read(tool, CustomTool, at)
        fields = {"format": _format(asked, at)}
    else:
        raise _not_ours(kind, f"{at}.type")
    _refuse_calling(asked, at)
    fields = {"name": asked.name, "description": asked.description, **fields}
    given = {name: value for name, value in fields.items() if value is not None}
    return (kind, asked.name), {"type": kind, kind: given}


def _format(tool: CustomTool, at: str) -> dict[str, Any] | None:
    if tool.format is None or tool.format.type == "text":
        return None
    if tool.format.syntax is None or tool.format.definition is None:
        raise InvalidRequestError(
            "A grammar needs its `syntax` and its `definition`.",
            code="missing_required_parameter",
            param=f"{at}.format",
        )
    grammar = {"syntax": tool.format.syntax, "definition": tool.format.definition}
    return {"type": "grammar", "grammar": grammar}


def _refuse_calling(tool: Tool, at: str) -> None:
    """Ways to find and call a tool that need a server which runs programs."""
    if tool.defer_loading:
        raise unsupported(
            "Tools cannot be searched for here: offer this one outright.", f"{at}.defer_loading"
        )
    if tool.allowed_callers and "direct" not in tool.allowed_callers:
        raise unsupported("Only the model itself calls tools here.", f"{at}.allowed_callers")
    if tool.is_async:
        raise unsupported("Every call is answered before the model goes on.", f"{at}.async")


def _not_ours(kind: Any, at: str) -> InvalidRequestError:
    return unsupported(
        f"Tools of type {str(kind)[:64]!r} run on OpenAI's servers. Here the model calls only your own: "
        "'function' and 'custom'.",
        at,
    )
