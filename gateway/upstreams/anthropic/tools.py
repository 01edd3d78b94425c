"""Tools, and which of them a model may use or must."""

from typing import Any

from gateway.upstreams.anthropic.chat import (
    AllowedTools,
    Chat,
    Function,
    Named,
    NamedFunction,
    UntranslatableError,
)

Json = dict[str, Any]


def tool_fields(chat: Chat) -> Json:
    """`tools` and `tool_choice`, where there are any. Raises UntranslatableError."""
    choice, allowed = _choice(chat)
    tools = [
        _tool(function, cache_control)
        for function, cache_control in _offered(chat)
        if allowed is None or function.name in allowed
    ]
    if not tools:
        if choice["type"] in ("any", "tool"):
            raise UntranslatableError(
                "`tool_choice` says which of the `tools` to use; send some.", param="tool_choice"
            )
        return {}
    is_single = chat.is_legacy or chat.parallel_tool_calls is False
    if is_single and choice["type"] != "none":
        choice["disable_parallel_tool_use"] = True
    return {"tools": tools} if choice == {"type": "auto"} else {"tools": tools, "tool_choice": choice}


def is_forced(fields: Json) -> bool:
    """The model must use a tool: it cannot think first."""
    return fields.get("tool_choice", {}).get("type") in ("any", "tool")


def _offered(chat: Chat) -> list[tuple[Function, Json | None]]:
    if chat.is_legacy:
        return [(function, None) for function in chat.functions or ()]
    return [(tool.function, tool.cache_control) for tool in chat.tools or ()]


def _tool(function: Function, cache_control: Json | None) -> Json:
    tool: Json = {"name": function.name, "input_schema": {"type": "object", **(function.parameters or {})}}
    if function.description:
        tool["description"] = function.description
    if function.strict:
        tool["strict"] = True
    if cache_control is not None:
        tool["cache_control"] = cache_control
    return tool


def _choice(chat: Chat) -> tuple[Json, frozenset[str] | None]:
    """How to choose, and among which names; None: all."""
    choice = chat.function_call if chat.is_legacy else chat.tool_choice
    if isinstance(choice, AllowedTools):
        names = frozenset([tool.function.name for tool in choice.allowed_tools.tools])
        return _by_mode(choice.allowed_tools.mode), names
    if isinstance(choice, NamedFunction):
        choice = choice.function
    if isinstance(choice, Named):
        return {"type": "tool", "name": choice.name}, None
    return _by_mode(choice or "auto"), None


def _by_mode(mode: str) -> Json:
    return {"type": "any" if mode == "required" else mode}
