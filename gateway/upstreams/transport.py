"""The only HTTP client of the request path: connections, deadlines, sizes, and failures translated to UpstreamError.

Knows no dialect. An upstream is not trusted: it is never followed elsewhere, unpacked, or waited for without a limit.
"""

import asyncio
import contextlib
import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import msgspec
from aiohttp.abc import AbstractStreamWriter
from yarl import URL

from gateway import __version__
from gateway.clock import Clock
from gateway.config import Upstream as UpstreamConfig
from gateway.fleet.contract import Endpoint
from gateway.upstreams.connecting import connector
from gateway.upstreams.contract import ENGINE_SECONDS, FailureKind, UpstreamCall, UpstreamError

MAX_HEADER_BYTES = 16_384
MAX_HEADERS = 128
MAX_ERROR_BODY_BYTES = 65_536
MAX_RETRY_AFTER_S = 3600.0
_PAGE_CONNECTIONS = 2
LINGER_S = 0.1
"""How long the end of a body may take once its last event is read: a little, so that the connection can be reused."""

OVERLOADED = 529
"""Anthropic's own, and by now others' too."""
BLAMES_REQUEST = frozenset({400, 404, 413, 422})
_BLAME_CAPS = (("message", 1000), ("param", 200), ("code", 100))
_OF_KEYS = re.compile(
    r"(invalid|incorrect|expired|missing)[ _-]api[ _-]?key|api[ _-]?key[ _-](is |has )?(not valid|invalid|expired|not found)",
    re.IGNORECASE,
)
"""Some refuse a wrong key with 400."""
NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding bytes that nobody has vouched for may raise."""

_FAILURES: tuple[tuple[type[Exception], FailureKind, str], ...] = (
    (aiohttp.ClientConnectorDNSError, "connect", "its host name cannot be resolved"),
    (aiohttp.ClientSSLError, "connect", "no TLS connection can be made"),
    (aiohttp.ClientConnectorError, "connect", "it refuses connections"),
    (aiohttp.ConnectionTimeoutError, "connect", "no connection was made in time"),
    (aiohttp.ServerFingerprintMismatch, "connect", "no TLS connection can be made"),
    (TimeoutError, "timeout", "it did not answer in time"),
    (aiohttp.ClientResponseError, "invalid", "its reply is not HTTP, or its headers are too large"),
    (aiohttp.ClientPayloadError, "interrupted", "it broke off its reply"),
    (aiohttp.ClientError, "interrupted", "it closed the connection"),
    (OSError, "interrupted", "it closed the connection"),
)
"""What the client raises, most specific first; the last two catch the rest."""


class Transport:
    """Connections to one endpoint of an upstream."""

    def __init__(
        self,
        config: UpstreamConfig,
        *,
        name: str,
        api_key: str,
        headers: Mapping[str, str],
        clock: Clock,
        endpoint: Endpoint | None = None,
    ) -> None:
        """`headers` are the dialect's own: how it wants the key, and what else it insists on. Without an `endpoint` it is
        the one at the configured `base_url`."""
        self.name = name
        self.config = config
        self.endpoint = endpoint or Endpoint(name=name, url=config.base_url)
        self.in_flight = 0
        self._clock = clock
        self._api_key = api_key
        self._origin = URL(self.endpoint.url).origin()
        self._names = _places(self.endpoint)
        self._encode = msgspec.json.Encoder().encode
        self._urls: dict[str, URL] = {}
        self._session: aiohttp.ClientSession | None = None
        self._pages: aiohttp.ClientSession | None = None
        self._is_closed = False
        # All that an upstream ever sees of us: nothing of the caller's is forwarded.
        self._headers = {
            "accept": "application/json, text/event-stream",
            "accept-encoding": "identity",
            "content-type": "application/json",
            "user-agent": f"weighbridge/{__version__}",
            **headers,
        }

    async def open(self, call: UpstreamCall, path: str, *, first_byte_s: float | None = None) -> "Exchange":
        """Send one billable call and wait for the head of its reply, a 200. `path` is below the base URL.

        The only function that opens a connection for work that costs money; the call carries its reservation.
        """
        left_s = min(self.config.total_timeout_s, call.deadline - self._clock.monotonic())
        if left_s <= 0:
            raise self.failure("timeout", "the request has no time left")
        body = _Body(self._encode(call.body))
        loop = asyncio.get_running_loop()
        begun = loop.time()
        wait_s = left_s if first_byte_s is None else min(left_s, first_byte_s)
        self.in_flight += 1
        try:
            async with asyncio.timeout_at(begun + wait_s):
                response = await self._connected().post(
                    self._url(path), data=body, headers=call.headers or None, allow_redirects=False
                )
        except (aiohttp.ClientError, OSError) as exc:
            self.in_flight -= 1
            raise self.translate(exc, was_sent=body.was_sent) from _without_key(exc)
        except BaseException:
            self.in_flight -= 1
            raise
        exchange = Exchange(self, response, loop, first_by=begun + wait_s, ends_at=begun + left_s)
        if response.status != 200 or "Content-Encoding" in response.headers:
            try:
                raise await self._refusal(response, exchange)
            finally:
                exchange.close()
        return exchange

    async def ask(self, call: UpstreamCall, path: str) -> Any:
        """A whole reply, decoded."""
        raw = await self.fetch(call, path)
        try:
            return msgspec.json.decode(raw)
        except NOT_JSON as exc:
            raise self.failure("invalid", "its reply is not JSON", may_have_charged=True) from exc

    async def fetch(self, call: UpstreamCall, path: str, *, max_bytes: int | None = None) -> bytes:
        """A whole reply as it came, of the configured size at most if nothing else is said."""
        exchange = await self.open(call, path)
        if call.aside is not None:
            call.aside.engine_seconds = exchange.header(ENGINE_SECONDS)
        try:
            exchange.limit = max_bytes or exchange.limit
            return await exchange.read_all()
        finally:
            exchange.close()

    async def answers(self, path: str, timeout_s: float) -> bool:
        """Whether the server answers a GET at all. Costs nothing, so it needs no reservation."""
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._connected().get(self._url(path), allow_redirects=False) as response,
            ):
                return response.status < 500
        except (aiohttp.ClientError, OSError):
            return False

    async def page(self, url: str, *, timeout_s: float, max_bytes: int) -> bytes | None:
        """As `EndpointHandle.page`."""
        if self._is_closed:
            return None
        headers = {"user-agent": self._headers["user-agent"], "accept-encoding": "identity"}
        if URL(url).origin() == self._origin:
            headers = {**self._headers, "accept": "*/*"}
        if self._pages is None:
            self._pages = aiohttp.ClientSession(
                connector=connector(self.endpoint, limit=_PAGE_CONNECTIONS),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
            )
        page = bytearray()
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._pages.get(url, headers=headers, allow_redirects=False) as response,
            ):
                if response.status != 200 or "Content-Encoding" in response.headers:
                    return None
                async for chunk in response.content.iter_any():
                    page += chunk
                    if len(page) > max_bytes:
                        return None
        except (aiohttp.ClientError, OSError):
            return None
        return bytes(page)

    async def close(self) -> None:
        for session in (self._session, self._pages):
            if session is not None:
                await session.close()
        self._session = self._pages = None
        self._is_closed = True

    def failure(
        self,
        kind: FailureKind,
        what: str,
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
        may_have_charged: bool = False,
        caller_error: dict[str, Any] | None = None,
    ) -> UpstreamError:
        return UpstreamError(
            kind,
            f"Upstream {self.name}: {what}.",
            status=status,
            retry_after_s=retry_after_s,
            may_have_charged=may_have_charged,
            caller_error=caller_error,
        )

    def refusal(
        self, status: int, *, retry_after_s: float | None = None, caller_error: dict[str, Any] | None = None
    ) -> UpstreamError:
        """A provider's status as ours."""
        kind: FailureKind = "refused"
        charged = False
        if status in (429, 503, OVERLOADED):
            kind, what = "busy", "it is busy"
        elif status >= 500:
            what, charged = "it failed", True
        elif status >= 400:
            what = "it refused the request"
        elif status >= 300:
            kind, what = "invalid", "it answered with a redirect"
        else:
            kind, what, charged = "invalid", "it answered without a reply", True
        return self.failure(
            kind,
            f"{what} (HTTP {status})",
            status=status,
            retry_after_s=retry_after_s,
            may_have_charged=charged,
            caller_error=caller_error,
        )

    def caller_error(self, body: Any) -> dict[str, Any] | None:
        """The part of an upstream's error that helps the caller to mend the request: three capped strings."""
        error = body.get("error") if isinstance(body, dict) else None
        if not isinstance(error, dict) or not isinstance(error.get("message"), str):
            return None
        said = {field: error[field] for field, _ in _BLAME_CAPS if isinstance(error.get(field), str)}
        # Before anything is cut off: half of a key is no less a secret.
        if any(self._is_ours(text) for text in said.values()):
            return None
        return {field: said[field][:cap] for field, cap in _BLAME_CAPS if field in said}

    def _is_ours(self, text: str) -> bool:
        """It speaks of our key or of where the server stands: neither is the caller's fault, or business."""
        is_told = (self._api_key and self._api_key in text) or any(name in text for name in self._names)
        return bool(is_told or _OF_KEYS.search(text))

    def translate(self, exc: aiohttp.ClientError | OSError, *, was_sent: bool) -> UpstreamError:
        """The client's exceptions as ours."""
        if isinstance(exc, aiohttp.ConnectionTimeoutError) and self.in_flight >= self.config.max_connections:
            return self.failure("busy", "all connections to it are in use")
        kind, what = next((kind, what) for known, kind, what in _FAILURES if isinstance(exc, known))
        return self.failure(kind, what, may_have_charged=was_sent and kind != "connect")

    def _connected(self) -> aiohttp.ClientSession:
        """Made on first use, because it belongs to the loop that runs it."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=connector(self.endpoint, limit=self.config.max_connections),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=self._headers,
                # `connect` covers the wait for a free connection, the name and the handshakes.
                timeout=aiohttp.ClientTimeout(connect=self.config.connect_timeout_s),
                auto_decompress=False,
                trust_env=False,
                max_line_size=MAX_HEADER_BYTES,
                max_field_size=MAX_HEADER_BYTES,
                max_headers=MAX_HEADERS,
            )
        return self._session

    def _url(self, path: str) -> URL:
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = URL(self.endpoint.url.rstrip("/") + path, encoded=True)
        return url

    async def _refusal(self, response: aiohttp.ClientResponse, exchange: "Exchange") -> UpstreamError:
        """What an answer other than a plain 200 means. Only one that may blame the request is read."""
        status = response.status
        if status == 200:
            return exchange.failure("invalid", "it answered in an encoding not asked for")
        blame = None
        if status in BLAMES_REQUEST and "Content-Encoding" not in response.headers:
            blame = await self._blame(exchange)
        wait_s = parse_retry_after(response.headers.get("Retry-After", ""), self._clock)
        return self.refusal(status, retry_after_s=wait_s, caller_error=blame)

    async def _blame(self, exchange: "Exchange") -> dict[str, Any] | None:
        try:
            exchange.limit = MAX_ERROR_BODY_BYTES
            body = msgspec.json.decode(await exchange.read_all())
        except (UpstreamError, *NOT_JSON):
            return None
        return self.caller_error(body)


class Exchange:
    """One reply on its way in. Whoever opened it must `close` it, which cuts the connection unless all was read."""

    __slots__ = (
        "_content",
        "_deadline",
        "_ends_at",
        "_is_reading",
        "_loop",
        "_response",
        "_rings_at",
        "_size",
        "_timer",
        "_transport",
        "limit",
    )

    def __init__(
        self,
        transport: Transport,
        response: aiohttp.ClientResponse,
        loop: asyncio.AbstractEventLoop,
        *,
        first_by: float,
        ends_at: float,
    ) -> None:
        self._transport = transport
        self._response = response
        self._content = response.content
        self._loop = loop
        self._deadline = first_by
        self._ends_at = ends_at
        self.limit = transport.config.max_reply_bytes
        self._size = 0
        self._is_reading = False
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = math.inf

    @property
    def content_type(self) -> str:
        return self._response.content_type

    def header(self, name: str) -> str:
        """Empty if there is none."""
        return self._response.headers.get(name, "")

    async def read(self) -> bytes:
        """What has come in, or the next that comes; empty at the end."""
        if not self._content.is_eof():
            self._watch()
        self._is_reading = True
        try:
            chunk = await self._content.readany()
        except (aiohttp.ClientError, OSError) as exc:
            raise self._transport.translate(exc, was_sent=True) from _without_key(exc)
        finally:
            self._is_reading = False
        self._size += len(chunk)
        if self._size > self.limit:
            raise self.failure("invalid", "its reply is too long")
        return chunk

    async def read_all(self) -> bytes:
        chunks = [await self.read()]
        while not self._content.at_eof():
            chunks.append(await self.read())
        return b"".join(chunks)

    def expect_within(self, seconds: float) -> None:
        """Start a new span of waiting. Time that the reader spends elsewhere is not the upstream's fault."""
        now = self._loop.time()
        if now >= self._ends_at:
            raise self.failure("timeout", "its reply took too long")
        self._deadline = min(now + seconds, self._ends_at)

    async def end(self) -> None:
        """After the last event: see the body's end, so that the connection can serve the next call."""
        if not self._content.is_eof():
            with contextlib.suppress(UpstreamError):
                self.expect_within(LINGER_S)
                await self.read()

    def failure(self, kind: FailureKind, what: str) -> UpstreamError:
        return self._transport.failure(kind, what, may_have_charged=True)

    def close(self) -> None:
        """Once."""
        if self._timer is not None:
            self._timer.cancel()
        self._response.close()
        self._transport.in_flight -= 1

    def _watch(self) -> None:
        """One timer serves all deadlines of a reply: moving the deadline outwards costs an assignment."""
        if self._deadline < self._rings_at:
            if self._timer is not None:
                self._timer.cancel()
            self._rings_at = self._deadline
            self._timer = self._loop.call_at(self._deadline, self._ring)

    def _ring(self) -> None:
        self._rings_at = math.inf
        self._timer = None
        if not self._is_reading:
            return
        if self._loop.time() < self._deadline:
            self._watch()
        else:
            self._content.set_exception(TimeoutError())


