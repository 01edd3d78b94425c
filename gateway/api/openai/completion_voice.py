"""Tells the answer of a chat as a legacy completion: one text, and logprobs in lists side by side."""

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.api.openai.chat import broken
from gateway.errors import GatewayError
from gateway.upstreams.contract import Event
from gateway.upstreams.numbers import decoded

_REASONS = frozenset({"stop", "length", "content_filter"})


class CompletionVoice:
    __slots__ = ("_encode", "_head", "_model", "_offsets", "_usage", "_wants_usage")

    def __init__(self, model: str, *, wants_usage: bool) -> None:
        self._model = model
        self._wants_usage = wants_usage
        self._head: dict[str, Any] = {}
        self._offsets: dict[int, int] = {}
        """Characters told so far of each choice."""
        self._usage: msgspec.Raw | None = None

    def whole(self, body: dict[str, Any]) -> bytes:
        choices = [_whole_choice(choice) for choice in body["choices"]]
        told = {**self._named(body.get("id"), body.get("created")), "choices": choices}
        kept = {name: body[name] for name in ("usage", "system_fingerprint") if body.get(name) is not None}
        return msgspec.json.encode(told | kept)

    def events(self, events: Sequence[Event]) -> list[bytes]:
        frames = []
        for event in events:
            chunk = decoded(_decode, event.data)
            self._head = self._head or self._named(chunk.id, chunk.created)
            if event.usage is not None and isinstance(chunk.usage, msgspec.Raw):
                self._usage = chunk.usage
            choices = [told for choice in chunk.choices or () if (told := self._choice(choice)) is not None]
            if choices:
                more = {"usage": None} if self._wants_usage else {}
                frames.append(_frame({**self._head, "choices": choices, **more}))
        return frames

    def end(self) -> bytes:
        """The usage chunk, if it was asked for and is known."""
        if not self._wants_usage or self._usage is None:
            return b""
        return _frame({**self._head, "choices": [], "usage": self._usage})

    def broken(self, error: GatewayError) -> bytes:
        return broken(error)

    def _named(self, made_id: Any, created: Any) -> dict[str, Any]:
        name = made_id.removeprefix("chatcmpl-") if isinstance(made_id, str) else ""
        return {
            "id": f"cmpl-{name.removeprefix('cmpl-')}",
            "object": "text_completion",
            "created": created if isinstance(created, int | float) else 0,
            "model": self._model,
        }

    def _choice(self, choice: "_Choice") -> dict[str, Any] | None:
        """None for one that tells nothing, as a chat's first often does."""
        delta = choice.delta or _NOTHING
        text = _text(delta.content, delta.refusal)
        index = choice.index if isinstance(choice.index, int) else 0
        offset = self._offsets.get(index, 0)
        self._offsets[index] = offset + len(text)
        if not text and not choice.finish_reason:
            return None
        return {
            "text": text,
            "index": index,
            "logprobs": _logprobs(choice.logprobs, offset),
            "finish_reason": _reason(choice.finish_reason),
        }


class _Delta(msgspec.Struct):
    """As loose as what the upstream's side has let through."""

    content: Any = None
    refusal: Any = None


class _Choice(msgspec.Struct):
    index: Any = 0
    delta: _Delta | None = None
    finish_reason: Any = None
    logprobs: Any = None


class _Chunk(msgspec.Struct):
    id: Any = None
    created: Any = None
    choices: list[_Choice] | None = None
    usage: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _TopLogprob(msgspec.Struct):
    token: str
    logprob: float


class _TokenLogprob(_TopLogprob):
    top_logprobs: list[_TopLogprob] | None = None


class _Logprobs(msgspec.Struct):
    content: list[_TokenLogprob] | None = None


_decode = msgspec.json.Decoder(_Chunk).decode
_NOTHING = _Delta()


def _whole_choice(choice: dict[str, Any]) -> dict[str, Any]:
    message = choice.get("message")
    said = message if isinstance(message, dict) else {}
    return {
        "text": _text(said.get("content"), said.get("refusal")),
        "index": choice.get("index", 0),
        "logprobs": _logprobs(choice.get("logprobs"), 0),
        "finish_reason": _reason(choice.get("finish_reason")),
    }


def _text(content: Any, refusal: Any) -> str:
    return next((text for text in (content, refusal) if isinstance(text, str) and text), "")


def _reason(given: Any) -> str | None:
    """Reasons of others are told as the plain end; nothing ends in a tool's call, because none was offered."""
    if given is None:
        return None
    return given if given in _REASONS else "stop"


def _logprobs(given: Any, offset: int) -> dict[str, Any] | None:
    """Offsets count from the beginning of the answer."""
    try:
        tokens = msgspec.convert(given, _Logprobs | None)
    except msgspec.ValidationError:
        return None
    if tokens is None or not tokens.content:
        return None
    offsets = []
    for token in tokens.content:
        offsets.append(offset)
        offset += len(token.token)
    has_tops = any(token.top_logprobs for token in tokens.content)
    return {
        "tokens": [token.token for token in tokens.content],
        "token_logprobs": [token.logprob for token in tokens.content],
        "top_logprobs": [
            {top.token: top.logprob for top in token.top_logprobs or ()} for token in tokens.content
        ]
        if has_tops
        else None,
        "text_offset": offsets,
    }


def _frame(chunk: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"
