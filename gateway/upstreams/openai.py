"""The OpenAI dialect: chat completions, as OpenAI and the many servers that imitate it answer them."""

from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from gateway.clock import Clock
from gateway.config import Upstream as UpstreamConfig
from gateway.upstreams.contract import Event, Reply, UpstreamCall, UpstreamError
from gateway.upstreams.sse import EventStreamParser, EventTooLargeError
from gateway.upstreams.transport import BLAMES_REQUEST, NOT_JSON, Exchange, Transport
from gateway.upstreams.usage import read_usage
from gateway.values import Usage

MAX_BAD_EVENTS = 2
"""A stream is given up at the next one."""

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
        exchange = await self._transport.open(call)
        try:
            raw = await exchange.read_all()
        finally:
            exchange.close()
        try:
            body = msgspec.json.decode(raw)
            answer = _decode(raw)
            text = answer.text()
        except NOT_JSON as exc:
            raise exchange.failure("invalid", "its reply is not what was asked for") from exc
        if answer.error:
            raise self._reported(answer.error, exchange)
        if not answer.choices:
            raise exchange.failure("invalid", "its reply holds no choices")
        return Reply(
            body=body,
            usage=read_usage(body.get("usage")),
            finish_reasons=answer.finish_reasons(),
            text=text,
        )

    async def stream(self, call: UpstreamCall) -> AsyncGenerator[Event, None]:
        exchange = await self._transport.open(call, first_byte_s=self._config.first_event_timeout_s)
        parser = EventStreamParser()
        bad_events = 0
        has_begun = False
        try:
            if exchange.content_type in ("application/json", "text/html"):
                raise await self._not_a_stream(exchange)
            while chunk := await exchange.read():
                has_event = False
                for data in parser.feed(chunk):
                    if data == b"[DONE]":
                        await exchange.end()
                        return
                    event = self._read_event(data, exchange)
                    if event is not None:
                        has_begun = has_event = True
                        yield event
                    elif (bad_events := bad_events + 1) > MAX_BAD_EVENTS:
                        raise exchange.failure("invalid", "its stream holds events that are not JSON")
                if has_event:
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
            answer = _decode(data)
            text = answer.text()
        except NOT_JSON:
            return None
        if answer.error:
            raise self._reported(answer.error, exchange)
        has_usage = answer.usage is not msgspec.UNSET and bytes(answer.usage) != b"null"
        reasons = answer.finish_reasons()
        return Event(
            data=data,
            usage=_usage(answer.usage) if has_usage else None,
            text=text,
            finish_reason=reasons[-1] if reasons else None,
            is_usage_only=has_usage and not answer.choices,
        )

    async def _not_a_stream(self, exchange: Exchange) -> UpstreamError:
        if exchange.content_type == "application/json":
            try:
                answer = _decode(await exchange.read_all())
            except NOT_JSON:
                answer = _Answer()
            if answer.error:
                return self._reported(answer.error, exchange)
        return exchange.failure("invalid", "it answered without a stream")

    def _reported(self, error: Any, exchange: Exchange) -> UpstreamError:
        """An error inside a 200. Some servers put the status that they meant into its `code`."""
        code = error.get("code") if isinstance(error, dict) else None
        if type(code) is not int or not 400 <= code <= 599:
            return exchange.failure("refused", "it reported an error")
        blame = self._transport.caller_error({"error": error}) if code in BLAMES_REQUEST else None
        return self._transport.refusal(code, caller_error=blame)


class _Piece(msgspec.Struct, gc=False):
    """A message, or the next bit of one. `Any`, because servers disagree, and what counts is the text in it."""

    content: Any = None
    refusal: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    """The same under another name; some servers send both."""
    tool_calls: Any = None
    function_call: Any = None

    def text(self) -> str:
        reasoning = self.reasoning_content or self.reasoning
        fields = (self.content, self.refusal, reasoning, self.tool_calls, self.function_call)
        return "".join([_text(field) for field in fields if field])


class _Choice(msgspec.Struct, gc=False):
    delta: _Piece | None = None
    message: _Piece | None = None
    finish_reason: str | None = None


class _Answer(msgspec.Struct, gc=False):
    """A reply or an event, decoded just far enough. Usage stays raw, so that nonsense in it spoils nothing else."""

    choices: list[_Choice] | None = None
    usage: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: Any = None

    def text(self) -> str:
        pieces = [choice.delta or choice.message for choice in self.choices or ()]
        return "".join([piece.text() for piece in pieces if piece is not None])

    def finish_reasons(self) -> tuple[str, ...]:
        return tuple([choice.finish_reason for choice in self.choices or () if choice.finish_reason])


_decode = msgspec.json.Decoder(_Answer).decode


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
