"""One HTTP request over ASGI: reads it within bounds, answers it, and notices when the client leaves."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from litestar.types import Receive, Scope, Send

from gateway.api.dialect import Dialect
from gateway.attempt import ClientGoneError
from gateway.catalogue import Terms
from gateway.errors import GatewayError, InvalidRequestError, RequestTimeoutError
from gateway.exchange import Voice
from gateway.ticket import Endpoint, Request

_WATCH_AFTER_S = 0.05
"""A whole reply that is out by then needs no watch, which is a task of its own. A stream has one from its start."""
_DISCARD_S = 2.0
_DISCARD_BYTES = 256_000_000


class AsgiExchange:
    """Implements `gateway.exchange.Exchange`."""

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        tasks: asyncio.TaskGroup,
        dialect: Dialect,
        *,
        max_body_bytes: int,
        body_timeout_s: float,
    ) -> None:
        """`tasks` owns the watch for the client's leaving."""
        self._tasks = tasks
        self._receive = receive
        self._send = send
        self._dialect = dialect
        self._voice: Voice | None = None
        self._max_body_bytes = max_body_bytes
        self._body_timeout_s = body_timeout_s
        self._timer: asyncio.TimerHandle | None = None
        self._watching: asyncio.Task[None] | None = None
        self._when_gone: Callable[[], None] | None = None
        self.headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
        self.is_gone = False
        self.has_begun = False
        self._is_over = False

    async def read(self) -> Request:
        headers = dict(self.headers)
        _check_head(headers, self._max_body_bytes)
        try:
            async with asyncio.timeout(self._body_timeout_s):
                raw = await self._body()
        except TimeoutError as exc:
            raise RequestTimeoutError("The request's body did not arrive in time.") from exc
        self._timer = asyncio.get_running_loop().call_later(_WATCH_AFTER_S, self._start_watching)
        return self._dialect.decode(raw, headers)

    def voice(self, request: Request, terms: Terms, form: Endpoint, /) -> Voice:
        self._voice = self._dialect.voice(request, terms, form)
        return self._voice

    @property
    def done(self) -> bytes:
        return self._dialect.done

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._watching is not None:
            self._watching.cancel()

    def _start_watching(self) -> None:
        if self._watching is None:
            self._watching = self._tasks.create_task(self._watch())

    async def _body(self) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while True:
            message: Any = await self._receive()
            if message["type"] == "http.disconnect":
                self.is_gone = True
                raise ClientGoneError
            piece: bytes = message.get("body", b"")
            size += len(piece)
            if size > self._max_body_bytes:
                raise _too_large(self._max_body_bytes)
            pieces.append(piece)
            if not message.get("more_body", False):
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _watch(self) -> None:
        message: Any = {"type": ""}
        while message["type"] != "http.disconnect":
            message = await self._receive()
        if not self._is_over:
            self.is_gone = True
            if self._when_gone is not None:
                self._when_gone()

    def when_gone(self, call: Callable[[], None] | None) -> None:
        self._when_gone = call
        if call is not None and self.is_gone:
            call()

    async def reply(self, body: bytes, headers: Mapping[str, str]) -> None:
        await self._start(
            200,
            [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))],
            self._dialect.headers(headers),
        )
        await self.send(body, is_last=True)

    async def begin(self, headers: Mapping[str, str]) -> None:
        self._start_watching()
        kind = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),
        ]
        await self._start(200, kind, self._dialect.headers(headers))

    async def refuse(self, error: GatewayError, request_id: str) -> None:
        if self.has_begun and self._voice is not None and not self._is_over:
            await self.send(self._voice.broken(error), is_last=True)
        if self.is_gone or self.has_begun:
            return
        status, headers, body = self._dialect.render(error, request_id)
        if status in (408, 413):
            headers.append((b"connection", b"close"))  # what is left of the body is not read
        await self._start(status, headers, {})
        await self.send(body)
        if status == 413:
            await self._discard_rest()
        await self.send(b"", is_last=True)

    async def _discard_rest(self) -> None:
        """Let the client finish sending: closing on unread bytes resets the connection, and it never sees why."""
        if any(name == b"expect" for name, _ in self.headers):
            return  # it waits to be told to go on, and will not be
        size = 0
        try:
            async with asyncio.timeout(_DISCARD_S):
                message: Any = {"more_body": True}
                while message.get("more_body", False) and size < _DISCARD_BYTES:
                    message = await self._receive()
                    size += len(message.get("body", b""))
        except TimeoutError:
            return

    async def _start(self, status: int, kind: list[tuple[bytes, bytes]], headers: Mapping[str, str]) -> None:
        if self.is_gone:
            return
        self.has_begun = True
        kind += [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": kind})

    async def send(self, data: bytes, *, is_last: bool = False) -> None:
        if self.is_gone:
            return
        if is_last:
            self._is_over = True
        await self._send({"type": "http.response.body", "body": data, "more_body": not is_last})


def _check_head(headers: Mapping[bytes, bytes], max_body_bytes: int) -> None:
    kind = headers.get(b"content-type", b"application/json").partition(b";")[0].strip().lower()
    if kind != b"application/json" and not kind.endswith(b"+json"):
        raise InvalidRequestError(
            "Send the body as `content-type: application/json`.", status=415, code="unsupported_media_type"
        )
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise InvalidRequestError(
            "Send the body without a content encoding.", status=415, code="unsupported_content_encoding"
        )
    length = headers.get(b"content-length")
    if length is not None and int(length) > max_body_bytes:  # the listener takes digits only
        raise _too_large(max_body_bytes)


def _too_large(limit: int) -> InvalidRequestError:
    return InvalidRequestError(
        f"The request is larger than {limit} bytes.", status=413, code="request_too_large"
    )
