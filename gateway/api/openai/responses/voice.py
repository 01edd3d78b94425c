"""Tells a chat's answer as a Response, whole or as the events by which it comes about."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from gateway.api.openai.responses.output import TEXT, Item, Output, Part
from gateway.api.openai.responses.reply import Reply
from gateway.errors import GatewayError
from gateway.ticket import Request
from gateway.upstreams.contract import Event
from gateway.upstreams.numbers import decoded
from gateway.upstreams.usage import read_usage
from gateway.values import Usage

_decode = msgspec.json.Decoder[Any]().decode


class ResponsesVoice:
    """Tells items one after the other, as OpenAI does: clients count on it."""

    __slots__ = (
        "_finish_reason",
        "_frames",
        "_is_open",
        "_item",
        "_output",
        "_part",
        "_pieces",
        "_reply",
        "_sequence",
        "_service_tier",
        "_usage",
    )

    def __init__(self, request: Request, model: str, now_s: Callable[[], int]) -> None:
        self._reply = Reply(request, model, now_s)
        self._output = Output(self._reply.suffix, self._reply.names, is_summarised=self._reply.wants_summary)
        self._finish_reason: str | None = None
        self._service_tier: Any = None
        self._usage: Usage | None = None
        self._frames: list[bytes] = []
        self._sequence = 0
        self._item = 0
        """So many items are told to their end."""
        self._is_open = False
        """The next one has been begun."""
        self._part = 0
        """So many of its parts are told to their end."""
        self._pieces: int | None = None
        """So many pieces of its next part are told; None: that has not been begun."""

    def whole(self, body: dict[str, Any]) -> bytes:
        choice = body["choices"][0]
        message = choice.get("message")
        if isinstance(message, dict):
            self._output.add(message, choice.get("logprobs"))
        self._output.end()
        self._finish_reason = choice.get("finish_reason")
        self._service_tier = body.get("service_tier")
        self._usage = read_usage(body.get("usage"))
        return msgspec.json.encode(self._ended())

    def events(self, events: Sequence[Event]) -> list[bytes]:
        self._begin()
        for event in events:
            if event.usage is not None:
                self._usage = event.usage
            self._absorb(decoded(_decode, event.data))
            self._tell()
        return self._taken()

    def end(self) -> bytes:
        self._begin()
        self._output.end()
        ended = self._ended()
        self._tell(ended["status"])
        self._emit(f"response.{ended['status']}", response=ended)
        return b"".join(self._taken())

    def broken(self, error: GatewayError) -> bytes:
        """Two events: some clients stop at the one, others read on and raise at the `error` of the other."""
        self._begin()
        said = {"code": error.code, "message": error.message, "param": error.param}
        self._emit("response.failed", response=self._reply.failed(self._output.told("incomplete"), error))
        self._emit("error", **said, error={"type": error.type, **said})
        return b"".join(self._taken())

    def _absorb(self, chunk: dict[str, Any]) -> None:
        self._service_tier = chunk.get("service_tier") or self._service_tier
        for choice in chunk.get("choices") or ():
            delta = choice.get("delta")
            if isinstance(delta, dict):
                self._output.add(delta, choice.get("logprobs"))
            self._finish_reason = choice.get("finish_reason") or self._finish_reason

    def _ended(self) -> dict[str, Any]:
        return self._reply.ended(self._output.told, self._finish_reason, self._usage, self._service_tier)

    def _begin(self) -> None:
        if self._sequence == 0:
            begun = self._reply.begun()
            self._emit("response.created", response=begun)
            self._emit("response.in_progress", response=begun)

    def _tell(self, end: str | None = None) -> None:
        """What is new. At the end of the answer all there is, with this status of its last item."""
        items = self._output.items
        while self._item < len(items):
            item, follows = items[self._item], self._item + 1 < len(items)
            if not self._is_open:
                self._is_open = True
                added = item.told("in_progress", is_new=True)
                self._emit("response.output_item.added", output_index=self._item, item=added)
            is_over = end is not None or (follows and item.may_end)
            self._tell_parts(item, is_over=is_over)
            if not is_over:
                return
            done = item.told("completed" if follows or end is None else end)
            self._emit("response.output_item.done", output_index=self._item, item=done)
            self._item += 1
            self._is_open = False
            self._part = 0

    def _tell_parts(self, item: Item, *, is_over: bool) -> None:
        while self._part < len(item.parts):
            part = item.parts[self._part]
            self._tell_part(item.id, part)
            if not is_over and part is item.parts[-1]:
                return
            self._end_part(item.id, part)
            self._part += 1
            self._pieces = None

    def _tell_part(self, item_id: str, part: Part) -> None:
        kind, at = part.kind, self._at(item_id, part)
        if self._pieces is None:
            self._pieces = 0
            if kind.frame:
                self._emit(f"{kind.frame}.added", **at, part=part.told(is_new=True))
        if self._pieces < len(part.pieces):
            logprobs = {"logprobs": part.logprobs(self._pieces)} if kind is TEXT else {}
            self._emit(f"{kind.event}.delta", **at, delta=part.text(self._pieces), **logprobs)
            self._pieces = len(part.pieces)

    def _end_part(self, item_id: str, part: Part) -> None:
        kind, at = part.kind, self._at(item_id, part)
        logprobs = {"logprobs": part.logprobs()} if kind is TEXT else {}
        self._emit(f"{kind.event}.done", **at, **{kind.field: part.text()}, **logprobs)
        if kind.frame:
            self._emit(f"{kind.frame}.done", **at, part=part.told())

    def _at(self, item_id: str, part: Part) -> dict[str, Any]:
        at: dict[str, Any] = {"item_id": item_id, "output_index": self._item}
        return {**at, part.kind.index: self._part} if part.kind.index else at

    def _emit(self, kind: str, **fields: Any) -> None:
        data = msgspec.json.encode({"type": kind, "sequence_number": self._sequence, **fields})
        self._sequence += 1
        self._frames.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), data))

    def _taken(self) -> list[bytes]:
        frames, self._frames = self._frames, []
        return frames
