"""What OpenAI's look-alikes leave out of an answer, or write in their own way, put as OpenAI itself would.

Pure: dictionaries in, the same ones out, mended. Fields that nobody here knows are left alone.
"""

from collections.abc import Mapping
from typing import Any, Literal, TypeGuard, get_args

import msgspec

from gateway.ticket import Endpoint
from gateway.upstreams.usage import MAX_TOKENS

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]
ServiceTier = Literal["auto", "default", "flex", "scale", "priority"]

_REASONS = frozenset(get_args(FinishReason))
_TIERS = frozenset(get_args(ServiceTier))
_MEANT: Mapping[str, FinishReason] = {
    "max_tokens": "length",
    "max_length": "length",
    "model_length": "length",
    "abort": "length",
    "aborted": "length",
    "cancelled": "length",
    "error": "length",
    "insufficient_system_resource": "length",
    "tool_use": "tool_calls",
    "tool_call": "tool_calls",
    "safety": "content_filter",
    "recitation": "content_filter",
    "sensitive": "content_filter",
}
"""Reasons of others. An answer that was cut short must not look whole; what is in no list means that it is whole."""


class Head(msgspec.Struct, frozen=True):
    """What stands at the head of an answer if the upstream did not write it."""

    id: str
    """Without the prefix that tells the kind."""
    created: int
    model: str


def mend_whole(form: Endpoint, body: dict[str, Any], head: Head) -> None:
    """A whole reply. Its answers are there and are dictionaries."""
    if form == "chat":
        mend_head(body, head, "chatcmpl-", "chat.completion")
        for position, choice in enumerate(body["choices"]):
            _mend_choice(choice, position, head)
    elif form == "completions":
        mend_head(body, head, "cmpl-", "text_completion")
        for position, choice in enumerate(body["choices"]):
            _mend_text_choice(choice, position)
    elif form == "moderations":
        _text_at(body, "id", f"modr-{head.id}")
        _text_at(body, "model", head.model)
    if form in ("chat", "completions") and "usage" in body and (usage := mended_usage(body.pop("usage"))):
        body["usage"] = usage


def mend_head(body: dict[str, Any], head: Head, prefix: str, kind: str) -> None:
    """Of a whole reply or of a chunk."""
    _text_at(body, "id", prefix + head.id)
    body["object"] = kind
    created = body.get("created")
    if type(created) is not int:
        body["created"] = int(created) if isinstance(created, float) and 0 < created < 2**40 else head.created
    _text_at(body, "model", head.model)
    tier = body.get("service_tier")
    if not isinstance(tier, str) or tier not in _TIERS:
        body.pop("service_tier", None)
    if not isinstance(body.get("system_fingerprint"), str):
        body.pop("system_fingerprint", None)


def finish_reason(reason: Any) -> FinishReason:
    if not isinstance(reason, str):
        return "stop"
    if reason in _REASONS:
        known: FinishReason = reason  # type: ignore[assignment]  # just looked up
        return known
    return _MEANT.get(reason.lower(), "stop")


def mend_logprobs(choice: dict[str, Any], *, is_chat: bool) -> None:
    logprobs = choice.get("logprobs")
    if not isinstance(logprobs, dict):
        choice["logprobs"] = None
    elif is_chat:
        for name in ("content", "refusal"):
            if not isinstance(logprobs.get(name), list):
                logprobs[name] = None


def mended_usage(usage: Any) -> dict[str, Any] | None:
    """None if it cannot be believed: what it says is not what will be billed."""
    if not isinstance(usage, dict):
        return None
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not (_is_count(prompt) and _is_count(completion)):
        return None
    mended: dict[str, Any] = dict(usage)
    if not _is_count(mended.get("total_tokens")):
        mended["total_tokens"] = prompt + completion
    for name in ("prompt_tokens_details", "completion_tokens_details"):
        if name in mended:
            details = mended.pop(name)
            if isinstance(details, dict):
                mended[name] = {key: value for key, value in details.items() if _is_count(value)}
    return mended


