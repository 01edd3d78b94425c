"""The OpenAI dialect, as OpenAI and the many servers that imitate it answer: chat and legacy completions, embeddings,
moderations."""

from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from gateway.clock import Clock
from gateway.config import Upstream as UpstreamConfig
from gateway.ticket import Endpoint
from gateway.upstreams.contract import Event, Reply, UpstreamCall, UpstreamError
from gateway.upstreams.sse import EventStreamParser, EventTooLargeError
from gateway.upstreams.transport import BLAMES_REQUEST, NOT_JSON, Exchange, Transport
from gateway.upstreams.usage import read_usage
from gateway.values import Usage

MAX_BAD_EVENTS = 2
"""A stream is given up at the next one."""

_PATHS: dict[Endpoint, str] = {
    "chat": "/chat/completions",
    "completions": "/completions",
    "embeddings": "/embeddings",
    "moderations": "/moderations",
}
_ANSWERS_AT: dict[Endpoint, str] = {
    "chat": "choices",
    "completions": "choices",
    "embeddings": "data",
    "moderations": "results",
}
_GENERATED = frozenset({"chat", "completions"})
_LABELS = frozenset({"id", "index", "type"})


class OpenAIUpstream:
    """One server that speaks the OpenAI dialect."""

    def __init__(self, config: UpstreamConfig, *, name: str, api_key: str, clock: Clock) -> None:
        self._config = config
        self._transport = Transport(config, name=name, api_key=api_key, clock=clock)

    @property
    def name(self) -> str:
        return self._transport.name

    async def complete(self, call: UpstreamCall) -> Reply:
        exchange = await self._transport.open(call, _PATHS[call.form])
        try:
            raw = await exchange.read_all()
        finally:
            exchange.close()
        try:
            body = msgspec.json.decode(raw)
            answers, text = _answers(body, call.form)
        except NOT_JSON as exc:
            raise exchange.failure("invalid", "its reply is not what was asked for") from exc
        if isinstance(body, dict) and body.get("error"):
            raise self._reported(body["error"], exchange)
        if not answers:
            raise exchange.failure("invalid", "its reply holds no answer")
        reasons = [answer.get("finish_reason") for answer in answers]
        usage = body.get("usage")
        if call.form not in _GENERATED:  # a vector or a verdict is whole by nature, and no tokens come out
            reasons = ["stop"]
            usage = {"completion_tokens": 0, **usage} if isinstance(usage, dict) else None
        return Reply(
            body=body,
            usage=read_usage(usage),
            finish_reasons=tuple([reason for reason in reasons if isinstance(reason, str)]),
            text=text,
        )

    async def stream(self, call: UpstreamCall) -> AsyncGenerator[list[Event], None]:
        exchange = await self._transport.open(
            call, _PATHS[call.form], first_byte_s=self._config.first_event_timeout_s
        )
        parser = EventStreamParser()
        bad_events = 0
        has_begun = False
        try:
            if exchange.content_type in ("application/json", "text/html"):
                raise await self._not_a_stream(exchange)
            while chunk := await exchange.read():
                events: list[Event] = []
                for data in parser.feed(chunk):
                    if data == b"[DONE]":
                        if events:
                            yield events
                        await exchange.end()
                        return
                    try:
                        event = self._read_event(data, exchange)
                        if event is None and (bad_events := bad_events + 1) > MAX_BAD_EVENTS:
                            raise exchange.failure("invalid", "its stream holds events that are not JSON")
                    except UpstreamError:
                        if events:
                            has_begun = True
                            yield events
                        raise
                    if event is not None:
                        events.append(event)
                if events:
                    has_begun = True
                    yield events
                    exchange.expect_within(self._config.gap_timeout_s)
            raise exchange.failure("interrupted", "it ended its stream before it was done")
        except EventTooLargeError as exc:
            raise exchange.failure("invalid", f"its stream holds {exc}") from exc
        except UpstreamError as exc:
            exc.may_have_charged |= has_begun
            raise
        finally:
            exchange.close()

    async def probe(self, timeout_s: float) -> bool:
        return await self._transport.answers("/models", timeout_s)

    async def close(self) -> None:
        await self._transport.close()

    def _read_event(self, data: bytes, exchange: Exchange) -> Event | None:
        """None for one that is not JSON, or not of this dialect."""
        if b"\n" in data:
            data = data.replace(b"\n", b" ")
        try:
            if not data.isascii():
                data.decode()  # fields that we skip are not checked by the decoder, and the caller gets them all
            chunk = _decode_chunk(data)
            choices = chunk.choices or ()
            text = "".join([_choice_text(choice) for choice in choices])
        except NOT_JSON:
            return None
        if chunk.error:
            raise self._reported(chunk.error, exchange)
        has_usage = chunk.usage is not msgspec.UNSET and bytes(chunk.usage) != b"null"
        reasons = [choice.finish_reason for choice in choices if choice.finish_reason]
        return Event(
            data=data,
            usage=_usage(chunk.usage) if has_usage else None,
            text=text,
            finish_reason=reasons[-1] if reasons else None,
            is_usage_only=has_usage and not choices,
        )

    async def _not_a_stream(self, exchange: Exchange) -> UpstreamError:
        if exchange.content_type == "application/json":
            try:
                chunk = _decode_chunk(await exchange.read_all())
            except NOT_JSON:
                chunk = _Chunk()
            if chunk.error:
                return self._reported(chunk.error, exchange)
        return exchange.failure("invalid", "it answered without a stream")

    def _reported(self, error: Any, exchange: Exchange) -> UpstreamError:
        """An error inside a 200. Some servers put the status that they meant into its `code`."""
        code = error.get("code") if isinstance(error, dict) else None
        if type(code) is not int or not 400 <= code <= 599:
            return exchange.failure("refused", "it reported an error")
        blame = self._transport.caller_error({"error": error}) if code in BLAMES_REQUEST else None
        return self._transport.refusal(code, caller_error=blame)


