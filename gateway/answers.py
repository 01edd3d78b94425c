"""What a model answered, read out of a reply or of the events of a stream: one Answer for each choice.

Both have passed the upstream's side, so their shape is known; what stands in it may still be anything.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from gateway.exchange import Voice
from gateway.scoring.contract import Answer
from gateway.ticket import Endpoint
from gateway.upstreams.contract import Event, Reply
from gateway.upstreams.numbers import decoded

Json = dict[str, Any]

_decode = msgspec.json.Decoder().decode


def of_reply(reply: Reply, form: Endpoint) -> list[Answer]:
    if form == "messages":
        return [_of_message(reply)]
    return [_of_choice(choice) for choice in reply.body["choices"]]


def of_events(events: Sequence[Event], form: Endpoint) -> list[Answer]:
    """Of a stream that may not have ended."""
    chunks = [decoded(_decode, event.data) for event in events]
    if form == "messages":
        reasons = [event.finish_reason for event in events if event.finish_reason]
        return [_of_blocks(chunks, reasons[-1] if reasons else "")]
    choices: dict[int, _Choice] = {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            choices.setdefault(choice["index"], _Choice()).add(choice)
    return [choice.answer() for _, choice in sorted(choices.items())]


class WithoutLogprobs:
    """Tells a chat's answer by another voice, as it would be had nobody asked for log-probabilities."""

    def __init__(self, voice: Voice) -> None:
        self._voice = voice
        self.end = voice.end
        self.broken = voice.broken

    def whole(self, body: Json) -> bytes:
        return self._voice.whole(_without_logprobs(body))

    def events(self, events: Sequence[Event]) -> list[bytes]:
        return self._voice.events([_event_without_logprobs(event) for event in events])


def _without_logprobs(body: Json) -> Json:
    return {**body, "choices": [{**choice, "logprobs": None} for choice in body["choices"]]}


def _event_without_logprobs(event: Event) -> Event:
    if event.is_usage_only or b'"logprobs"' not in event.data:
        return event
    data = msgspec.json.encode(_without_logprobs(decoded(_decode, event.data)))
    return msgspec.structs.replace(event, data=data)


def _of_choice(choice: Json) -> Answer:
    pieces, message = _Choice(), _mapping(choice.get("message"))
    # What some servers write as the place of a whole call is no place: all of theirs are 0.
    calls = [{**call, "index": place} for place, call in enumerate(_mappings(message.get("tool_calls")))]
    pieces.add({**choice, "delta": {**message, "tool_calls": calls}})
    return pieces.answer()


class _Choice:
    """One choice of a chat or of a legacy completion, put together from its pieces."""

    __slots__ = ("_calls", "_finish_reason", "_is_refusal", "_logprobs", "_texts")

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._calls: dict[int, list[str]] = {}
        self._logprobs: list[float] = []
        self._finish_reason = ""
        self._is_refusal = False

    def add(self, choice: Json) -> None:
        delta = _mapping(choice.get("delta"))
        self._texts += [_string(choice.get("text")), _string(delta.get("content"))]
        refusal = _string(delta.get("refusal"))
        if refusal:
            self._is_refusal = True
            self._texts.append(refusal)
        for place, call in enumerate(_mappings(delta.get("tool_calls"))):
            told = call.get("index")
            self._call(told if type(told) is int else place, call.get("function") or call.get("custom"))
        if delta.get("function_call"):
            self._call(-1, delta["function_call"])
        self._logprobs += _logprobs(choice.get("logprobs"))
        self._finish_reason = _string(choice.get("finish_reason")) or self._finish_reason

    def answer(self) -> Answer:
        return Answer(
            text="".join(self._texts),
            finish_reason=self._finish_reason,
            is_refusal=self._is_refusal or self._finish_reason == "content_filter",
            calls=tuple("".join(pieces) for _, pieces in sorted(self._calls.items())),
            logprobs=tuple(self._logprobs),
        )

    def _call(self, place: int, called: Any) -> None:
        """A function has arguments, a custom tool an input."""
        said = _mapping(called)
        self._calls.setdefault(place, []).append(_string(said.get("arguments")) + _string(said.get("input")))


def _logprobs(told: Any) -> list[float]:
    """A chat's stand in objects, a legacy completion's in a list; the first token's may be null."""
    told = _mapping(told)
    values = told.get("token_logprobs") or [item.get("logprob") for item in _mappings(told.get("content"))]
    return [
        float(value) for value in _list(values) if isinstance(value, int | float) and math.isfinite(value)
    ]


def _of_message(reply: Reply) -> Answer:
    blocks = _mappings(reply.body.get("content"))
    reason = reply.finish_reasons[0] if reply.finish_reasons else ""
    calls = [msgspec.json.encode(block.get("input")).decode() for block in blocks if _is_call(block)]
    return _message(_texts(blocks), calls, reason)


def _of_blocks(events: Iterable[Json], finish_reason: str) -> Answer:
    texts: list[str] = []
    calls: dict[int, list[str]] = {}
    for event in events:
        block, delta = _mapping(event.get("content_block")), _mapping(event.get("delta"))
        texts += [*_texts([block]), _string(delta.get("text"))]
        if _is_call(block):
            calls[event.get("index", 0)] = []
        elif "partial_json" in delta:
            calls.setdefault(event.get("index", 0), []).append(_string(delta["partial_json"]))
    # A tool that takes nothing may be called without a word.
    return _message(texts, ["".join(pieces) or "{}" for _, pieces in sorted(calls.items())], finish_reason)


def _message(texts: Iterable[str], calls: Iterable[str], finish_reason: str) -> Answer:
    return Answer(
        text="".join(texts),
        finish_reason=finish_reason,
        is_refusal=finish_reason == "content_filter",
        calls=tuple(calls),
    )


def _texts(blocks: Iterable[Mapping[str, Any]]) -> list[str]:
    return [_string(block.get("text")) for block in blocks if block.get("type") == "text"]


def _is_call(block: Mapping[str, Any]) -> bool:
    return block.get("type") == "tool_use"


def _mapping(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _mappings(value: Any) -> list[Json]:
    return [item for item in _list(value) if isinstance(item, dict)]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""