class _Body(aiohttp.Payload):
    """A request body that knows whether it went out: before that, nothing can have been charged."""

    _value: bytes

    def __init__(self, value: bytes) -> None:
        super().__init__(value, content_type="application/json")
        self._size = len(value)
        self.was_sent = False

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self._value.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        self.was_sent = True
        await writer.write(self._value)


def _places(endpoint: Endpoint) -> tuple[str, ...]:
    """By which a text tells where the server stands."""
    if endpoint.socket:
        return (endpoint.socket,)
    host = URL(endpoint.url).host or ""
    # A bare name of a host may be any word.
    names = (host,) if "." in host else (f"//{host}", f"{host}:")
    return (*names, endpoint.address) if endpoint.address else names


def parse_retry_after(value: str, clock: Clock) -> float | None:
    """Seconds, or an HTTP date."""
    if value.isascii() and value.isdigit():
        return min(float(value[:10]), MAX_RETRY_AFTER_S)
    try:
        until = parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None
    return min(max(until - clock.now_ms() / 1000, 0.0), MAX_RETRY_AFTER_S)


def _without_key(exc: Exception) -> Exception | None:
    """aiohttp's response errors carry the request's headers, and with them our key, into every traceback."""
    return None if isinstance(exc, aiohttp.ClientResponseError) else exc
