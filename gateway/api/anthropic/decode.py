"""A request to Anthropic's endpoints from bytes: as the caller wrote it, and as the chat that it means."""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from gateway.api.anthropic.blocks import Wishes
from gateway.api.anthropic.bodies import MessagesBody, PromptBody
from gateway.api.anthropic.stream import NOT_IN_IDS
from gateway.api.anthropic.translate import chat_of
from gateway.api.bodies import cache_wishes, invalid, mentions, read_object, refuse_forbidden
from gateway.api.media import text_bytes
from gateway.api.openai.decode import fields_of
from gateway.config import ABILITIES
from gateway.errors import InvalidRequestError
from gateway.ticket import Request
from gateway.upstreams.anthropic.upstream import BETAS

_OPEN_CONTENT = frozenset({"messages", "system", "tools", "metadata", "output_config"})
_MOST_STOPS = 16
"""In a chat."""

_USUAL = {"speed": "standard", "inference_geo": "global"}
"""Fields of which any other value has a price of its own, per token, that no price book here holds."""
_BETA = re.compile(r"[a-zA-Z0-9._-]{1,128}")

_Body = TypeVar("_Body", bound=PromptBody)
Headers = Mapping[bytes, bytes]


class MessagesDecoder:
    """Callable: raw body and headers to a Request. Raises InvalidRequestError with the field at fault."""

    def __init__(self) -> None:
        self._body = msgspec.json.Decoder(MessagesBody)

    def __call__(self, raw: bytes, headers: Headers) -> Request:
        native, body = _read(raw, self._body)
        _check(native, body)
        wishes = Wishes()
        chat = chat_of(body, wishes)
        chat |= _sampling(body, wishes)
        if _is_unpriced(native):
            wishes.needs.add("unpriced_tools")
        skips_cache, stores_cache = cache_wishes(headers)
        return Request(
            endpoint="messages",
            body=chat,
            native=_native(native, headers),
            body_bytes=text_bytes(len(raw), chat["messages"]),
            model=body.model,
            is_stream=bool(body.stream),
            most_output_tokens=body.max_tokens,
            needs=frozenset(wishes.needs),
            fields=fields_of(chat),
            native_fields=frozenset(wishes.native | _unknown(native, MessagesBody)),
            writes_prompt_cache=mentions(raw, "cache_control"),
            is_deterministic=body.temperature == 0,
            skips_cache=skips_cache,
            stores_cache=stores_cache,
        )


class CountDecoder:
    """The same for a prompt alone, whose tokens are to be counted."""

    def __init__(self) -> None:
        self._body = msgspec.json.Decoder(PromptBody)

    def __call__(self, raw: bytes, _headers: Headers) -> Request:
        native, body = _read(raw, self._body)
        chat = chat_of(body, Wishes())
        return Request(
            endpoint="messages",
            body=chat,
            native=native,
            body_bytes=text_bytes(len(raw), chat["messages"]),
            model=body.model,
        )


def _read(raw: bytes, decoder: msgspec.json.Decoder[_Body]) -> tuple[dict[str, Any], _Body]:
    native = read_object(raw)
    refuse_forbidden(raw, native, open_content=_OPEN_CONTENT)
    try:
        return native, decoder.decode(raw)
    except msgspec.ValidationError as exc:
        raise invalid(str(exc)) from exc


def _check(native: dict[str, Any], body: MessagesBody) -> None:
    thinking = body.thinking
    if thinking is not None and thinking.budget_tokens and thinking.budget_tokens >= body.max_tokens:
        raise InvalidRequestError(
            "`max_tokens` must be greater than `thinking.budget_tokens`, which is a part of it.",
            param="max_tokens",
        )
    if BETAS in native:
        raise InvalidRequestError(
            "Name betas in the header `anthropic-beta`.", code="unknown_parameter", param=BETAS
        )
    for name, usual in _USUAL.items():
        if native.get(name) not in (None, usual):
            raise InvalidRequestError(
                f"There is no price here for a {name!r} other than {usual!r}; leave it out.",
                code="unsupported_parameter",
                param=name,
            )
    if native.get("thread") is not None:
        # Not even of upstreams that could: what a conversation held there costs cannot be known before.
        raise InvalidRequestError(
            "No conversations are kept here; send all of it in `messages`, without `thread`.",
            code="thread_unsupported_request",
            param="thread",
        )


def _sampling(body: MessagesBody, wishes: Wishes) -> dict[str, Any]:
    fields: dict[str, Any] = {"max_tokens": body.max_tokens}
    if body.stream:
        fields["stream"] = True
    for name in ("temperature", "top_p", "top_k"):
        if getattr(body, name) is not None:
            fields[name] = getattr(body, name)
    stops = body.stop_sequences
    if stops and len(stops) > _MOST_STOPS:
        wishes.native.add("stop_sequences")
    elif stops:
        fields["stop"] = stops
    return fields


def _unknown(native: dict[str, Any], kind: type[PromptBody]) -> set[str]:
    """Fields that ask Anthropic's servers for something. What is empty asks for nothing."""
    unknown = {
        name
        for name, value in native.items()
        if name not in kind.__struct_fields__ and value not in (None, [], {}) and not _is_void(name, value)
    }
    config = native.get("output_config")
    if isinstance(config, dict):
        unknown |= {f"output_config.{name}" for name in config if name not in ("effort", "format")}
    mistaken = unknown.intersection(ABILITIES)
    if mistaken:
        name = min(mistaken)
        raise InvalidRequestError(f"Unknown parameter: {name!r}.", code="unknown_parameter", param=name)
    return {name[:64] for name in unknown}


def _is_unpriced(native: dict[str, Any]) -> bool:
    """It asks for what is billed beside the answer's own tokens: servers' tools, containers, summaries of the prompt."""
    if native.get("mcp_servers") or native.get("container"):
        return True
    management = native.get("context_management")
    edits = management.get("edits") if isinstance(management, dict) else None
    return any(
        isinstance(edit, dict) and not str(edit.get("type")).startswith("clear_")
        for edit in (edits if isinstance(edits, list) else ())
    )


def _is_void(name: str, value: Any) -> bool:
    """To forget earlier thinking is what every translation does."""
    if name in _USUAL:
        return True
    if name == "context_management" and isinstance(value, dict) and value.keys() == {"edits"}:
        edits = value["edits"]
        return isinstance(edits, list) and all(
            isinstance(edit, dict) and str(edit.get("type")).startswith("clear_thinking_") for edit in edits
        )
    return False


def _native(body: dict[str, Any], headers: Headers) -> dict[str, Any]:
    """What other models left in the conversation is taken out or mended: Anthropic's servers would refuse all of it."""
    messages = []
    for message in body["messages"]:
        content = message["content"]
        if not isinstance(content, list):
            messages.append(message)
            continue
        kept = [_mended(block) for block in content if not _is_unsigned(block)]
        if kept or not content:
            messages.append({**message, "content": kept})
    native = {**body, "messages": messages}
    betas = _BETA.findall(headers.get(b"anthropic-beta", b"").decode("latin-1"))
    if betas:
        native[BETAS] = betas
    return native


def _is_unsigned(block: dict[str, Any]) -> bool:
    return block.get("type") == "thinking" and not block.get("signature")


def _mended(block: dict[str, Any]) -> dict[str, Any]:
    field = {"tool_use": "id", "tool_result": "tool_use_id"}.get(str(block.get("type")))
    if field is None or not NOT_IN_IDS.search(block[field]):
        return block
    return {**block, field: NOT_IN_IDS.sub("_", block[field])}