class _Delta(msgspec.Struct, gc=False):
    """`Any`, because servers disagree, and what counts is the text in it."""

    content: Any = None
    refusal: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    tool_calls: Any = None
    function_call: Any = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta | None = None
    text: Any = None
    """Of a legacy completion."""
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, gc=False):
    """An event, decoded just far enough. Usage stays raw, so that nonsense in it spoils nothing else."""

    choices: list[_Choice] | None = None
    usage: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: Any = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode


def _choice_text(choice: _Choice) -> str:
    delta = choice.delta
    if delta is None:
        return _text(choice.text)
    reasoning = delta.reasoning_content or delta.reasoning
    return _joined(delta.content, delta.refusal, reasoning, delta.tool_calls, delta.function_call)


def _answers(body: Any, form: Endpoint) -> tuple[list[dict[str, Any]], str]:
    """Those of a whole reply, none if it has another shape, and all that was generated."""
    answers = body.get(_ANSWERS_AT[form]) if isinstance(body, dict) else None
    if not isinstance(answers, list) or not all(isinstance(answer, dict) for answer in answers):
        return [], ""
    if form in _GENERATED:
        return answers, "".join(
            [_message_text(answer.get("message"), answer.get("text")) for answer in answers]
        )
    return answers, ""


def _message_text(message: Any, text: Any) -> str:
    if not isinstance(message, dict):
        return _text(text)
    get = message.get
    reasoning = get("reasoning_content") or get("reasoning")
    return _joined(get("content"), get("refusal"), reasoning, get("tool_calls"), get("function_call"))


def _joined(content: Any, *others: Any) -> str:
    """All that was generated. Nearly always it is the content alone."""
    text = content if isinstance(content, str) else _text(content)
    return text + "".join([_text(other) for other in others]) if any(others) else text


def _text(value: Any) -> str:
    """All that was generated in a value, however it is nested."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_text(item) for item in value)
    if isinstance(value, dict):
        return "".join(_text(item) for key, item in value.items() if key not in _LABELS)
    return ""


def _usage(raw: Any) -> Usage | None:
    try:
        return read_usage(msgspec.json.decode(raw))
    except NOT_JSON:
        return None
