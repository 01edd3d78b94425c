"""What happens to HTTP before a handler sees it: the deadlines and bounds that uvicorn's protocol does not have.

No timer is set per request: each connection has one, which looks what is due when it fires and sets itself anew.
"""

import asyncio
import ipaddress
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import chain
from typing import Any

import httptools
import uvicorn
from litestar import Litestar
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from gateway.api.cors import Cors
from gateway.api.methods import Methods
from gateway.api.render import render
from gateway.config import Server
from gateway.errors import GatewayError, InvalidRequestError, RequestTimeoutError, UnavailableError

_LINGER_S = 2.0
"""Closing on unread bytes resets the connection, and the client never sees why: so long it may finish sending."""
_MAX_HEADERS = 128
_UNSENT_BYTES = 65_536
"""What the kernel takes beyond what is on its way to the client. Without a bound it is megabytes."""
_ONCE = frozenset(
    {b"host", b"authorization", b"x-api-key", b"content-type", b"content-encoding", b"idempotency-key"}
)
"""Of two of these, somebody on the way might judge by the one and somebody else by the other."""


def server_for(
    app: Litestar,
    server: Server,
    *,
    new_id: Callable[[], str],
    on_refusal: Callable[[str], None],
    origins: Sequence[str] = (),
) -> uvicorn.Server:
    """uvicorn needs half of granian's CPU at one connection and 0.72 of it on streams, and two fit in one process.

    `on_refusal` is told the code of each error that is answered here; `origins` are those of `server.cors_origins`.
    """
    door = Door(server, new_id, on_refusal)
    methods = Methods(app, new_id, body_timeout_s=server.body_timeout_s)
    return _Server(
        uvicorn.Config(
            Cors(methods, origins, new_id) if origins else methods,
            interface="asgi3",
            loop="none",
            http=partial(Connection, door),  # type: ignore[arg-type]  # uvicorn only calls it
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=round(server.drain_s),
            backlog=4096,
        )
    )


class _Server(uvicorn.Server):
    def capture_signals(self) -> nullcontext[None]:  # type: ignore[override]  # also a context manager
        """Leaves signals alone: they are for both servers of the process."""
        return nullcontext()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        for sock in sockets or ():
            # What is accepted inherits it.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
        await super().startup(sockets)


class Door:
    """What the connections of one listener share: its bounds, and who is inside."""

    def __init__(self, server: Server, new_id: Callable[[], str], on_refusal: Callable[[str], None]) -> None:
        self.server = server
        self.new_id = new_id
        self.on_refusal = on_refusal
        self._open = 0
        self._by_client: Counter[str] = Counter()

    def enter(self, client: str) -> bool:
        """Every call wants a `leave`, also when it says no."""
        self._open += 1
        self._by_client[client] += 1
        server = self.server
        return not (
            0 < server.max_connections < self._open
            or 0 < server.max_connections_per_client < self._by_client[client]
        )

    def leave(self, client: str) -> None:
        self._open -= 1
        self._by_client[client] -= 1
        if not self._by_client[client]:
            del self._by_client[client]


