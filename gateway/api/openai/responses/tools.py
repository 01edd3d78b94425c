"""Tools, and which of them may or must be called, as a chat says it."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from gateway.api.openai.responses.body import (
    AllowedTools,
    CustomTool,
    FunctionTool,
    NamedTool,
    NamespaceTool,
    Tool,
    Typed,
    read,
)
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
    offered: dict[Key, dict[str, Any]] = {}
    for key, tool in _each(tools):
        if key in offered:
            raise InvalidRequestError(f"Two of the `tools` are called {key[1][:128]!r}.", param="tools")
        offered[key] = tool
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


def full_name(namespace: str | None, name: str) -> str:
    """Chats have no namespaces: there it is part of the name."""
    return f"{namespace}__{name}" if namespace else name


def namespaced(tools: Iterable[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    """Namespace and name of tools that have one, by the name under which a chat model calls them."""
    return {
        full_name(group["name"], tool["name"]): (group["name"], tool["name"])
        for group in tools
        if group["type"] == "namespace"
        for tool in group["tools"]
    }


def _each(tools: Sequence[dict[str, Any]]) -> Iterable[tuple[Key, dict[str, Any]]]:
    for index, tool in enumerate(tools):
        at = f"tools[{index}]"
        if tool.get("type") != "namespace":
            yield _tool(tool, at)
            continue
        group = read(tool, NamespaceTool, at)
        for place, inner in enumerate(group.tools):
            # What all of them are for is said once, with the first.
            about = group.description if place == 0 else None
            yield _tool(inner, f"{at}.tools[{place}]", namespace=group.name, about=about)


def _tool(
    tool: dict[str, Any], at: str, *, namespace: str | None = None, about: str | None = None
) -> tuple[Key, dict[str, Any]]:
    kind = read(tool, Typed, at).type
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
    name = full_name(namespace, asked.name)
    description = "\n\n".join([text for text in (about, asked.description) if text]) or None
    fields = {"name": name, "description": description, **fields}
    given = {field: value for field, value in fields.items() if value is not None}
    return (kind, name), {"type": kind, kind: given}


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
    _, name = _known(choice, offered, "tool_choice")
    return {"type": kind, kind: {"name": name}}


def _known(named: dict[str, Any], offered: dict[Key, Any], at: str) -> Key:
    kind = read(named, Typed, at).type
    if kind not in ("function", "custom"):
        raise _not_ours(kind, f"{at}.type")
    tool = read(named, NamedTool, at)
    key = (kind, full_name(tool.namespace, tool.name))
    if key not in offered:
        raise InvalidRequestError(f"Tool choice {tool.name[:64]!r} not found in 'tools'.", param=at)
    return key


def _not_ours(kind: str, at: str) -> InvalidRequestError:
    return unsupported(
        f"Tools of type {kind[:64]!r} run on OpenAI's servers. Here the model calls only your own: "
        "'function' and 'custom'.",
        at,
    )
