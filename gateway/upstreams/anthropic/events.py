"""The events of a message as they come: passed on as they are, or told as the chunks of a chat completion."""

from typing import Any

import msgspec

from gateway.upstreams.anthropic.mend import loaded, mended_event
from gateway.upstreams.anthropic.reply import Block, encoded, finish_reason, legacy_reason, refusal
from gateway.upstreams.anthropic.usage import Tally, chat_usage
from gateway.upstreams.contract import Event, UpstreamError
from gateway.upstreams.normalise import Head
from gateway.upstreams.stream import Heard
from gateway.upstreams.transport import BLAMES_REQUEST, NOT_JSON, OVERLOADED, Transport
from gateway.values import Usage

Json = dict[str, Any]

_STATUS_OF = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": OVERLOADED,
}


class _Started(msgspec.Struct, gc=False):
    id: str = ""
    model: str = ""
    usage: msgspec.Raw = msgspec.Raw(b"null")


class _Delta(msgspec.Struct, gc=False):
    """Of a block, or of the message."""

    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None
    stop_details: Any = None


class _Event(msgspec.Struct, gc=False):
    """Decoded just far enough. Usage stays raw, so that nonsense in it spoils nothing else."""

    type: str
    index: int = 0
    message: _Started | None = None
    content_block: Block | None = None
    delta: _Delta | None = None
    usage: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: Any = None


_decode_event = msgspec.json.Decoder(_Event).decode


class MessageReader:
    """Passes events on as they are. One for each stream."""

    def __init__(self, transport: Transport, head: Head) -> None:
        self._transport = transport
        self._head = head
        self._tally = Tally()

    def read(self, data: bytes, events: list[Event]) -> Heard:
        try:
            event = _decode_event(data)
            if event.type == "error":
                raise self.reported(event.error)
            if event.type == "message_stop":
                return "end"
            return "good" if event.type == "ping" or self._tell(event, data, events) else "bad"
        except NOT_JSON:
            return "bad"

    def reported(self, error: Any) -> UpstreamError:
        return reported(self._transport, error)

    def _tell(self, event: _Event, data: bytes, events: list[Event]) -> bool:
        """False for one that is not of this dialect."""
        if not event.type.isidentifier() or (event.type == "message_start" and event.message is None):
            return False
        if not data.isascii():
            data.decode()  # fields that we skip are not checked by the decoder, and the caller gets them all
        written, delta = "", event.delta
        if event.content_block is not None:
            written = event.content_block.written
        elif delta is not None:
            written = f"{delta.text or ''}{delta.thinking or ''}{delta.partial_json or ''}"
        events.append(
            Event(
                data=mended_event(event.type, data.replace(b"\n", b" "), self._head),
                usage=self._count(event),
                text=written,
                finish_reason=finish_reason(delta.stop_reason) if delta is not None else None,
                name=event.type,
            )
        )
        return True

    def _count(self, event: _Event) -> Usage | None:
        """The usage, once the upstream has said what came out."""
        if event.message is not None:
            self._tally.add(loaded(event.message.usage))
        if event.usage is msgspec.UNSET or event.type != "message_delta":
            return None
        self._tally.add(loaded(event.usage))
        return self._tally.usage()


