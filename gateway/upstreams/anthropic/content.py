"""What stands in a message of a chat, as content blocks. Nothing is fetched: addresses stay addresses."""

import binascii
import re
from base64 import b64decode
from typing import Any

import msgspec

from gateway.upstreams.anthropic.chat import (
    Cacheable,
    FilePart,
    FunctionCall,
    ImagePart,
    Part,
    TextPart,
    UntranslatableError,
)

Block = dict[str, Any]

_PDF = "application/pdf"
_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9_-]")
_IMAGE_TYPES = {"image/jpg": "image/jpeg"}
"""Common, but not a type."""


def blocks_of(content: str | list[Part] | None, place: str) -> list[Block]:
    """Texts that are empty are left out: Anthropic refuses them. Raises UntranslatableError."""
    if content is None or isinstance(content, str):
        return [text_block(content)] if content and not content.isspace() else []
    blocks = []
    for index, part in enumerate(content):
        block = _block(part, f"{place}.content[{index}]")
        if block is not None:
            blocks.append(block)
    return blocks


def text_block(text: str) -> Block:
    return {"type": "text", "text": text}


def tool_use(call_id: str, function: FunctionCall) -> Block:
    return {
        "type": "tool_use",
        "id": _NOT_IN_IDS.sub("_", call_id),
        "name": function.name,
        "input": _arguments(function.arguments),
    }


def tool_result(call_id: str, content: str | list[Part] | None, place: str) -> Block:
    result: Block = {"type": "tool_result", "tool_use_id": _NOT_IN_IDS.sub("_", call_id)}
    blocks = blocks_of(content, place)
    if blocks:
        result["content"] = blocks
    return result


def _arguments(written: str | dict[str, Any] | None) -> dict[str, Any]:
    """A model may have written what is no object; it still gets to read what it wrote."""
    if isinstance(written, dict):
        return written
    if not written or written.isspace():
        return {}
    try:
        read = msgspec.json.decode(written)
    except (msgspec.DecodeError, RecursionError):
        read = None
    return read if isinstance(read, dict) else {"arguments": written}


def _block(part: Part, place: str) -> Block | None:
    if isinstance(part, TextPart):
        return _marked(text_block(part.text), part) if part.text and not part.text.isspace() else None
    if isinstance(part, ImagePart):
        url = part.image_url if isinstance(part.image_url, str) else part.image_url.url
        return _marked({"type": "image", "source": _image_source(url, f"{place}.image_url")}, part)
    if isinstance(part, FilePart):
        return _marked(_file(part, f"{place}.file"), part)
    return text_block(part.refusal) if part.refusal else None


def _marked(block: Block, part: Cacheable) -> Block:
    """With the mark to keep the prompt up to here in the upstream's cache: for five minutes if nothing else is said."""
    if part.cache_control is not None:
        block["cache_control"] = part.cache_control
    elif part.prompt_cache_breakpoint is not None:
        is_long = part.prompt_cache_breakpoint.ttl is not None
        block["cache_control"] = {"type": "ephemeral", "ttl": "1h"} if is_long else {"type": "ephemeral"}
    return block


def _image_source(url: str, place: str) -> Block:
    if url.startswith(("https://", "http://")):
        return {"type": "url", "url": url}
    kind, data = _data_url(url, place)
    return {"type": "base64", "media_type": _IMAGE_TYPES.get(kind, kind), "data": data}


def _file(part: FilePart, place: str) -> Block:
    file = part.file
    if file.file_data is None:
        raise UntranslatableError(
            "The model that was chosen cannot read stored files: send `file_data`.", param=f"{place}.file_id"
        )
    kind, data = _data_url(file.file_data, f"{place}.file_data")
    if kind.startswith("image/"):
        return {"type": "image", "source": _image_source(file.file_data, place)}
    if kind == _PDF:
        source = {"type": "base64", "media_type": _PDF, "data": data}
    elif kind.startswith("text/"):
        source = {"type": "text", "media_type": "text/plain", "data": _decoded(data, f"{place}.file_data")}
    else:
        raise UntranslatableError(
            f"The model that was chosen cannot read files of type {kind[:64]!r}.", param=f"{place}.file_data"
        )
    document: Block = {"type": "document", "source": source}
    if file.filename:
        document["title"] = file.filename
    return document


def _data_url(url: str, place: str) -> tuple[str, str]:
    """Its media type, and what it holds in base64."""
    head, comma, data = url.partition(",")
    kind, *parameters = head.removeprefix("data:").lower().split(";")
    if not comma or not head.startswith("data:") or "base64" not in parameters:
        raise UntranslatableError(
            "The model that was chosen can only be sent data as a `data:` URL in base64.", param=place
        )
    return kind, data


def _decoded(data: str, place: str) -> str:
    try:
        return b64decode(data, validate=True).decode()
    except (binascii.Error, ValueError) as exc:
        raise UntranslatableError("The file is not text in UTF-8, in base64.", param=place) from exc
