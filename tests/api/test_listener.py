"""What the listener does with heads, connections and clients before a handler is asked, over raw sockets."""

import asyncio
import json
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from itertools import product

import pytest

from gateway.values import Entry
from tests.fixtures.gateway import MakeGateway, RunningGateway
from tests.fixtures.raw_http import connected, request
from tests.fixtures.scripted_upstream import Attempt, ScriptedUpstream, Wire

CHAT = "/v1/chat/completions"
HURRIED = "server: {port: 0, admin_port: 0, header_timeout_s: 0.2}"


def chat(
    gateway: RunningGateway, *, content: str = "Hello", **changes: object
) -> tuple[dict[str, str], bytes]:
    asked = {"model": "small", "messages": [{"role": "user", "content": content}], **changes}
    headers = {"authorization": f"Bearer {gateway.key}", "content-type": "application/json"}
    return headers, json.dumps(asked).encode()


@pytest.mark.fault("S8")
@pytest.mark.parametrize("start", [b"G", b"\r\n", b"GET /v1/models HTTP/1.1\r\nhost: x\r\nx-slow: "])
async def test_a_head_that_is_not_finished_in_time_gets_408(make_gateway: MakeGateway, start: bytes) -> None:
    gateway = await make_gateway(HURRIED)

    async with connected(gateway.url) as raw:
        raw.send(start)
        reply = await raw.reply()

        assert (reply.status, reply.error["code"]) == (408, "request_timeout")
        assert reply.headers["connection"] == "close"
        assert await raw.rest() == b""


@pytest.mark.fault("S8")
async def test_a_connection_that_sends_nothing_is_closed_without_a_word(make_gateway: MakeGateway) -> None:
    gateway = await make_gateway(HURRIED)

    async with connected(gateway.url) as raw:
        assert await raw.rest() == b""


@pytest.mark.fault("S8")
async def test_a_later_head_on_a_kept_connection_has_the_same_time(make_gateway: MakeGateway) -> None:
    gateway = await make_gateway(HURRIED)

    async with connected(gateway.url) as raw, connected(gateway.url) as lazy:
        raw.send(request("GET", "/healthz"))
        first = await raw.reply()
        lazy.send(b"GET")
        assert (await lazy.reply()).status == 408  # by now the kept connection has been idle for longer
        raw.send(request("GET", "/healthz"))
        second = await raw.reply()
        raw.send(b"GET /healthz HT")
        third = await raw.reply()

    assert (first.status, second.status, third.status) == (200, 200, 408)


@pytest.mark.fault("S8")
async def test_an_idle_connection_is_closed_after_its_time(make_gateway: MakeGateway) -> None:
    gateway = await make_gateway("server: {port: 0, admin_port: 0, keep_alive_s: 0.2, header_timeout_s: 0.2}")

    async with connected(gateway.url) as raw:
        raw.send(request("GET", "/healthz"))
        reply = await raw.reply()

        assert reply.status == 200
        assert await raw.rest() == b""