class ChatReader(MessageReader):
    """Tells them as chunks."""

    def __init__(self, transport: Transport, head: Head, *, is_legacy: bool) -> None:
        super().__init__(transport, head)
        self._is_legacy = is_legacy
        self._opening = b""
        """Of every chunk, once the message has begun."""
        self._calls: dict[int, _Call] = {}
        """By the index of the block."""

    def _tell(self, event: _Event, _data: bytes, events: list[Event]) -> bool:
        if event.type == "message_start":
            return self._begin(event, events)
        if not self._opening:
            return False
        if event.type == "content_block_delta":
            return event.delta is not None and self._continue(event.index, event.delta, events)
        if event.type == "content_block_start":
            return event.content_block is not None and self._open(event.index, event.content_block, events)
        if event.type == "content_block_stop":
            self._close(event.index, events)
        elif event.type == "message_delta":
            self._finish(event, events)
        return True

    def _begin(self, event: _Event, events: list[Event]) -> bool:
        if event.message is None:
            return False
        self._count(event)
        opening = {
            "id": event.message.id or f"chatcmpl-{self._head.id}",
            "object": "chat.completion.chunk",
            "created": self._head.created,
            "model": event.message.model or self._head.model,
        }
        self._opening = msgspec.json.encode(opening)[:-1]
        events.append(Event(data=self._chunk({"role": "assistant", "content": "", "refusal": None})))
        return True

    def _open(self, index: int, block: Block, events: list[Event]) -> bool:
        if block.type == "tool_use":
            call = self._calls[index] = _Call(len(self._calls), block)
            opening = {"id": block.id, "type": "function"}
            function = {"name": block.name, "arguments": ""}
            events.append(Event(data=self._called(call, function, **opening), text=block.name))
        elif block.type in ("text", "thinking"):
            self._say(block.text, block.thinking, events)
        return True

    def _continue(self, index: int, delta: _Delta, events: list[Event]) -> bool:
        self._say(delta.text, delta.thinking, events)
        if delta.partial_json and (call := self._calls.get(index)) is not None:
            call.has_arguments = True
            self._argue(call, delta.partial_json, events)
        return True

    def _say(self, text: str | None, thinking: str | None, events: list[Event]) -> None:
        if text:
            events.append(Event(data=self._chunk({"content": text}), text=text))
        if thinking:
            events.append(Event(data=self._chunk({"reasoning_content": thinking}), text=thinking))

    def _close(self, index: int, events: list[Event]) -> None:
        """What the arguments were, if they came at once, or not at all: clients read them as JSON."""
        call = self._calls.get(index)
        if call is not None and not call.has_arguments:
            self._argue(call, encoded(call.block.input or {}), events)

    def _argue(self, call: "_Call", arguments: str, events: list[Event]) -> None:
        events.append(Event(data=self._called(call, {"arguments": arguments}), text=arguments))

    def _called(self, call: "_Call", function: Json, **opening: str) -> bytes:
        if self._is_legacy:
            return self._chunk({"function_call": function})
        return self._chunk({"tool_calls": [{"index": call.number, **opening, "function": function}]})

    def _finish(self, event: _Event, events: list[Event]) -> None:
        delta = event.delta
        reason = finish_reason(delta.stop_reason) if delta is not None else None
        if reason is not None and delta is not None:
            why = refusal(delta.stop_details)
            last = self._chunk({"refusal": why} if why else {}, legacy_reason(reason, self._is_legacy))
            events.append(Event(data=last, finish_reason=reason))
        usage = self._count(event)
        if usage is not None:
            told = msgspec.json.encode({"choices": [], "usage": chat_usage(usage)})
            events.append(Event(data=self._opening + b"," + told[1:], usage=usage, is_usage_only=True))

    def _chunk(self, delta: Json, reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return self._opening + b"," + msgspec.json.encode({"choices": [choice]})[1:]


def reported(transport: Transport, error: Any) -> UpstreamError:
    """An error inside a 200: its type stands for a status."""
    kind = error.get("type") if isinstance(error, dict) else None
    status = _STATUS_OF.get(kind) if isinstance(kind, str) else None
    if status is None:
        return transport.failure("refused", "it reported an error", may_have_charged=True)
    blame = transport.caller_error({"error": error}) if status in BLAMES_REQUEST else None
    return transport.refusal(status, caller_error=blame)


class _Call:
    """A use of a tool, on its way."""

    __slots__ = ("block", "has_arguments", "number")

    def __init__(self, number: int, block: Block) -> None:
        self.number = number
        self.block = block
        self.has_arguments = False
