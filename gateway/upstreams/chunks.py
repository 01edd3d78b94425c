"""The chunks of a stream in OpenAI's dialect: decoded just far enough, and mended where a look-alike wrote them oddly.

Nearly every chunk is as it should be: it is decoded once, and its bytes pass as they are. Only another is taken apart.
"""

from typing import Annotated, Any, Literal

import msgspec

from gateway.ticket import Endpoint
from gateway.upstreams.contract import Event
from gateway.upstreams.generated import any_text
from gateway.upstreams.normalise import (
    FinishReason,
    Head,
    ServiceTier,
    finish_reason,
    mend_call,
    mend_delta,
    mend_function,
    mend_head,
    mend_logprobs,
    mended_usage,
)
from gateway.upstreams.numbers import decoded
from gateway.upstreams.usage import MAX_TOKENS, read_usage
from gateway.values import Usage

_Unset = msgspec.UnsetType
_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_TOKENS)]
_TOLD = ("content", "refusal", "reasoning_content", "reasoning", "tool_calls", "function_call")


class ReportedError(Exception):
    """The chunk is an error."""

    def __init__(self, error: Any) -> None:
        super().__init__("the upstream reported an error")
        self.error = error


class _Function(msgspec.Struct, gc=False):
    name: str = ""
    arguments: str = ""


class _Call(msgspec.Struct, gc=False):
    index: int
    id: str | _Unset = msgspec.UNSET
    type: Literal["function", "custom"] | _Unset = msgspec.UNSET
    function: _Function | _Unset = msgspec.UNSET
    custom: Any = None


class _Delta(msgspec.Struct, gc=False):
    role: Literal["assistant"] | _Unset = msgspec.UNSET
    content: str | None = None
    refusal: str | None = None
    reasoning_content: Any = None
    reasoning: Any = None
    tool_calls: list[_Call] | _Unset = msgspec.UNSET
    function_call: _Function | _Unset = msgspec.UNSET


class _Logprobs(msgspec.Struct, gc=False):
    content: list[Any] | None
    refusal: list[Any] | None


class _Choice(msgspec.Struct, gc=False):
    index: int
    delta: _Delta
    finish_reason: FinishReason | None
    logprobs: _Logprobs | None = None


class _TextChoice(msgspec.Struct, gc=False):
    index: int
    text: str
    logprobs: dict[str, Any] | None
    finish_reason: Literal["stop", "length", "content_filter"] | None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: _Count
    completion_tokens: _Count
    total_tokens: _Count
    prompt_tokens_details: dict[str, _Count] | _Unset = msgspec.UNSET
    completion_tokens_details: dict[str, _Count] | _Unset = msgspec.UNSET


class _Chunk(msgspec.Struct, gc=False):
    """As OpenAI writes it. What is not named here may be anything."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[_Choice]
    usage: _Usage | None = None
    service_tier: ServiceTier | None = None
    error: None = None


class _TextChunk(msgspec.Struct, gc=False):
    """The same of a legacy completion."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[_TextChoice]
    usage: _Usage | None = None
    service_tier: ServiceTier | None = None
    error: None = None


_decode_chat = msgspec.json.Decoder(_Chunk).decode
_decode_text = msgspec.json.Decoder(_TextChunk).decode
_decode_any = msgspec.json.Decoder().decode