@pytest.mark.fault("S8")
async def test_a_request_that_waits_for_its_upstream_is_not_idle(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await make_gateway(
        "server: {port: 0, admin_port: 0, keep_alive_s: 0.1, header_timeout_s: 0.2, body_timeout_s: 0.1}"
    )
    gate = asyncio.Event()
    upstream.answers("Paris", hold={0: gate})

    async with connected(gateway.url) as raw, connected(gateway.url) as lazy:
        raw.send(request("POST", CHAT, *chat(gateway)))
        await upstream.attempt(0)
        lazy.send(b"GET")
        await lazy.reply()  # after all three deadlines
        gate.set()
        reply = await raw.reply()

    assert reply.status == 200


@pytest.mark.fault("S8")
async def test_two_hundred_lazy_connections_do_not_keep_an_honest_client_waiting(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Paris")

    async with AsyncExitStack() as stack:
        for number in range(200):
            lazy = await stack.enter_async_context(connected(gateway.url))
            if number % 2:
                lazy.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n")
            else:
                lazy.send(request("POST", CHAT, {"content-length": "1000"}), b"{")
        reply = await gateway.client().chat.completions.create(
            model="small", messages=[{"role": "user", "content": "Capital of France?"}]
        )

    assert reply.choices[0].message.content == "Paris"


@pytest.mark.fault("C6")
async def test_too_many_or_too_long_headers_get_431_everywhere(gateway: RunningGateway) -> None:
    long = b"x: " + b"a" * 100_000 + b"\r\n"
    many = b"".join(b"x-%d: 1\r\n" % number for number in range(5_000))
    paths = ["/v1/models", CHAT, "/healthz", "/admin/tenants", "/nothing"]

    for url, path, fields in product([gateway.url, gateway.admin_url], paths, [long, many]):
        async with connected(url) as raw:
            raw.send(b"POST %b HTTP/1.1\r\nhost: x\r\n" % path.encode(), fields, b"\r\n")
            reply = await raw.reply()

            assert (reply.status, reply.error["code"]) == (431, "headers_too_large")
            assert await raw.rest() == b""


@pytest.mark.fault("C6")
@pytest.mark.parametrize(
    ("start", "more"),
    [(b"GET /", b"a"), (b"GET / HTTP/1.1\r\nx: ", b"a"), (b"\r\n", b"\r\n")],
    ids=["path", "header", "lines"],
)
async def test_a_head_that_never_ends_is_refused_while_it_arrives(
    gateway: RunningGateway, start: bytes, more: bytes
) -> None:
    async with connected(gateway.url) as raw:
        raw.send(start, more * 80_000)
        reply = await raw.reply()

        assert (reply.status, reply.error["code"]) == (431, "headers_too_large")


@pytest.mark.fault("C6")
@pytest.mark.parametrize("start", [b"1;", b"0\r\nx: "], ids=["chunk extension", "trailer"])
async def test_what_surrounds_a_body_without_end_is_refused_while_it_arrives(
    gateway: RunningGateway, start: bytes
) -> None:
    headers, _ = chat(gateway)

    async with connected(gateway.url) as raw:
        raw.send(request("POST", CHAT, {**headers, "transfer-encoding": "chunked"}, start))
        raw.send(b"a" * 400_000)  # more than is read at once
        reply = await raw.reply()

        assert (reply.status, reply.error["code"]) == (431, "headers_too_large")
        assert await raw.rest() == b""


@pytest.mark.fault("C6")
async def test_what_is_wrong_behind_an_answer_gets_no_second_one(gateway: RunningGateway) -> None:
    async with connected(gateway.url) as raw:
        raw.send(request("POST", CHAT, {"transfer-encoding": "chunked"}, b"0\r\nx: "))
        reply = await raw.reply()
        raw.send(b"a" * 400_000)

        assert reply.status == 401
        assert await raw.rest() == b""


async def test_headers_at_the_limit_are_taken(gateway: RunningGateway) -> None:
    async with connected(gateway.url) as raw:
        raw.send(request("GET", "/healthz", {"x-long": "a" * 32_000}))
        long = await raw.reply()
        raw.send(request("GET", "/healthz", {f"x-{number}": "1" for number in range(127)}))
        many = await raw.reply()

    assert (long.status, many.status) == (200, 200)


async def test_a_probe_that_speaks_http_1_0_needs_no_host(gateway: RunningGateway) -> None:
    async with connected(gateway.url) as raw:
        raw.send(b"GET /healthz HTTP/1.0\r\n\r\n")
        reply = await raw.reply()

        assert reply.status == 200
        assert await raw.rest() == b""


def post(*fields: bytes, body: bytes = b"{}") -> bytes:
    return b"\r\n".join([b"POST /v1/chat/completions HTTP/1.1", b"host: x", *fields, b"", body])


AMBIGUOUS = {
    "length and encoding": post(b"content-length: 2", b"transfer-encoding: chunked", body=b"0\r\n\r\n"),
    "encoding and length": post(b"transfer-encoding: chunked", b"content-length: 5", body=b"0\r\n\r\n"),
    "two lengths": post(b"content-length: 2", b"content-length: 3"),
    "two equal lengths": post(b"content-length: 2", b"content-length: 2"),
    "a list of lengths": post(b"content-length: 2, 2"),
    "a signed length": post(b"content-length: +2"),
    "a length beyond 64 bits": post(b"content-length: 99999999999999999999999"),
    "a folded header": post(b"x: a", b"  b", b"content-length: 2"),
    "a space before the colon": post(b"content-length : 2"),
    "a bare LF": b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\ncontent-length: 2\r\n\r\n{}",
    "bare LFs": b"GET /v1/models HTTP/1.1\nhost: x\n\n",
    "a bare CR": post(b"x: a\rcontent-length: 2"),
    "a NUL": post(b"x: a\0b"),
    "an encoding beside chunked": post(b"transfer-encoding: gzip, chunked", body=b"0\r\n\r\n"),
    "an unknown encoding": post(b"transfer-encoding: xchunked", body=b"0\r\n\r\n"),
    "an encoding twice": post(b"transfer-encoding: chunked", b"transfer-encoding: identity"),
    "an encoding in 1.0": post(b"transfer-encoding: chunked").replace(b"HTTP/1.1", b"HTTP/1.0"),
    "a bare LF after a chunk's size": post(b"transfer-encoding: chunked", body=b"2\n{}\r\n0\r\n\r\n"),
    "a chunk's size that is none": post(b"transfer-encoding: chunked", body=b"zz\r\n{}\r\n0\r\n\r\n"),
    "no host": b"GET /v1/models HTTP/1.1\r\n\r\n",
    "two hosts": post(b"Host: y", b"content-length: 2"),
    "two keys": post(b"authorization: Bearer a", b"Authorization: Bearer b", b"content-length: 2"),
    "two content types": post(b"content-type: text/plain", b"content-type: application/json"),
    "HTTP 0.9": b"GET /v1/models\r\n\r\n",
    "HTTP 2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 32,
    "no such method": b"FOO / HTTP/1.1\r\nhost: x\r\n\r\n",
    "a byte that no path has": b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n",
    "a tunnel": b"CONNECT upstream:443 HTTP/1.1\r\nhost: x\r\n\r\n",
}


@pytest.mark.fault("A13")
async def test_what_can_be_read_in_two_ways_gets_400_and_nothing_after_it_is_read(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    for name, data in AMBIGUOUS.items():
        async with connected(gateway.url) as raw:
            raw.send(data, request("GET", "/healthz"))
            reply = await raw.reply()

            assert reply.status == 400, name
            assert reply.error["code"] in ("invalid_http", "invalid_header"), name
            assert reply.headers["connection"] == "close"
            assert await raw.rest() == b"", name
    assert upstream.attempts == []


async def test_refusals_at_the_door_are_counted(gateway: RunningGateway) -> None:
    async with connected(gateway.url) as raw:
        raw.send(b"GET /v1/models HTTP/1.1\r\n\r\n")
        await raw.reply()

    assert b'weighbridge_refusals_total{code="invalid_header"} 1.0' in gateway.app.metrics.render()


@pytest.mark.fault("A13")
async def test_a_chunk_extension_is_read_over(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    upstream.answers("Paris")
    headers, body = chat(gateway)
    chunks = b"%x;name=value\r\n%b\r\n0\r\n\r\n" % (len(body), body)

    async with connected(gateway.url) as raw:
        raw.send(request("POST", CHAT, {**headers, "transfer-encoding": "chunked"}, chunks))
        reply = await raw.reply()

    assert reply.status == 200


@pytest.mark.fault("A13")
async def test_a_trailer_does_not_count_as_a_header(gateway: RunningGateway) -> None:
    headers, body = chat(gateway)
    key = headers.pop("authorization").encode()
    chunks = b"%x\r\n%b\r\n0\r\nauthorization: %b\r\n\r\n" % (len(body), body, key)

    async with connected(gateway.url) as raw:
        raw.send(request("POST", CHAT, {**headers, "transfer-encoding": "chunked"}, chunks))
        reply = await raw.reply()

    assert (reply.status, reply.error["code"]) == (401, "invalid_api_key")


async def test_pipelined_requests_are_answered_in_their_order(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Paris")

    async with connected(gateway.url) as raw:
        raw.send(
            request("POST", CHAT, *chat(gateway)), request("GET", "/healthz"), request("GET", "/v1/models")
        )
        replies = [await raw.reply() for _ in range(3)]

    assert [reply.status for reply in replies] == [200, 200, 401]
    assert b"Paris" in replies[0].body


@pytest.mark.fault("A13")
async def test_garbage_behind_a_request_does_not_mix_with_its_answer(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    gate = asyncio.Event()
    upstream.answers("Pa", "ris", hold={1: gate})
    headers, body = chat(gateway, stream=True)

    async with connected(gateway.url) as raw:
        raw.send(request("POST", CHAT, headers, body))
        status, _ = await raw.head()
        raw.send(b"\0\0\0\0\r\n\r\n", request("GET", "/healthz"))
        gate.set()
        rest = await raw.rest()

    assert status == 200
    assert b"HTTP/1.1" not in rest
    assert rest.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


@pytest.mark.fault("M5")
async def test_a_pipelined_request_whose_client_leaves_is_cancelled_too(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Pa", "ris", hold={1: asyncio.Event()})
    headers, body = chat(gateway, stream=True)

    async with connected(gateway.url) as raw:
        raw.send(request("POST", CHAT, headers, body), request("GET", "/healthz"))
        await raw.head()
    attempt = await upstream.attempt(0)
    await attempt.client_closed.wait()

    assert (await one_entry(gateway)).outcome == "client_gone"


@pytest.mark.parametrize("offer", ["h2c", "websocket"])
async def test_an_offer_to_change_the_protocol_is_ignored_and_the_body_is_read(
    gateway: RunningGateway, upstream: ScriptedUpstream, offer: str
) -> None:
    """The JDK's HTTP client makes one with its first request."""
    upstream.answers("Paris")
    headers, body = chat(gateway)
    offered = {**headers, "connection": "Upgrade, HTTP2-Settings", "upgrade": offer, "http2-settings": "AAM"}

    async with connected(gateway.url) as raw:
        whole = request("POST", CHAT, offered, body)
        raw.send(whole[:-10])
        await raw.drain()
        raw.send(whole[-10:])
        first = await raw.reply()
        raw.send(request("POST", CHAT, headers, body))
        second = await raw.reply()

    assert (first.status, second.status) == (200, 200)


@pytest.mark.fault("S7")
async def test_a_client_that_does_not_read_is_cut_off_and_charged(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await make_gateway("server: {port: 0, admin_port: 0, write_stall_s: 0.2}")
    sent = 0

    async def endless(attempt: Attempt, wire: Wire) -> None:
        nonlocal sent
        await wire.begin_stream()
        choice = {"index": 0, "delta": {"content": "x" * 10_000}, "finish_reason": None}
        while True:
            await wire.event({"id": "c", "object": "chat.completion.chunk", "choices": [choice]})
            attempt.bill(completion=1)
            sent += 10_000
            await wire.drained()

    upstream.does(endless)
    headers, body = chat(gateway, stream=True)

    async with connected(gateway.url) as raw:
        raw.transport.pause_reading()
        raw.send(request("POST", CHAT, headers, body))
        attempt = await upstream.attempt(0)
        await attempt.client_closed.wait()

    entry = await one_entry(gateway)
    assert entry.outcome == "client_gone"
    assert entry.cost > 0
    assert sent < 20_000_000


@pytest.mark.fault("S7")
async def test_a_client_that_leaves_a_whole_reply_unread_is_cut_off(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await make_gateway("server: {port: 0, admin_port: 0, write_stall_s: 0.2}")
    upstream.answers("x" * 8_000_000)
    headers, body = chat(gateway)

    async with connected(gateway.url) as raw:
        raw.transport.pause_reading()
        raw.send(request("POST", CHAT, {**headers, "connection": "close"}, body))
        await until(lambda: connections(gateway) == 1)

        await until(lambda: connections(gateway) == 0)


async def until(claim: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not claim():
            await asyncio.sleep(0)


async def one_entry(gateway: RunningGateway) -> Entry:
    while not (entries := await gateway.entries()):
        pass
    return entries[0]


def connections(gateway: RunningGateway) -> int:
    return len(gateway.servers[0].server_state.connections)


@pytest.mark.fault("S8")
@pytest.mark.parametrize("bound", ["max_connections", "max_connections_per_client"])
async def test_connections_beyond_the_bound_are_told_so_and_closed(
    make_gateway: MakeGateway, bound: str
) -> None:
    gateway = await make_gateway(f"server: {{port: 0, admin_port: 0, {bound}: 2}}")

    async with connected(gateway.url) as first:
        first.send(request("GET", "/healthz"))
        await first.reply()
        async with connected(gateway.url) as second:
            second.send(request("GET", "/healthz"))
            await second.reply()
            async with connected(gateway.url) as third:
                refused = await third.reply()
                assert await third.rest() == b""
            first.send(request("GET", "/healthz"))
            still = await first.reply()
            async with connected(gateway.admin_url) as admin:
                admin.send(request("GET", "/healthz"))
                other = await admin.reply()
        await until(lambda: connections(gateway) == 1)
        async with connected(gateway.url) as fourth:
            fourth.send(request("GET", "/healthz"))
            taken = await fourth.reply()

    assert (refused.status, refused.error["code"]) == (503, "server_is_overloaded")
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["connection"] == "close"
    assert (still.status, other.status, taken.status) == (200, 200, 200)


async def test_small_writes_leave_at_once(gateway: RunningGateway) -> None:
    async with connected(gateway.url) as raw:
        raw.send(request("GET", "/healthz"))
        await raw.reply()
        (connection,) = gateway.servers[0].server_state.connections

        sock = connection.transport.get_extra_info("socket")

        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == 65_536
