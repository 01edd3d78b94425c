"""One HTTP exchange over raw ASGI: body with a ceiling and a deadline, JSON or events out, errors in OpenAI's shape."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import msgspec

from workers.errors import InvalidRequestError, WorkerError

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")


class ClientGoneError(Exception):
    """The client hung up before its request was whole."""


class Exchange:
    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        new_id: Callable[[], str],
        is_last: Callable[[], bool],
    ) -> None:
        """`is_last` says, when the response begins, whether its connection is to end with it."""
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self._headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
        self._receive = receive
        self._send = send
        given = self.header(b"x-request-id")
        self.id = given.decode() if _REQUEST_ID.fullmatch(given) else new_id()
        self.is_trusted = False
        """The caller has shown the worker's key."""
        self.status = 0
        """What was answered; 0 as long as nothing was."""
        self._is_stream = False
        self._is_last = is_last

    def header(self, name: bytes) -> bytes:
        """Empty if it is absent or, as none of those read here may be, repeated."""
        values = [value for key, value in self._headers if key == name]
        return values[0] if len(values) == 1 else b""

    def told(self, name: bytes) -> bytes:
        """A header that counts only from who is trusted; else empty."""
        return self.header(name) if self.is_trusted else b""

    async def read_body(self, *, max_bytes: int, timeout_s: float) -> bytes:
        if self.header(b"content-type").partition(b";")[0].strip().lower() != b"application/json":
            text = "Send the body as JSON, with `Content-Type: application/json`."
            raise InvalidRequestError(text, code="unsupported_media_type", status=415)
        body = bytearray()
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    event = await self._receive()
                    if event["type"] == "http.disconnect":
                        raise ClientGoneError
                    body += event.get("body", b"")
                    if len(body) > max_bytes:
                        text = f"The body is larger than {max_bytes} bytes."
                        raise InvalidRequestError(text, code="request_too_large", status=413)
                    if not event.get("more_body", False):
                        return bytes(body)
        except TimeoutError as exc:
            text = f"The body did not arrive within {timeout_s:g} s."
            raise InvalidRequestError(text, code="request_timeout", status=408) from exc

    async def wait_until_gone(self) -> None:
        """Returns when the client has hung up. Only after the body was read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def send_json(self, status: int, body: Any, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        await self.send_bytes(status, msgspec.json.encode(body), b"application/json", headers)

    async def send_bytes(
        self, status: int, body: bytes, content_type: bytes, headers: Iterable[tuple[bytes, bytes]] = ()
    ) -> None:
        await self._start(status, [(b"content-length", str(len(body)).encode()), *headers], content_type)
        await self._send({"type": "http.response.body", "body": body})

    async def start_stream(self) -> None:
        self._is_stream = True
        await self._start(200, [(b"cache-control", b"no-store")], b"text/event-stream; charset=utf-8")

    async def send_event(self, data: bytes) -> None:
        await self._send(
            {"type": "http.response.body", "body": b"data: " + data + b"\n\n", "more_body": True}
        )

    async def send_comment(self, text: bytes) -> None:
        """Who reads events passes over it."""
        await self._send({"type": "http.response.body", "body": b": " + text + b"\n\n", "more_body": True})

    async def end_stream(self) -> None:
        await self._send({"type": "http.response.body", "body": b""})

    async def refuse(self, error: WorkerError) -> None:
        """As a response or, once a stream has begun, as its last event: without `[DONE]`, so that it cannot pass
        for a whole answer."""
        if self._is_stream:
            await self.send_event(msgspec.json.encode(error.body()))
            await self.end_stream()
            return
        headers = [(b"x-should-retry", b"true" if error.should_retry else b"false")]
        if error.retry_after_s is not None:
            headers.append((b"retry-after", str(error.retry_after_s).encode()))
        if error.status in (408, 413):
            self._is_last = lambda: True  # the rest of the body is not read
        if error.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        await self.send_json(error.status, error.body(), headers)

    async def _start(self, status: int, headers: Iterable[tuple[bytes, bytes]], content_type: bytes) -> None:
        self.status = status
        own = [(b"content-type", content_type), (b"x-request-id", self.id.encode())]
        if self._is_last():
            own.append((b"connection", b"close"))
        await self._send({"type": "http.response.start", "status": status, "headers": [*own, *headers]})
