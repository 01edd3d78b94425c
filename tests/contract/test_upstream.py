"""What every dialect owes the gateway: the truth about an answer, and about every way in which there was none."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from email.utils import formatdate
from typing import Any

import aiohttp
import msgspec
import pytest

from gateway.clock import SystemClock
from gateway.config import Upstream as UpstreamConfig
from gateway.upstreams.anthropic.upstream import AnthropicUpstream
from gateway.upstreams.contract import Event, Reply, Upstream, UpstreamCall, UpstreamError
from gateway.upstreams.openai import OpenAIUpstream
from gateway.upstreams.transport import MAX_HEADER_BYTES, Transport
from gateway.values import Usage
from tests.fixtures.scripted_upstream import Attempt, ScriptedUpstream, Wire
from tests.fixtures.upstream_calls import a_call, read, spoken

KEY = "sk-CANARY-1"
Connect = Callable[..., Upstream]
MakeUpstream = Callable[..., Awaitable[ScriptedUpstream]]


class InMessages(AnthropicUpstream):
    """Called with messages as they are, not with chats."""

    async def complete(self, call: UpstreamCall) -> Reply:
        return await super().complete(msgspec.structs.replace(call, form="messages"))

    def stream(self, call: UpstreamCall) -> AsyncGenerator[list[Event], None]:
        return super().stream(msgspec.structs.replace(call, form="messages"))


@pytest.fixture(
    params=[
        pytest.param(OpenAIUpstream, id="openai"),
        pytest.param(AnthropicUpstream, id="anthropic"),
        pytest.param(InMessages, id="messages"),
    ]
)
def implementation(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
async def connect(implementation: Any, upstream: ScriptedUpstream) -> AsyncIterator[Connect]:
    """Makes the implementation under test, set up for the scripted server."""
    made: list[Upstream] = []

    def connect(settings: UpstreamConfig | None = None, **changes: Any) -> Upstream:
        settings = settings or upstream.settings(**changes)
        made.append(implementation(settings, name="up", api_key=KEY, clock=SystemClock()))
        return made[-1]

    yield connect
    for each in made:
        await each.close()


@pytest.fixture
def client(connect: Connect) -> Upstream:
    return connect()


async def failure(attempt: Awaitable[Any]) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await attempt
    return caught.value


async def test_a_whole_answer_comes_with_its_usage(upstream: ScriptedUpstream, client: Upstream) -> None:
    upstream.answers("Paris, of course", prompt_tokens=7, output_tokens=3)

    reply = await client.complete(a_call())

    assert reply.text == "Paris, of course"
    assert reply.usage == Usage(input=7, output=3)
    assert reply.finish_reasons == ("stop",)
    assert "Paris, of course" in json.dumps(reply.body)


async def test_a_stream_comes_event_by_event_and_ends_without_its_end_mark(
    upstream: ScriptedUpstream, client: Upstream
) -> None:
    upstream.answers("Pa", "ris", prompt_tokens=7)

    events = await read(client)

    assert [event.text for event in events if event.text] == ["Pa", "ris"]
    assert [event.finish_reason for event in events if event.finish_reason] == ["stop"]
    assert [event.usage for event in events if event.usage] == [Usage(input=7, output=2)]
    assert events[-1].usage is not None or events[-1].finish_reason is not None
    assert all(json.loads(event.data) and b"\n" not in event.data for event in events)


async def test_an_event_is_handed_on_before_the_next_one_exists(
    upstream: ScriptedUpstream, client: Upstream
) -> None:
    gate = asyncio.Event()
    upstream.answers("Pa", "ris", hold={1: gate})
    stream = spoken(client.stream(a_call(is_stream=True)))

    first = await anext(stream)

    assert first.text == "Pa"
    gate.set()
    assert (await anext(stream)).text == "ris"


@pytest.mark.parametrize("implementation", [OpenAIUpstream, InMessages])
async def test_the_upstream_sees_the_body_as_given(upstream: ScriptedUpstream, client: Upstream) -> None:
    await client.complete(a_call(temperature=0.5, top_k=3, user="ü"))

    body = (await upstream.attempt(0)).body
    assert body == a_call(temperature=0.5, top_k=3, user="ü").body


@pytest.mark.fault("A12")
async def test_the_upstream_sees_our_own_headers_and_no_others(
    upstream: ScriptedUpstream, client: Upstream
) -> None:
    own = {"authorization": f"Bearer {KEY}"}
    if isinstance(client, AnthropicUpstream):
        own = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}

    await client.complete(a_call())

    headers = dict((await upstream.attempt(0)).headers)
    assert headers.pop("user-agent").startswith("weighbridge/")
    assert int(headers.pop("content-length")) > 0
    assert headers == {
        "host": f"127.0.0.1:{upstream.port}",
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "accept-encoding": "identity",
        **own,
    }


@pytest.mark.fault("A12")
async def test_a_cookie_is_not_kept(upstream: ScriptedUpstream, client: Upstream) -> None:
    upstream.replies(200, _reply(), set_cookie="session=1; Path=/")
    await client.complete(a_call())

    await client.complete(a_call())

    assert "cookie" not in (await upstream.attempt(1)).headers


@pytest.mark.fault("A10")
async def test_a_redirect_is_not_followed(
    upstream: ScriptedUpstream, client: Upstream, make_upstream: MakeUpstream
) -> None:
    canary = await make_upstream()
    upstream.redirects_to(f"{canary.url}/chat/completions")

    error = await failure(client.complete(a_call()))

    assert (error.kind, error.may_have_charged) == ("invalid", False)
    assert canary.connections == 0


@pytest.mark.fault("A10")
async def test_a_proxy_in_the_environment_is_ignored(
    client: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    reply = await client.complete(a_call())

    assert reply.text == "Paris"


async def test_a_request_larger_than_a_mebibyte_goes_through(
    upstream: ScriptedUpstream, client: Upstream
) -> None:
    await client.complete(a_call(messages=[{"role": "user", "content": "x" * 3_000_000}]))

    assert len((await upstream.attempt(0)).raw) > 3_000_000


async def test_calls_one_after_another_share_a_connection(
    upstream: ScriptedUpstream, client: Upstream
) -> None:
    await client.complete(a_call())
    await read(client)
    await read(client)
    await client.complete(a_call())

    assert upstream.connections == 1


async def test_what_is_sent_does_not_wait_for_more(client: Upstream) -> None:
    await client.complete(a_call())

    transport: Transport = client._transport  # type: ignore[attr-defined] # the socket is nowhere else to be seen
    [[(protocol, _)]] = transport._connected().connector._conns.values()  # type: ignore[union-attr] # likewise
    sock = protocol.transport.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.fault("S2")
@pytest.mark.parametrize(
    ("status", "kind", "may_have_charged"),
    [
        (400, "refused", False),
        (401, "refused", False),
        (403, "refused", False),
        (404, "refused", False),
        (408, "refused", False),
        (422, "refused", False),
        (429, "busy", False),
        (503, "busy", False),
        (500, "refused", True),
        (502, "refused", True),
        (504, "refused", True),
        (529, "busy", False),
        (202, "invalid", True),
        (302, "invalid", False),
    ],
)
@pytest.mark.parametrize("is_stream", [False, True])
async def test_an_error_status_is_told_by_kind_and_by_what_it_may_cost(
    upstream: ScriptedUpstream,
    client: Upstream,
    status: int,
    kind: str,
    may_have_charged: bool,
    is_stream: bool,
) -> None:
    upstream.refuses(status)

    error = await failure(read(client) if is_stream else client.complete(a_call()))

    assert (error.status, error.kind, error.may_have_charged) == (status, kind, may_have_charged)


@pytest.mark.fault("S2")
@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        ("0", 0),
        ("99999999999999999", 3600),
        ("-1", None),
        ("soon", None),
        ("inf", None),
        ("", None),
    ],
)
async def test_a_busy_server_may_say_when_to_come_back(
    upstream: ScriptedUpstream, client: Upstream, header: str, seconds: float | None
) -> None:
    upstream.refuses(429, retry_after=header)

    error = await failure(client.complete(a_call()))

    assert error.retry_after_s == seconds


async def test_a_busy_server_may_name_the_time_to_come_back(
    upstream: ScriptedUpstream, client: Upstream
) -> None:
    upstream.refuses(503, retry_after=formatdate(SystemClock().now_ms() / 1000 + 60, usegmt=True))

    error = await failure(client.complete(a_call()))

    assert error.retry_after_s == pytest.approx(60, abs=10)


async def test_a_date_in_the_past_means_now(upstream: ScriptedUpstream, client: Upstream) -> None:
    upstream.refuses(503, retry_after="Wed, 21 Oct 2015 07:28:00 GMT")

    error = await failure(client.complete(a_call()))

    assert error.retry_after_s == 0


@pytest.mark.parametrize("status", [400, 404, 413, 422])
async def test_an_upstream_that_blames_the_request_says_why(
    upstream: ScriptedUpstream, client: Upstream, status: int
) -> None:
    upstream.refuses(
        status, message="too long " * 1000, code="context_length_exceeded", param="messages", retry_after="1"
    )

    error = await failure(client.complete(a_call()))

    assert error.caller_error is not None
    assert len(error.caller_error.pop("message")) == 1000
    knows_more = isinstance(client, OpenAIUpstream)
    assert error.caller_error == (
        {"code": "context_length_exceeded", "param": "messages"} if knows_more else {}
    )


@pytest.mark.fault("A17")
@pytest.mark.parametrize("status", [401, 403, 429, 500])
async def test_an_upstream_that_blames_us_is_not_quoted(
    upstream: ScriptedUpstream, client: Upstream, status: int
) -> None:
    upstream.refuses(status, message="Incorrect API key provided: sk-secret")

    error = await failure(client.complete(a_call()))

    assert error.caller_error is None
    assert "secret" not in str(error)


@pytest.mark.fault("A17")
@pytest.mark.parametrize(
    "body",
    [
        b"<html>host upstream-7.internal</html>",
        b"",
        b"[1]",
        b'{"error": "text"}',
        b'{"error": {"message": 5}}',
        b'{"error": {"message": "key sk-CANARY-1 may not"}}',
        b'{"error": {"message": "' + b"x" * 990 + b'sk-CANARY-1"}}',
        b'{"error": {"message": "bad", "code": "sk-CANARY-1"}}',
        b'{"error": {"message": "127.0.0.1 is too small for this"}}',
        b'{"error": {"message": "API key not valid. Please pass a valid API key."}}',
        b'{"error": {"message": "refused", "code": "invalid_api_key"}}',
        b'{"error": {"message": "' + b"x" * 70_000 + b'"}}',
        b"[" * 100_000,
    ],
    ids=[
        *("html", "empty", "list", "text", "number"),
        *("our key", "half of our key", "our key as code", "our host", "a key is wrong", "so says its code"),
        *("huge", "deep"),
    ],
)
async def test_only_a_plain_explanation_is_quoted(
    upstream: ScriptedUpstream, client: Upstream, body: bytes
) -> None:
    upstream.replies(400, body)

    error = await failure(client.complete(a_call()))

    assert (error.kind, error.status, error.caller_error) == ("refused", 400, None)


async def test_a_field_of_the_callers_that_is_called_api_key_may_be_spoken_of(
    upstream: ScriptedUpstream, client: Upstream
) -> None:
    upstream.refuses(400, message="Invalid schema for function 'login': api_key has no type.")

    error = await failure(client.complete(a_call()))

    assert error.caller_error is not None


async def test_a_field_of_the_explanation_that_is_no_text_is_left_out(
    upstream: ScriptedUpstream, client: Upstream
) -> None:
    upstream.replies(400, b'{"error": {"message": "bad", "code": 400, "param": ["a"]}}')

    error = await failure(client.complete(a_call()))

    assert error.caller_error == {"message": "bad"}


@pytest.mark.fault("A17")
async def test_no_error_carries_our_key(upstream: ScriptedUpstream, client: Upstream) -> None:
    async def script(_attempt: Attempt, wire: Wire) -> None:
        await wire.send(b"HTTP/1.1 200 OK\r\nx: " + b"a" * 2 * MAX_HEADER_BYTES + b"\r\n\r\n")

    upstream.does(script)

    error = await failure(client.complete(a_call()))

    assert KEY not in repr(error)
    assert error.__cause__ is None


@pytest.mark.fault("S6")
@pytest.mark.parametrize("is_stream", [False, True])
async def test_an_encoding_not_asked_for_is_refused(
    upstream: ScriptedUpstream, client: Upstream, is_stream: bool
) -> None:
    upstream.replies(200, b"\x1f\x8b\x08", content_encoding="gzip")

    error = await failure(read(client) if is_stream else client.complete(a_call()))

    assert (error.kind, error.may_have_charged) == ("invalid", True)


@pytest.mark.fault("S6")
@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_reply_beyond_the_limit_is_refused(
    upstream: ScriptedUpstream, connect: Connect, is_stream: bool
) -> None:
    upstream.answers(*["word " * 50] * 40)
    client = connect(max_reply_bytes=5000)

    error = await failure(read(client) if is_stream else client.complete(a_call()))

    assert (error.kind, error.may_have_charged) == ("invalid", True)


@pytest.mark.fault("S6")
@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nx-a: " + b"a" * 300_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x-a: a\r\n" * 5000 + b"\r\n",
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
    ],
    ids=["a huge header", "many headers", "not HTTP"],
)
async def test_a_head_that_no_honest_server_sends_is_refused(
    upstream: ScriptedUpstream, client: Upstream, head: bytes
) -> None:
    async def script(_attempt: Attempt, wire: Wire) -> None:
        await wire.send(head)

    upstream.does(script)

    error = await failure(client.complete(a_call()))

    assert (error.kind, error.may_have_charged) == ("invalid", True)


@pytest.mark.fault("S6")
@pytest.mark.parametrize("piece", [b"data: x", b"data: x\n"], ids=["line", "event"])
async def test_a_line_or_event_without_end_is_given_up(
    upstream: ScriptedUpstream, client: Upstream, piece: bytes
) -> None:
    async def script(_attempt: Attempt, wire: Wire) -> None:
        await wire.begin_stream()
        while True:
            await wire.chunk(piece * (100_000 // len(piece)))

    upstream.does(script)

    error = await failure(read(client))

    assert (error.kind, error.may_have_charged) == ("invalid", True)


@pytest.mark.fault("S3")
@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_refused_connection_cost_nothing(
    upstream: ScriptedUpstream, client: Upstream, is_stream: bool
) -> None:
    await upstream.stop()

    error = await failure(read(client) if is_stream else client.complete(a_call()))

    assert (error.kind, error.may_have_charged) == ("connect", False)


@pytest.mark.fault("S3")
async def test_a_server_that_does_not_accept_cost_nothing(
    connect: Connect, upstream: ScriptedUpstream
) -> None:
    with socket.socket() as deaf, socket.socket() as first, socket.socket() as second:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/v1"
        client = connect(upstream.settings(base_url=url, connect_timeout_s=0.05))

        error = await failure(client.complete(a_call()))

    assert (error.kind, error.may_have_charged) == ("connect", False)


@pytest.mark.fault("S3")
async def test_a_server_that_speaks_no_tls_cost_nothing(connect: Connect, upstream: ScriptedUpstream) -> None:
    client = connect(upstream.settings(base_url=upstream.url.replace("http:", "https:")))

    error = await failure(client.complete(a_call()))

    assert (error.kind, error.may_have_charged) == ("connect", False)


@pytest.mark.fault("S3")
@pytest.mark.parametrize(
    "exc",
    [
        aiohttp.ClientConnectorDNSError(None, OSError(-2, "unknown")),  # type: ignore[arg-type] # only its class counts
        aiohttp.ClientConnectorCertificateError(None, ssl.CertificateError("self-signed")),  # type: ignore[arg-type] # likewise
    ],
    ids=["dns", "certificate"],
)
async def test_an_unknown_host_or_a_false_certificate_cost_nothing(
    upstream: ScriptedUpstream, exc: aiohttp.ClientError
) -> None:
    transport = Transport(upstream.settings(), name="up", api_key=KEY, headers={}, clock=SystemClock())

    error = transport.translate(exc, was_sent=False)

    assert (error.kind, error.may_have_charged) == ("connect", False)


@pytest.mark.fault("S1")
async def test_a_request_out_of_time_is_not_sent(upstream: ScriptedUpstream, client: Upstream) -> None:
    error = await failure(client.complete(a_call(seconds=0)))

    assert (error.kind, error.may_have_charged) == ("timeout", False)
    assert upstream.attempts == []


@pytest.mark.fault("S1")
@pytest.mark.parametrize("limit", ["total_timeout_s", "first_event_timeout_s"])
async def test_a_stream_that_does_not_begin_is_given_up(
    upstream: ScriptedUpstream, connect: Connect, limit: str
) -> None:
    upstream.hangs()
    client = connect(**{limit: 0.05})

    error = await failure(read(client))

    assert (error.kind, error.may_have_charged) == ("timeout", True)
    await (await upstream.attempt(0)).client_closed.wait()


@pytest.mark.fault("S1")
@pytest.mark.parametrize("limit", ["total_timeout_s", "first_event_timeout_s"])
async def test_the_head_of_a_stream_is_not_its_beginning(
    upstream: ScriptedUpstream, connect: Connect, limit: str
) -> None:
    upstream.hangs(after=0)
    client = connect(**{limit: 0.05})

    error = await failure(read(client))

    assert (error.kind, error.may_have_charged) == ("timeout", True)


@pytest.mark.fault("S1")
@pytest.mark.parametrize("limit", ["total_timeout_s", "first_event_timeout_s"])
async def test_a_drip_of_bytes_does_not_count_as_an_event(
    upstream: ScriptedUpstream, connect: Connect, limit: str
) -> None:
    upstream.drips()
    client = connect(**{limit: 0.05}, gap_timeout_s=0.05)

    error = await failure(read(client))

    assert error.kind == "timeout"
    await (await upstream.attempt(0)).client_closed.wait()


@pytest.mark.fault("S1")
@pytest.mark.parametrize("limit", ["gap_timeout_s", "total_timeout_s"])
async def test_a_stream_that_falls_silent_is_given_up(
    upstream: ScriptedUpstream, connect: Connect, limit: str
) -> None:
    upstream.hangs(after=1)
    client = connect(**{limit: 0.5})
    stream = spoken(client.stream(a_call(is_stream=True)))
    first = await anext(stream)

    error = await failure(anext(stream))

    assert first.text == "word0 "
    assert (error.kind, error.may_have_charged) == ("timeout", True)


@pytest.mark.fault("S1")
async def test_a_whole_answer_that_does_not_come_is_given_up(
    upstream: ScriptedUpstream, connect: Connect
) -> None:
    upstream.hangs()
    client = connect(total_timeout_s=0.5)

    error = await failure(client.complete(a_call()))

    assert (error.kind, error.may_have_charged) == ("timeout", True)


@pytest.mark.fault("S1")
async def test_the_requests_deadline_counts_where_it_is_the_nearer(
    upstream: ScriptedUpstream, client: Upstream
) -> None:
    upstream.hangs()

    error = await failure(client.complete(a_call(seconds=0.05)))

    assert error.kind == "timeout"


@pytest.mark.fault("S7")
async def test_a_slow_reader_is_not_the_upstreams_fault(upstream: ScriptedUpstream, connect: Connect) -> None:
    gate = asyncio.Event()
    upstream.answers("Pa", "ris", hold={1: gate})
    client = connect(gap_timeout_s=0.05)
    stream = spoken(client.stream(a_call(is_stream=True)))
    await anext(stream)
    gate.set()
    await (await upstream.attempt(0)).ended.wait()

    await asyncio.sleep(0.1)  # the reader is busy with something else

    assert [event.text async for event in stream] == ["ris"]


@pytest.mark.fault("S1")
async def test_a_slow_reader_does_not_stretch_the_total(upstream: ScriptedUpstream, connect: Connect) -> None:
    gate = asyncio.Event()
    upstream.answers("Pa", "ris", hold={1: gate})
    client = connect(total_timeout_s=0.2)
    stream = spoken(client.stream(a_call(is_stream=True)))
    await anext(stream)
    gate.set()
    await (await upstream.attempt(0)).ended.wait()

    await asyncio.sleep(0.2)  # the reader is busy with something else
    error = await failure(anext(stream))

    assert error.kind == "timeout"


@pytest.mark.fault("M7")
@pytest.mark.parametrize("how", ["reset", "close", "mid_chunk", "mid_character"])
async def test_a_stream_that_breaks_off_is_interrupted(
    upstream: ScriptedUpstream, client: Upstream, how: Any
) -> None:
    upstream.breaks_off(how, after=2)
    stream = spoken(client.stream(a_call(is_stream=True)))

    texts = [(await anext(stream)).text, (await anext(stream)).text]
    error = await failure(anext(stream))

    assert (error.kind, error.may_have_charged) == ("interrupted", True)
    assert texts == ["word0 ", "word1 "]


@pytest.mark.fault("M8")
@pytest.mark.parametrize("after", [0, 1])
async def test_a_stream_that_ends_without_its_mark_is_interrupted(
    upstream: ScriptedUpstream, client: Upstream, after: int
) -> None:
    upstream.breaks_off("no_done", after=after)

    error = await failure(read(client))

    assert (error.kind, error.may_have_charged) == ("interrupted", True)


@pytest.mark.fault("M7")
@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{"choices": [',
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{}",
    ],
    ids=["before the head", "in the head", "short of its length", "in a chunk"],
)
async def test_a_whole_answer_that_breaks_off_is_interrupted(
    upstream: ScriptedUpstream, client: Upstream, reply: bytes
) -> None:
    async def script(_attempt: Attempt, wire: Wire) -> None:
        await wire.send(reply)
        wire.close()

    upstream.does(script)

    error = await failure(client.complete(a_call()))

    assert (error.kind, error.may_have_charged) == ("interrupted", True)


@pytest.mark.fault("M7")
async def test_a_body_that_breaks_the_framing_is_not_waited_for(
    upstream: ScriptedUpstream, client: Upstream
) -> None:
    async def script(_attempt: Attempt, wire: Wire) -> None:
        await wire.begin_stream()
        await wire.send(b"zz\r\nnot a chunk\r\n")
        await wire.hang()

    upstream.does(script)

    error = await failure(read(client))

    assert error.kind in ("interrupted", "invalid")
    assert error.may_have_charged


@pytest.mark.parametrize("is_stream", [False, True])
async def test_an_error_inside_a_200_is_an_error(
    upstream: ScriptedUpstream, client: Upstream, is_stream: bool
) -> None:
    upstream.reports_error(message="sk-secret", code="server_error")

    error = await failure(read(client) if is_stream else client.complete(a_call()))

    assert (error.kind, error.may_have_charged) == ("refused", True)
    assert "secret" not in str(error)


async def test_an_error_may_come_after_good_events(upstream: ScriptedUpstream, client: Upstream) -> None:
    upstream.reports_error(after=1)
    stream = spoken(client.stream(a_call(is_stream=True)))

    first = await anext(stream)
    error = await failure(anext(stream))

    assert first.text == "word0 "
    assert (error.kind, error.may_have_charged) == ("refused", True)


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_web_page_is_not_an_answer(
    upstream: ScriptedUpstream, client: Upstream, is_stream: bool
) -> None:
    upstream.replies(200, b"<html>Sign in</html>", content_type="text/html")

    error = await failure(read(client) if is_stream else client.complete(a_call()))

    assert (error.kind, error.may_have_charged) == ("invalid", True)


@pytest.mark.fault("M5")
async def test_closing_a_stream_closes_the_connection(upstream: ScriptedUpstream, client: Upstream) -> None:
    upstream.hangs(after=1)
    stream = spoken(client.stream(a_call(is_stream=True)))
    await anext(stream)

    await stream.aclose()  # type: ignore[attr-defined] # the contract promises an iterator that can be closed

    attempt = await upstream.attempt(0)
    await asyncio.wait_for(attempt.client_closed.wait(), 0.25)


@pytest.mark.fault("M5")
@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("after", [None, 0, 1])
async def test_cancelling_a_call_closes_the_connection(
    upstream: ScriptedUpstream, client: Upstream, is_stream: bool, after: int | None
) -> None:
    upstream.hangs(after=after)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(read(client) if is_stream else client.complete(a_call()))  # type: ignore[arg-type]
        attempt = await upstream.attempt(0)

        task.cancel()

        await asyncio.wait_for(attempt.client_closed.wait(), 0.25)


async def test_after_a_call_was_cancelled_the_next_gets_its_own_answer(
    upstream: ScriptedUpstream, client: Upstream
) -> None:
    upstream.hangs(times=1)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(client.complete(a_call()))
        await upstream.attempt(0)
        task.cancel()
    upstream.answers("Rome")

    reply = await client.complete(a_call())

    assert reply.text == "Rome"


async def test_a_call_that_finds_every_connection_taken_is_told_that_it_is_busy(
    upstream: ScriptedUpstream, connect: Connect
) -> None:
    upstream.hangs(after=1)
    client = connect(max_connections=1, connect_timeout_s=0.05)
    holder = spoken(client.stream(a_call(is_stream=True)))
    await anext(holder)

    error = await failure(client.complete(a_call()))

    assert (error.kind, error.may_have_charged) == ("busy", False)
    await holder.aclose()  # type: ignore[attr-defined] # the contract promises an iterator that can be closed


async def test_a_place_given_back_is_there_for_the_next(upstream: ScriptedUpstream, connect: Connect) -> None:
    upstream.hangs(after=1, times=1)
    client = connect(max_connections=1)
    holder = spoken(client.stream(a_call(is_stream=True)))
    await anext(holder)
    await holder.aclose()  # type: ignore[attr-defined] # the contract promises an iterator that can be closed

    reply = await client.complete(a_call())

    assert reply.text == "Paris"


async def test_a_probe_tells_whether_the_server_answers(upstream: ScriptedUpstream, client: Upstream) -> None:
    answers = await client.probe(1.0)
    upstream.probe_status = 500
    fails = await client.probe(1.0)
    await upstream.stop()
    is_gone = await client.probe(1.0)

    assert (answers, fails, is_gone) == (True, False, False)
    assert upstream.attempts == []


def _reply() -> bytes:
    """In every dialect."""
    message = {"role": "assistant", "content": "Paris"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return json.dumps({"choices": [choice], "content": [{"type": "text", "text": "Paris"}]}).encode()
