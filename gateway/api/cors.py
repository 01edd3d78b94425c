"""Web pages of other origins: what a browser must be told before it sends their requests and shows them the answers.

Browsers send no cookies here, and none are looked at: who may call is decided by keys alone. So any header may be sent
and all of them may be read.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from litestar.types import Receive, Scope, Send

Headers = list[tuple[bytes, bytes]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_PREFLIGHT_S = b"7200"
_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"


class Cors:
    """An ASGI app around another's. Errors and streams get the same headers as everything else."""

    def __init__(self, app: App, origins: Sequence[str], new_id: Callable[[], str]) -> None:
        self._app = app
        self._new_id = new_id
        self._origins = frozenset(origin.encode() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sent = dict(scope["headers"])
        granted = self._granted(sent.get(b"origin", b""))
        if not granted:
            await self._app(scope, receive, send)
            return
        if b"access-control-request-method" in sent and scope["method"] == "OPTIONS":  # type: ignore[typeddict-item]
            # Wherever it asks: a page can read the 404 of its own request only if this one succeeds.
            headers = granted + _preflight(sent.get(b"access-control-request-headers"))
            headers.append((b"x-request-id", self._new_id().encode()))
            await send({"type": "http.response.start", "status": 204, "headers": headers})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        granted.append((b"access-control-expose-headers", b"*"))

        async def send_granted(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *granted]}
            await send(message)

        await self._app(scope, receive, send_granted)

    def _granted(self, origin: bytes) -> Headers:
        """Nothing for a page that may not: the browser keeps the answer from it."""
        if origin and b"*" in self._origins:
            return [(b"access-control-allow-origin", b"*")]
        if origin in self._origins:
            return [(b"access-control-allow-origin", origin), (b"vary", b"Origin")]
        return []


def _preflight(asked_headers: bytes | None) -> Headers:
    headers = [(b"access-control-allow-methods", _METHODS), (b"access-control-max-age", _PREFLIGHT_S)]
    if asked_headers is not None:
        headers += [
            (b"access-control-allow-headers", asked_headers),
            (b"vary", b"Access-Control-Request-Headers"),
        ]
    return headers
