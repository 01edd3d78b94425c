"""What a scorer looks at, taken out of a decoded chat-completions body. Odd shapes count as absent, never as errors."""

from collections.abc import Iterator, Sequence
from typing import Any

from gateway.scoring.contract import Prompt

MAX_CHARS = 16_000
"""Longest text kept per field: three quarters of it from the beginning, one quarter from the end."""

_SYSTEM_ROLES = ("system", "developer")
_IMAGE_PARTS = ("image_url", "input_image")
_JSON_FORMATS = ("json_object", "json_schema")


def prompt_of(body: dict[str, Any]) -> Prompt:
    system: list[str] = []
    talk: list[str] = []
    """Every turn that is not the system's."""
    last_user = -1
    turns = 0
    has_images = False
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else ():
        if not isinstance(message, dict):
            continue
        content = message.get("content")
        if isinstance(content, list):
            text = "\n".join(_texts(content))
            has_images = has_images or any(_is_image(part) for part in content)
        else:
            text = content if isinstance(content, str) else ""
        role = message.get("role")
        if role in _SYSTEM_ROLES:
            system.append(text)
            continue
        if role == "user":
            last_user = len(talk)
            turns += 1
        talk.append(text)
        if "tool_calls" in message:
            talk.extend(_arguments(message["tool_calls"]))
    user = talk.pop(last_user) if turns else ""
    return Prompt(
        system=_capped(system),
        user=_ends(user),
        history=_capped(talk),
        turns=turns,
        has_tools=bool(body.get("tools") or body.get("functions")),
        has_images=has_images,
        wants_json=_type_of(body.get("response_format")) in _JSON_FORMATS,
    )


def _texts(parts: Sequence[Any]) -> Iterator[str]:
    for part in parts:
        text = part.get("text") if isinstance(part, dict) else part
        if isinstance(text, str):
            yield text


def _is_image(part: Any) -> bool:
    return _type_of(part) in _IMAGE_PARTS


def _type_of(value: Any) -> Any:
    return value.get("type") if isinstance(value, dict) else None


def _arguments(calls: Any) -> Iterator[str]:
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        arguments = function.get("arguments") if isinstance(function, dict) else None
        if isinstance(arguments, str):
            yield arguments


def _capped(texts: Sequence[str]) -> str:
    """The newest texts, oldest first, up to the cap: a long conversation costs no more than a short one."""
    kept: list[str] = []
    room = MAX_CHARS
    for text in reversed(texts):
        kept.append(_ends(text))
        room -= len(text)
        if room <= 0:
            break
    return _ends("\n".join(reversed(kept)))


def _ends(text: str) -> str:
    if len(text) <= MAX_CHARS:
        return text
    return text[: MAX_CHARS * 3 // 4] + text[-MAX_CHARS // 4 :]
