"""Content blocks from what the caller sent: checked, with the field at fault named, before they are translated."""

from collections.abc import Set
from typing import Any

import msgspec

from gateway.api.anthropic import bodies
from gateway.api.anthropic.bodies import Block, DocumentBlock, TextBlock, ToolResultBlock
from gateway.api.bodies import invalid
from gateway.errors import InvalidRequestError

_ALLOWED = {"user": bodies.OF_USER, "assistant": bodies.OF_ASSISTANT, "system": bodies.OF_SYSTEM}
_MAX_NAME = 64


class Wishes:
    """What a request turns out to ask for while it is read."""

    __slots__ = ("native", "needs")

    def __init__(self) -> None:
        self.needs: set[str] = set()
        """Abilities of a model."""
        self.native: set[str] = set()
        """What no translation carries, by the field in which it stands and its name."""


def read_turn(turn: bodies.Turn, place: str, wishes: Wishes) -> list[Block]:
    if not turn.content and turn.role == "user":
        raise InvalidRequestError(
            f"Invalid value for '{place}.content': a turn of the user must not be empty.",
            param=f"{place}.content",
        )
    return read_blocks(turn.content, f"{place}.content", _ALLOWED[turn.role], wishes)


def read_blocks(
    content: str | list[dict[str, Any]], place: str, allowed: Set[str], wishes: Wishes
) -> list[Block]:
    """Those that can be translated; of the others, `wishes` keeps the name."""
    if isinstance(content, str):
        return [TextBlock(text=content)] if content else []
    blocks = []
    for index, block in enumerate(content):
        read = _read(block, f"{place}[{index}]", allowed, wishes)
        if read is not None:
            blocks.append(read)
    return blocks


def _read(block: Any, place: str, allowed: Set[str], wishes: Wishes) -> Block | None:
    kind = block.get("type") if isinstance(block, dict) else None
    if not isinstance(kind, str):
        raise InvalidRequestError(
            f"Invalid value for {place!r}: a content block is an object with a `type`.", param=place
        )
    if kind not in bodies.KINDS:
        wishes.native.add(f"{place.partition('[')[0]}.{kind[:_MAX_NAME]}")
        return None
    if kind not in allowed:
        raise InvalidRequestError(
            f"Invalid value for {place!r}: no {kind!r} block may stand here.", param=place
        )
    try:
        read: Block = msgspec.convert(block, Block)
    except msgspec.ValidationError as exc:
        raise _invalid(exc, place) from exc
    if isinstance(read, ToolResultBlock):
        inner = read.content or []
        return msgspec.structs.replace(
            read, content=read_blocks(inner, f"{place}.content", bodies.IN_RESULT, wishes)
        )
    if isinstance(read, DocumentBlock) and isinstance(read.source, bodies.ContentSource):
        inner = read_blocks(read.source.content, f"{place}.source.content", bodies.IN_DOCUMENT, wishes)
        return msgspec.structs.replace(read, source=bodies.ContentSource(content=inner))
    return read


def _invalid(exc: msgspec.ValidationError, place: str) -> InvalidRequestError:
    """msgspec counts from the block; the caller counts from the body."""
    what, _, at = str(exc).partition(" - at `$")
    return invalid(f"{what} - at `$.{place}{at.rstrip('`')}`")