def mend_delta(delta: dict[str, Any], *, is_first: bool) -> None:
    """Of a chunk, but for the tool calls in it."""
    if is_first:
        delta["role"] = "assistant"
    elif delta.get("role") != "assistant":
        delta.pop("role", None)
    _mend_content(delta)
    if not isinstance(delta.get("refusal"), str):
        delta.pop("refusal", None)
    if not isinstance(delta.get("function_call"), dict):
        delta.pop("function_call", None)


def mend_call(call: dict[str, Any], new_id: str) -> None:
    """One tool call, or the beginning of one."""
    _text_at(call, "id", new_id)
    if call.get("type") != "custom" or not isinstance(call.get("custom"), dict):
        call["type"] = "function"
    mend_function(call.get("function"))


def mend_function(function: Any) -> None:
    if isinstance(function, dict):
        if "arguments" in function and not isinstance(function["arguments"], str):
            arguments = function["arguments"]
            function["arguments"] = "" if arguments is None else msgspec.json.encode(arguments).decode()
        if not isinstance(function.get("name", ""), str):
            del function["name"]


def _mend_choice(choice: dict[str, Any], position: int, head: Head) -> None:
    if type(choice.get("index")) is not int:
        choice["index"] = position
    message = choice.get("message")
    if not isinstance(message, dict):
        message = choice["message"] = {"content": choice.get("text")}
    message["role"] = "assistant"
    _mend_content(message)
    message.setdefault("content", None)
    if not isinstance(message.get("refusal"), str):
        message["refusal"] = None
    for name, kind in (("tool_calls", list), ("annotations", list), ("function_call", dict), ("audio", dict)):
        if name in message and not isinstance(message[name], kind):
            del message[name]
    calls = [call for call in message.pop("tool_calls", ()) if isinstance(call, dict)]
    for number, call in enumerate(calls):
        mend_call(call, f"call_{head.id}_{position}_{number}")
        if call["type"] == "function":
            call["function"] = _whole_function(call.get("function"))
    if calls:
        message["tool_calls"] = calls
    if "function_call" in message:
        message["function_call"] = _whole_function(message["function_call"])
    mend_logprobs(choice, is_chat=True)
    choice["finish_reason"] = finish_reason(
        choice.get("finish_reason") or ("tool_calls" if calls else "stop")
    )


def _whole_function(function: Any) -> dict[str, Any]:
    mend_function(function)
    return {"name": "", "arguments": "", **(function if isinstance(function, dict) else {})}


def _mend_content(message: dict[str, Any]) -> None:
    """Some write the parts of what was thought and said into one list."""
    content = message.get("content")
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, dict)]
        message["content"] = "".join(_said(part) for part in parts if part.get("type") == "text")
        if thought := "".join(_said(part) for part in parts if part.get("type") == "thinking"):
            message.setdefault("reasoning_content", thought)
    elif content is not None and not isinstance(content, str):
        del message["content"]


def _said(part: Any) -> str:
    """`{"text": "..."}`, or the same a level deeper."""
    inner = part.get("text") or part.get("thinking")
    if isinstance(inner, list):
        return "".join(_said(each) for each in inner if isinstance(each, dict))
    return inner if isinstance(inner, str) else ""


def _mend_text_choice(choice: dict[str, Any], position: int) -> None:
    if type(choice.get("index")) is not int:
        choice["index"] = position
    if not isinstance(choice.get("text"), str):
        choice["text"] = ""
    mend_logprobs(choice, is_chat=False)
    reason = finish_reason(choice.get("finish_reason"))
    choice["finish_reason"] = "stop" if reason in ("tool_calls", "function_call") else reason


def _text_at(body: dict[str, Any], name: str, text: str) -> None:
    if not isinstance(body.get(name), str) or not body[name]:
        body[name] = text


def _is_count(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= MAX_TOKENS