class Chunks:
    """Those of one stream, in order."""

    __slots__ = ("_calls", "_decode", "_finished", "_head", "_id", "_is_chat", "_usage", "_usage_is_told")

    def __init__(self, form: Endpoint, head: Head) -> None:
        self._is_chat = form == "chat"
        self._decode: Any = _decode_chat if self._is_chat else _decode_text
        self._head = head
        self._id = ""
        self._calls: dict[int, int] = {}
        """For each choice that has begun, how many tool calls."""
        self._finished: set[int] = set()
        self._usage: dict[str, Any] | None = None
        """What stood beside choices: it has a chunk of its own, the last."""
        self._usage_is_told = False

    def read(self, data: bytes) -> Event | None:
        """None for one that tells nothing. Raises NOT_JSON for what is no chunk at all, ReportedError."""
        if not data.isascii():
            data.decode()  # fields that we skip are not checked by the decoder, and the caller gets them all
        try:
            chunk = self._decode(data)
        except msgspec.ValidationError:
            return self._mended(data)
        return self._event(chunk, data) if self._fits(chunk) else self._mended(data)

    def rest(self) -> list[Event]:
        """What an upstream that is through should have said, and did not."""
        events = []
        if unfinished := sorted(self._calls.keys() - self._finished):
            choices = [self._last_choice(index) for index in unfinished]
            events.append(self._event(*self._made({"choices": choices})))
        if self._usage is not None and not self._usage_is_told:
            events.append(self._event(*self._made({"choices": [], "usage": self._usage})))
        return events

    def _begin(self, stream_id: str, created: int) -> None:
        self._id = stream_id
        self._head = Head(self._head.id, created, self._head.model)

    def _fits(self, chunk: Any) -> bool:
        """After those before it."""
        if chunk.id != self._id:
            if self._id or not chunk.id:
                return False
            self._begin(chunk.id, chunk.created)
        if not chunk.choices or chunk.usage is not None:
            return not chunk.choices and chunk.usage is not None
        for choice in chunk.choices:
            if choice.index not in self._calls:
                if self._is_chat and choice.delta.role is msgspec.UNSET:
                    return False
            elif choice.index in self._finished:
                return False
        return True

    def _event(self, chunk: Any, data: bytes, usage: Usage | None = None) -> Event:
        if not chunk.choices:
            self._usage_is_told = True
            return Event(data=data, usage=read_usage(_decode_any(data)["usage"]), is_usage_only=True)
        text = ""
        reason = None
        for choice in chunk.choices:
            calls = 0
            if not self._is_chat:
                text += choice.text
            else:
                delta = choice.delta
                text += delta.content or ""
                if delta.tool_calls is not msgspec.UNSET:
                    text += _called(delta.tool_calls)
                    calls = max([call.index + 1 for call in delta.tool_calls], default=0)
                if delta.refusal or delta.reasoning_content or delta.reasoning or delta.function_call:
                    text += _rarer(delta)
            if calls or choice.index not in self._calls:
                self._calls[choice.index] = max(calls, self._calls.get(choice.index, 0))
            if choice.finish_reason is not None:
                reason = choice.finish_reason
                self._finished.add(choice.index)
        return Event(data=data, text=text, finish_reason=reason, usage=usage)

    def _mended(self, data: bytes) -> Event | None:
        body = decoded(_decode_any, data)
        if not isinstance(body, dict):
            raise msgspec.ValidationError("a chunk is an object")
        if body.get("error"):
            raise ReportedError(body["error"])
        given = body.get("choices")
        choices = [choice for choice in given if isinstance(choice, dict)] if isinstance(given, list) else []
        kept = [choice for position, choice in enumerate(choices) if self._is_worth_telling(choice, position)]
        usage = mended_usage(body.pop("usage", None))
        if not kept and usage is None:
            return None
        body.pop("error", None)
        body["choices"] = kept
        if not kept:
            body["usage"] = usage
            return self._event(*self._made(body))
        if usage is not None:
            self._usage = usage
        return self._event(*self._made(body), read_usage(usage))

    def _made(self, body: dict[str, Any]) -> tuple[Any, bytes]:
        """Decoded again, so that nothing goes out which is not as it should be."""
        if self._id:
            body["id"] = self._id
        if self._is_chat:
            mend_head(body, self._head, "chatcmpl-", "chat.completion.chunk")
        else:
            mend_head(body, self._head, "cmpl-", "text_completion")
        if not self._id:
            self._begin(body["id"], body["created"])
        data = msgspec.json.encode(body)
        return self._decode(data), data

    def _is_worth_telling(self, choice: dict[str, Any], position: int) -> bool:
        """Mends it. What comes after its end is passed on if there is anything in it, without a second end."""
        if type(choice.get("index")) is not int:
            choice["index"] = position
        index = choice["index"]
        reason = choice.get("finish_reason")
        choice["finish_reason"] = finish_reason(reason) if reason and index not in self._finished else None
        mend_logprobs(choice, is_chat=self._is_chat)
        if not self._is_chat:
            if not isinstance(choice.get("text"), str):
                choice["text"] = ""
            if choice["finish_reason"] in ("tool_calls", "function_call"):
                choice["finish_reason"] = "stop"
            return index not in self._finished or bool(choice["text"])
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            message = choice.pop("message", None)
            delta = choice["delta"] = message if isinstance(message, dict) else {}
        mend_delta(delta, is_first=index not in self._calls)
        self._mend_calls(delta, index)
        return index not in self._finished or any(delta.get(name) for name in _TOLD)

    def _mend_calls(self, delta: dict[str, Any], index: int) -> None:
        given = delta.pop("tool_calls", None)
        calls = [call for call in given if isinstance(call, dict)] if isinstance(given, list) else []
        begun = self._calls.get(index, 0)
        for call in calls:
            mend_function(call.get("function"))
            if type(call.get("index")) is not int:
                function = call.get("function")
                is_new = call.get("id") or (isinstance(function, dict) and function.get("name")) or not begun
                call["index"] = begun if is_new else begun - 1
            if call["index"] >= begun:
                mend_call(call, f"call_{self._head.id}_{index}_{call['index']}")
                begun = call["index"] + 1
            else:
                for name in ("id", "type"):
                    if not isinstance(call.get(name), str):
                        call.pop(name, None)
        if calls:
            delta["tool_calls"] = calls

    def _last_choice(self, index: int) -> dict[str, Any]:
        if not self._is_chat:
            return {"index": index, "text": "", "logprobs": None, "finish_reason": "stop"}
        reason = "tool_calls" if self._calls[index] else "stop"
        return {"index": index, "delta": {}, "logprobs": None, "finish_reason": reason}


def _called(calls: list[_Call]) -> str:
    return "".join(
        [
            call.function.name + call.function.arguments
            if isinstance(call.function, _Function)
            else any_text(call.custom)
            for call in calls
        ]
    )


def _rarer(delta: _Delta) -> str:
    function = delta.function_call
    called = function.name + function.arguments if isinstance(function, _Function) else ""
    return (delta.refusal or "") + any_text(delta.reasoning_content or delta.reasoning) + called
