"""The chat completions that callers of OpenAI know: what a request is, and how an answer is told."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.api.openai.decode import ChatDecoder
from gateway.api.openai.dialect import OpenAIDialect
from gateway.catalogue import Terms
from gateway.errors import GatewayError
from gateway.ticket import Endpoint, Request
from gateway.upstreams.contract import Event

_MODEL = re.compile(rb'"model"\s*:\s*"(?:[^"\\]|\\.)*"')
"""A quote inside a JSON string is escaped, so this matches a real field only; the first is the chunk's own."""


class ChatDialect(OpenAIDialect):
    def __init__(self) -> None:
        self._decode = ChatDecoder()

    def decode(self, raw: bytes, headers: Mapping[bytes, bytes]) -> Request:
        return self._decode(raw, headers)

    def voice(self, request: Request, terms: Terms, _form: Endpoint, /) -> "ChatVoice":
        return ChatVoice(terms.offer.model, wants_usage=request.wants_usage)


class ChatVoice:
    """Passes on what the upstream wrote, but for the model's name: chat completions are the form it comes in."""

    __slots__ = ("_field", "_model", "_usage_chunk", "_wants_usage")

    def __init__(self, model: str, *, wants_usage: bool) -> None:
        self._model = model
        self._field = f'"model":"{model}"'.encode()
        self._wants_usage = wants_usage
        self._usage_chunk = b""

    def whole(self, body: dict[str, Any]) -> bytes:
        return msgspec.json.encode({**body, "model": self._model})

    def events(self, events: Sequence[Event]) -> list[bytes]:
        frames = []
        for event in events:
            data = event.data
            if self._field not in data:
                data = _MODEL.sub(self._field, data, count=1)
            frame = b"data: " + data + b"\n\n"
            if not event.is_usage_only:
                frames.append(frame)
            elif self._wants_usage:
                self._usage_chunk = frame
        return frames

    def end(self) -> bytes:
        """The usage chunk: it comes last, whenever the upstream sent it."""
        return self._usage_chunk

    def broken(self, error: GatewayError) -> bytes:
        return broken(error)


def broken(error: GatewayError) -> bytes:
    """An error event; no `[DONE]` follows, so that no client takes the stream for whole."""
    said = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    return b"data: " + msgspec.json.encode({"error": said}) + b"\n\n"
