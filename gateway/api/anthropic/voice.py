"""Answers in Anthropic's dialect: a message, or the events of one, from its own servers or from any chat model."""

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.api.anthropic.errors import error_body
from gateway.api.anthropic.stream import Blocks, Json, frame
from gateway.errors import GatewayError
from gateway.upstreams.contract import Event
from gateway.upstreams.numbers import decoded
from gateway.upstreams.usage import read_usage
from gateway.values import Usage

_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_NOT_KNOWN = {"cache_creation": None, "inference_geo": None, "service_tier": None}


class NativeVoice:
    """Passes on what an upstream of the same dialect wrote, but for the model's name."""

    def __init__(self, model: str) -> None:
        self._model = model

    def whole(self, body: Json) -> bytes:
        return msgspec.json.encode({**body, "model": self._model})

    def events(self, events: Sequence[Event]) -> list[bytes]:
        """`message_stop` is left to the dialect, which sends it last of all."""
        return [self._frame(event) for event in events if event.name != "message_stop"]

    def _frame(self, event: Event) -> bytes:
        data = event.data
        if event.name == "message_start":
            said = decoded(msgspec.json.decode, data)
            data = msgspec.json.encode({**said, "message": {**said["message"], "model": self._model}})
        return b"event: " + event.name.encode() + b"\ndata: " + data + b"\n\n"

    def end(self) -> bytes:
        return b""

    def broken(self, error: GatewayError) -> bytes:
        return _error_frame(error)


class ChatVoice:
    """Tells a chat completion, or its chunks, as the message that it means. Of several choices, the first."""

    def __init__(
        self,
        model: str,
        *,
        message_id: str,
        input_tokens: int,
        stops: Sequence[str],
        shows_thinking: bool,
    ) -> None:
        """`input_tokens` is an estimate: a stream begins before the upstream says how many there were."""
        self._model = model
        self._id = message_id
        self._input_tokens = input_tokens
        self._stops = stops
        self._shows_thinking = shows_thinking
        self._blocks = Blocks(message_id)
        self._has_begun = False
        self._chars = 0
        self._usage: Usage | None = None
        self._finish = ""
        self._stop: str | None = None
        self._is_refusal = False

    def whole(self, body: Json) -> bytes:
        choice = _first(body)
        self._absorb(_dict(choice.get("message")))
        self._conclude(choice)
        self._usage = read_usage(body.get("usage"))
        message = self._message(self._blocks.whole())
        return msgspec.json.encode({**message, **self._stopped()})

    def events(self, events: Sequence[Event]) -> list[bytes]:
        frames = self._begin()
        for event in events:
            self._usage = event.usage or self._usage
            choice = _first(decoded(msgspec.json.decode, event.data))
            self._absorb(_dict(choice.get("delta")))
            self._conclude(choice)
        return frames + self._blocks.frames()

    def end(self) -> bytes:
        frames = self._begin() + self._blocks.frames(is_end=True)
        delta = {**self._stopped(), "stop_details": None, "container": None}
        frames.append(frame("message_delta", {"delta": delta, "usage": self._counted()}))
        return b"".join(frames)

    def broken(self, error: GatewayError) -> bytes:
        return _error_frame(error)

    def _begin(self) -> list[bytes]:
        if self._has_begun:
            return []
        self._has_begun = True
        return [frame("message_start", {"message": self._message([])})]

    def _message(self, content: list[Json]) -> Json:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            "stop_reason": None,
            "stop_sequence": None,
            "stop_details": None,
            "container": None,
            "usage": {**self._counted(), **_NOT_KNOWN},
        }

    def _absorb(self, said: Json) -> None:
        """A whole message, or the next piece of one."""
        thinking = _string(said.get("reasoning_content")) or _string(said.get("reasoning"))
        text, refusal = _text(said.get("content")), _text(said.get("refusal"))
        self._chars += len(thinking) + len(text) + len(refusal)
        if thinking and self._shows_thinking:
            self._blocks.thinking(thinking)
        if text or refusal:
            self._blocks.text(text + refusal)
        self._is_refusal |= bool(refusal)
        for number, call in enumerate(_dicts(said.get("tool_calls"))):
            function, place = _dict(call.get("function")), call.get("index")
            name, arguments = _string(function.get("name")), _string(function.get("arguments"))
            self._chars += len(name) + len(arguments)
            self._blocks.call(
                place if isinstance(place, int) else number, _string(call.get("id")), name, arguments
            )

    def _conclude(self, choice: Json) -> None:
        """Some servers say which of the caller's strings stopped the model."""
        self._finish = _string(choice.get("finish_reason")) or self._finish
        stop = choice.get("stop_reason")
        if isinstance(stop, str) and stop in self._stops:
            self._stop = stop

    def _stopped(self) -> Json:
        """A model that was made to use a tool may say that it simply stopped."""
        reason, stop = _STOP_REASONS.get(self._finish, "end_turn"), None
        if reason == "end_turn":
            if self._is_refusal:
                reason = "refusal"
            elif self._blocks.has_calls:
                reason = "tool_use"
            elif self._stop is not None:
                reason, stop = "stop_sequence", self._stop
        return {"stop_reason": reason, "stop_sequence": stop}

    def _counted(self) -> Json:
        """By the upstream; before it has counted, or if it never does, near enough."""
        usage = self._usage or Usage(input=self._input_tokens, output=-(-self._chars // 4))
        return {
            "input_tokens": usage.input,
            "cache_creation_input_tokens": usage.cache_write + usage.cache_write_1h,
            "cache_read_input_tokens": usage.cached_input,
            "output_tokens": usage.output + usage.reasoning,
            "output_tokens_details": {"thinking_tokens": usage.reasoning} if usage.reasoning else None,
            "server_tool_use": None,
        }


def _error_frame(error: GatewayError) -> bytes:
    """No `message_stop` follows, so that no client takes the stream for whole."""
    return frame("error", error_body(error))


def _first(body: Any) -> Json:
    choices = _dicts(body.get("choices")) if isinstance(body, dict) else []
    return choices[0] if choices and choices[0].get("index", 0) == 0 else {}


def _text(content: Any) -> str:
    """Some servers write their answer in parts, as callers do."""
    if isinstance(content, str):
        return content
    return "".join([_string(part.get("text")) for part in _dicts(content)])


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _dict(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _dicts(value: Any) -> list[Json]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