class Connection(HttpToolsProtocol):
    def __init__(self, door: Door, **of_uvicorn: Any) -> None:
        super().__init__(**of_uvicorn)
        self._door = door
        self._server = door.server
        self._is_over = False
        """What still arrives is not read."""
        self._is_in_body = False
        self._untold_bytes = 0
        """Since the parser last told of a whole head, a piece of a body or a message's end."""
        self._head_since: float | None = None
        self._idle_since = 0.0
        self._stalled_since: float | None = None
        self._over_since: float | None = None
        self._overtaken: list[RequestResponseCycle] = []
        """Pipelined requests that others came after; uvicorn tells only the last that the client has left."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self._name = _client_name(self.client)
        self._head_since = self.loop.time()
        self._timer = self.loop.call_later(self._server.header_timeout_s, self._look)
        if not self._door.enter(self._name):
            self._is_over = True
            error = UnavailableError("Too many connections are open; try again shortly.", retry_after_s=1)
            self._tell(error)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._door.leave(self._name)
        for cycle in self._overtaken:
            _tell_gone(cycle)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        while not self._is_over:
            self._untold_bytes += len(data)
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as exc:
                data = self._without_upgrade(data[exc.args[0] :])
            except httptools.HttpParserError as exc:
                self._refuse(_error_of(exc))
            else:
                break
        if self._untold_bytes and not self._is_over:
            self._wait_for_more()

    def _wait_for_more(self) -> None:
        """What arrived is a part of a head, or of what surrounds the pieces of a chunked body."""
        if self._untold_bytes > self._server.max_header_bytes or len(self.headers or ()) > _MAX_HEADERS:
            self._refuse(self._too_large())
        elif self._head_since is None and not self._is_in_body:
            self._head_since = self.loop.time()
            self._look_by(self._head_since + self._server.header_timeout_s)

    def on_headers_complete(self) -> None:
        self._untold_bytes = 0
        self._head_since = None
        if self.parser.should_upgrade():
            return  # it comes again, without the upgrade
        self._check_head()
        earlier = self.cycle
        super().on_headers_complete()
        self._is_in_body = True
        self.headers = []  # trailers must not join the headers that were checked
        if self.pipeline:
            self._overtaken = [cycle for cycle in self._overtaken if not cycle.response_complete]
            self._overtaken.append(earlier)
        if self.expect_100_continue:
            # Who is answered before the body may still send it or not: only once it is here can the next one follow.
            self._keeps_alive, self.cycle.keep_alive = self.cycle.keep_alive, False

    def on_body(self, body: bytes) -> None:
        self._untold_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._untold_bytes = 0
        if not self._is_in_body:
            return
        self._is_in_body = False
        super().on_message_complete()
        if self.expect_100_continue and not self.cycle.response_started:
            self.cycle.keep_alive = self._keeps_alive

    def on_response_complete(self) -> None:
        """As uvicorn's, but without a timer for each request."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._idle_since = self.loop.time()
            if self._is_in_body:
                self._look_by(self._idle_since + self._server.body_timeout_s)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled_since = self.loop.time()
        self._look_by(self._stalled_since + self._server.write_stall_s)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stalled_since = None

    def _check_head(self) -> None:
        headers = self.headers
        size = len(self.url) + sum(map(len, chain.from_iterable(headers)))
        if size > self._server.max_header_bytes or len(headers) > _MAX_HEADERS:
            raise self._too_large()
        fields = dict(headers)
        if len(fields) != len(headers):
            _check_repeated(headers)
        if b"host" not in fields and self.parser.get_http_version() != "1.0":
            raise _wrong("Send a Host header")
        coding = fields.get(b"transfer-encoding")
        if coding is not None and (coding.lower() != b"chunked" or self.parser.get_http_version() == "1.0"):
            raise _wrong("Of transfer encodings, only `chunked` is understood")
        if self.url[:1] != b"/":
            self.url = _path_of(self.url)

    def _without_upgrade(self, rest: bytes) -> bytes:
        """The same request as if it did not offer another protocol, which parsers take for a request without body."""
        method = self.parser.get_method()
        if method == b"CONNECT" or self._unanswered():
            self._refuse(_wrong("This is no proxy, and protocols do not change on a connection in use"))
            return b""
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        lines = [method + b" " + self.url + b" HTTP/1.1"]
        lines += [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        return b"\r\n".join([*lines, b"", rest])

    def _too_large(self) -> InvalidRequestError:
        limit = self._server.max_header_bytes
        return InvalidRequestError(
            f"The headers are more than {_MAX_HEADERS} or larger than {limit} bytes.",
            status=431,
            code="headers_too_large",
        )

    def _refuse(self, error: GatewayError) -> None:
        """Nothing more is read. Answers that are due go out whole first, and take the place of this one."""
        self._is_over = True
        cycle = self._unanswered()
        if cycle and (self.pipeline or cycle.response_started or not self._is_in_body):
            cycle.keep_alive = False
            return
        if cycle:
            _tell_gone(cycle)
        if cycle or not self._is_in_body:
            self._tell(error)
        self.flow.resume_reading()
        self.transport.write_eof()
        self._over_since = self.loop.time()
        self._look_by(self._over_since + _LINGER_S)

    def _unanswered(self) -> RequestResponseCycle | None:
        """The latest request, if its answer is still due."""
        cycle: Any = self.cycle  # uvicorn says that it is never None, and begins with None
        return None if cycle is None or cycle.response_complete else cycle

    def _tell(self, error: GatewayError) -> None:
        self._door.on_refusal(error.code)
        status, headers, body = render(error, self._door.new_id())
        headers += [*self.server_state.default_headers, (b"connection", b"close")]
        lines = [name + b": " + value + b"\r\n" for name, value in headers]
        self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n", body]))

    def _look(self) -> None:
        due, act = self._due()
        if self.loop.time() >= due:
            act()
            due, act = self._due()
        self._timer = self.loop.call_at(due, self._look)

    def _look_by(self, when: float) -> None:
        if self._timer.when() > when:
            self._timer.cancel()
            self._timer = self.loop.call_at(when, self._look)

    def _due(self) -> tuple[float, Callable[[], None]]:
        """What is done to this connection if nothing else happens, and when."""
        now = self.loop.time()
        if self._over_since is not None:
            return self._over_since + _LINGER_S, self.transport.abort
        if self._stalled_since is None and self.transport.is_closing():
            self._stalled_since = now  # it waits for the client to take what is left
        if self._stalled_since is not None:
            return self._stalled_since + self._server.write_stall_s, self.transport.abort
        if self._head_since is not None:
            return self._head_since + self._server.header_timeout_s, self._give_up_head
        if self.cycle.response_complete:
            patience = self._server.body_timeout_s if self._is_in_body else self._server.keep_alive_s
            return self._idle_since + patience, self.transport.close
        return now + self._server.keep_alive_s, _nothing

    def _give_up_head(self) -> None:
        self._head_since = None
        if self._untold_bytes:
            self._refuse(RequestTimeoutError("The request's headers did not arrive in time."))
        else:
            self.transport.close()


def _nothing() -> None:
    pass


def _tell_gone(cycle: RequestResponseCycle) -> None:
    cycle.disconnected = True
    cycle.message_event.set()


def _client_name(client: tuple[str, int] | None) -> str:
    if client is None or ":" not in client[0]:
        return client[0] if client else ""
    address = ipaddress.IPv6Address(client[0])
    # A /64 is one customer's, who has all of its addresses. An IPv4 client on a socket for both is itself.
    return str(address.ipv4_mapped or int(address) >> 64)


def _check_repeated(headers: list[tuple[bytes, bytes]]) -> None:
    names = [name for name, _ in headers]
    for name in _ONCE.intersection(names):
        if names.count(name) > 1:
            raise _wrong(f"Send the header {name.decode()} once")


def _path_of(target: bytes) -> bytes:
    """Of the form that is meant for proxies, `http://host/path?query`: which host it names does not matter here."""
    if target == b"*":
        return target
    url = httptools.parse_url(target)
    return (url.path or b"/") + (b"?" + url.query if url.query else b"")


def _wrong(what: str) -> InvalidRequestError:
    return InvalidRequestError(f"{what}.", code="invalid_header")


def _error_of(exc: httptools.HttpParserError) -> GatewayError:
    cause = exc.__context__
    if isinstance(cause, GatewayError):
        return cause
    if isinstance(exc, httptools.HttpParserCallbackError) and not isinstance(
        cause, httptools.HttpParserInvalidURLError
    ):
        raise exc
    return InvalidRequestError(f"This is not a valid HTTP/1.1 request: {exc}.", code="invalid_http")
