"""When an upstream counts as alive, whatever the dialect."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.upstreams.anthropic.events import ChatReader
from gateway.upstreams.contract import UpstreamError
from gateway.upstreams.normalise import Head
from gateway.upstreams.stream import read_stream
from tests.fixtures.upstream_calls import a_call

PING = {"type": "ping"}
START = {"type": "message_start", "message": {"id": "msg_1", "model": "m"}}
TEXT = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Paris"}}
STOP = {"type": "message_stop"}


class FakeExchange:
    """A reply that is there already; notes how often a new span of waiting began."""

    content_type = "text/event-stream"

    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = chunks
        self.spans = 0
        self.is_closed = False

    async def read(self) -> bytes:
        return self._chunks.pop(0) if self._chunks else b""

    def expect_within(self, _seconds: float) -> None:
        self.spans += 1

    async def end(self) -> None:
        pass

    def failure(self, kind: Any, what: str) -> UpstreamError:
        return UpstreamError(kind, what, may_have_charged=True)

    def close(self) -> None:
        self.is_closed = True


class FakeTransport:
    config = SimpleNamespace(first_event_timeout_s=1.0, gap_timeout_s=1.0)

    def __init__(self, *events: dict[str, Any] | bytes) -> None:
        """One chunk an event; bytes are sent as they are."""
        self.exchange = FakeExchange(
            [
                event if isinstance(event, bytes) else b"data: " + json.dumps(event).encode() + b"\n\n"
                for event in events
            ]
        )

    async def open(self, *_: Any, **__: Any) -> FakeExchange:
        return self.exchange


async def heard(*events: dict[str, Any] | bytes) -> FakeExchange:
    transport: Any = FakeTransport(*events)
    reader = ChatReader(transport, Head("1", 1, "m"), is_legacy=False)
    async for _ in read_stream(transport, a_call(is_stream=True), "/messages", reader):
        pass
    assert transport.exchange.is_closed
    return transport.exchange  # type: ignore[no-any-return]  # made above


@pytest.mark.fault("S1")
@pytest.mark.parametrize(
    ("events", "spans"),
    [
        ([START, TEXT, STOP], 2),
        ([START, PING, PING, TEXT, PING, STOP], 5),
        ([PING, PING, START, STOP], 1),
        ([START, b": still here\n\n", b"data: {oops\n\n", STOP], 1),
    ],
    ids=["events", "pings once it has begun", "pings before", "comments and nonsense"],
)
async def test_what_shows_that_the_upstream_is_at_work_moves_the_deadline(
    events: list[dict[str, Any] | bytes], spans: int
) -> None:
    exchange = await heard(*events)

    assert exchange.spans == spans
