"""All that a model generated, as one text: what is counted if the upstream reports no usage."""

from typing import Any

_LABELS = frozenset({"id", "index", "type"})


def message_text(message: Any, text: Any) -> str:
    """Of a chat's message, or of a legacy completion's text."""
    if not isinstance(message, dict):
        return any_text(text)
    get = message.get
    reasoning = get("reasoning_content") or get("reasoning")
    return joined(get("content"), get("refusal"), reasoning, get("tool_calls"), get("function_call"))


def joined(content: Any, *others: Any) -> str:
    """Nearly always it is the content alone."""
    text = content if isinstance(content, str) else any_text(content)
    return text + "".join([any_text(other) for other in others]) if any(others) else text


def any_text(value: Any) -> str:
    """However it is nested."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(any_text(item) for item in value)
    if isinstance(value, dict):
        return "".join(any_text(item) for key, item in value.items() if key not in _LABELS)
    return ""
