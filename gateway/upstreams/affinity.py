"""Which server is likely to remember how a prompt begins: rendezvous hashing, so that only the prompts of a server that
comes or goes change places."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

_SYSTEM_CHARS = 2048
_USER_CHARS = 256
"""Enough to tell conversations apart, and short of where a template puts what changes."""
_MOST_PARTS = 64
"""Of a message, or tokens of a prompt that is made of them."""
_KEY_BYTES = 8


def beginning(tenant: str, body: Mapping[str, Any]) -> bytes | None:
    """The same for requests of a tenant that begin alike, in whatever form; None where nothing is generated."""
    if isinstance(messages := body.get("messages"), list):
        system, user = _opening(body.get("system"), messages)
    elif (prompt := body.get("prompt")) is not None:
        system, user = "", _text(prompt)[: _SYSTEM_CHARS + _USER_CHARS]
    else:
        return None
    told = "\0".join((tenant, str(body.get("model")), system, user))
    return blake2b(told.encode(errors="replace"), digest_size=_KEY_BYTES).digest()


def rank(key: bytes, name: str) -> bytes:
    """Of the servers, the one for which this is greatest is the first choice."""
    return blake2b(name.encode(), digest_size=_KEY_BYTES, key=key).digest()


def _opening(system: Any, messages: list[Any]) -> tuple[str, str]:
    """The system message, wherever the dialect puts it, and the first of the user's."""
    told = _text(system)
    for message in messages:
        if not isinstance(message, dict):
            continue
        if message.get("role") not in ("system", "developer"):
            return told[:_SYSTEM_CHARS], _text(message.get("content"))[:_USER_CHARS]
        if len(told) < _SYSTEM_CHARS:
            told += _text(message.get("content"))
    return told[:_SYSTEM_CHARS], ""


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(map(_part_text, content[:_MOST_PARTS])) if isinstance(content, list) else ""


def _part_text(part: Any) -> str:
    if isinstance(part, dict):
        part = part.get("text")
    if isinstance(part, str):
        return part
    return f"{part} " if isinstance(part, int) else ""
