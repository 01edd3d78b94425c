"""Reads an upstream's stream of events to its end, in whatever dialect: bounded, in time, and truthful about how it
ended."""

from collections.abc import AsyncGenerator
from typing import Any, Literal, Protocol

import msgspec

from gateway.upstreams.contract import ENGINE_SECONDS, Event, UpstreamCall, UpstreamError
from gateway.upstreams.sse import EventStreamParser, EventTooLargeError
from gateway.upstreams.transport import NOT_JSON, Exchange, Transport

_MAX_ASIDE_CHARS = 32
_ENGINE_SECONDS = f" {ENGINE_SECONDS} ".encode()
MAX_BAD_EVENTS = 2
"""A stream is given up at the next one."""


Heard = Literal["good", "bad", "end"]
"""What an event was. good: understood, whether or not anything came of it; the upstream is at work. bad: not JSON, or not
of this dialect. end: the mark without which a stream is not whole."""


class Reader(Protocol):
    """Understands one stream of a dialect."""

    def read(self, data: bytes, events: list[Event]) -> Heard:
        """Adds what came of it to `events`. Raises UpstreamError for an error that the upstream reports."""
        ...

    def reported(self, error: Any) -> UpstreamError:
        """An error inside a 200."""
        ...


async def read_stream(
    transport: Transport, call: UpstreamCall, path: str, reader: Reader
) -> AsyncGenerator[list[Event], None]:
    """As `Upstream.stream`."""
    config = transport.config
    exchange = await transport.open(call, path, first_byte_s=config.first_event_timeout_s)
    parser = EventStreamParser(comment_prefix=_ENGINE_SECONDS if call.aside else None)
    read = reader.read
    bad_events = 0
    has_begun = False
    try:
        if exchange.content_type in ("application/json", "text/html"):
            raise await _not_a_stream(exchange, reader)
        while chunk := await exchange.read():
            events: list[Event] = []
            heard: Heard = "bad"
            for data in parser.feed(chunk):
                try:
                    heard = read(data, events)
                    if heard == "bad" and (bad_events := bad_events + 1) > MAX_BAD_EVENTS:
                        raise exchange.failure("invalid", "its stream holds events that are not JSON")
                except UpstreamError:
                    if events:
                        has_begun = True
                        yield events
                    raise
                if heard == "end":
                    if events:
                        yield events
                    await exchange.end()
                    return
            if events:
                has_begun = True
                yield events
            if has_begun and (events or heard == "good"):
                exchange.expect_within(config.gap_timeout_s)
        raise exchange.failure("interrupted", "it ended its stream before it was done")
    except EventTooLargeError as exc:
        raise exchange.failure("invalid", f"its stream holds {exc}") from exc
    except UpstreamError as exc:
        exc.may_have_charged |= has_begun
        raise
    finally:
        if call.aside is not None:
            call.aside.engine_seconds = parser.comment[:_MAX_ASIDE_CHARS].decode("latin-1")
        exchange.close()


async def _not_a_stream(exchange: Exchange, reader: Reader) -> UpstreamError:
    if exchange.content_type == "application/json":
        try:
            body = msgspec.json.decode(await exchange.read_all())
        except NOT_JSON:
            body = None
        if isinstance(body, dict) and body.get("error"):
            return reader.reported(body["error"])
    return exchange.failure("invalid", "it answered without a stream")
