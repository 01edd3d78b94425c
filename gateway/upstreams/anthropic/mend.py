"""What Anthropic's look-alikes leave out of a message, put as Anthropic itself would: clients are strict."""

from typing import Any

import msgspec

from gateway.upstreams.normalise import Head
from gateway.upstreams.transport import NOT_JSON
from gateway.upstreams.usage import read_count

Json = dict[str, Any]

_MESSAGE: Json = {
    "type": "message",
    "role": "assistant",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
    "stop_details": None,
    "container": None,
}
_TOTALS = frozenset(
    {"input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"}
)
_STOP: Json = {"stop_reason": None, "stop_sequence": None, "stop_details": None, "container": None}
_COUNTED: Json = {
    "cache_creation_input_tokens": None,
    "cache_read_input_tokens": None,
    "output_tokens": 0,
    "output_tokens_details": None,
    "server_tool_use": None,
}
_USAGE: Json = {
    **_COUNTED,
    "input_tokens": 0,
    "cache_creation": None,
    "inference_geo": None,
    "service_tier": None,
}


_pieces = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def mended_message(body: Json, head: Head) -> Json:
    own = {"id": f"msg_{head.id}", "model": head.model}
    return {**own, **_MESSAGE, **body, "usage": _counted(_USAGE, body.get("usage"))}


def mended_event(kind: str, data: bytes, head: Head) -> bytes:
    """Of its two events that hold more than a piece: the first, and the one that says how it ended."""
    if kind not in ("message_start", "message_delta"):
        return data
    event: Json = dict(_pieces(data))
    if kind == "message_start":
        message: Json = dict(_pieces(event["message"]))
        event["message"] = mended_message({**message, "usage": loaded(message.get("usage"))}, head)
    else:
        event["delta"] = _filled(_STOP, loaded(event.get("delta")))
        event["usage"] = _counted({"input_tokens": None, **_COUNTED}, loaded(event.get("usage")))
    return msgspec.json.encode(event)


def loaded(raw: msgspec.Raw | None) -> Any:
    """None for what is no JSON, such as a number that no computer holds: it spoils only itself."""
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw)
    except NOT_JSON:
        return None


def _counted(whole: Json, found: Any) -> Json:
    """Counts that cannot be any are left out: clients would take them for what is billed, or break."""
    if not isinstance(found, dict):
        return whole
    told = {
        name: value for name, value in found.items() if name not in _TOTALS or read_count(value) is not None
    }
    for name in ("cache_creation", "output_tokens_details", "server_tool_use"):
        if not isinstance(told.get(name), dict):
            told.pop(name, None)
    return {**whole, **told}


def _filled(whole: Json, found: Any) -> Json:
    return {**whole, **found} if isinstance(found, dict) else whole
