"""Which methods a path has, the same for every kind of handler: HEAD beside GET, OPTIONS everywhere, 405 with `allow`.

Also what raw handlers do by themselves and the framework's do not: the deadline of a body, which
`opt["body_timeout_s"]` of a handler sets anew, and a request id on every answer.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any

from litestar import Litestar
from litestar.exceptions import MethodNotAllowedException, NotFoundException
from litestar.routes import ASGIRoute
from litestar.types import Receive, Scope, Send
from litestar.utils import normalize_path

from gateway.api.render import Headers, render
from gateway.errors import GatewayError, InvalidRequestError, RequestTimeoutError

Render = Callable[[GatewayError, str], tuple[int, Headers, bytes]]
_UNUSED: Any = "CONNECT"
"""A method that no handler has: asking for it tells those there are."""


class Methods:
    """An ASGI app around Litestar's. A raw handler takes POST, unless its `opt["methods"]` says otherwise."""

    def __init__(self, app: Litestar, new_id: Callable[[], str], *, body_timeout_s: float) -> None:
        self._app: Any = app
        self._router = app.asgi_router
        self._new_id = new_id
        self._body_timeout_s = body_timeout_s
        self._renders = {
            route.path: route.route_handler.opt["render"]
            for route in app.routes
            if isinstance(route, ASGIRoute) and "render" in route.route_handler.opt
        }
        """How refusals are written there, if not as everywhere."""
        self._raw_posts = frozenset(
            route.path
            for route in app.routes
            if isinstance(route, ASGIRoute) and "POST" in _methods_of(route.route_handler)
        )
        self._allowed = lru_cache(1024)(self._find_allowed)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["path"] in self._raw_posts and scope["method"] == "POST":  # type: ignore[typeddict-item]
            call: Awaitable[None] = self._app(scope, receive, send)
            return call
        return self._other(scope, receive, send)

    async def _other(self, scope: Any, receive: Receive, send: Send) -> None:
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        path = normalize_path(scope["path"])
        allowed = self._allowed(path)
        if not allowed:
            await self._app(scope, receive, self._with_id(send))  # it knows how to say that there is nothing
        elif method == "OPTIONS":
            headers = [(b"allow", ", ".join(allowed).encode()), (b"x-request-id", self._new_id().encode())]
            await send({"type": "http.response.start", "status": 204, "headers": headers})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        elif method not in allowed:
            await self._refuse(scope["method"], allowed, self._renders.get(path, render), send)
        else:
            _, handler, *_ = self._router.handle_routing(path=path, method=method)
            timeout_s: float = handler.opt.get("body_timeout_s", self._body_timeout_s)
            # The server leaves out the body of an answer to HEAD by itself.
            await self._app({**scope, "method": method}, _timed(receive, timeout_s), self._with_id(send))

    async def _refuse(self, method: str, allowed: tuple[str, ...], render: Render, send: Send) -> None:
        error = InvalidRequestError(
            f"{method} is not possible here.",
            status=405,
            code="method_not_allowed",
            headers={"allow": ", ".join(allowed)},
        )
        status, headers, body = render(error, self._new_id())
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    def _with_id(self, send: Send) -> Send:
        async def send_with_id(message: Any) -> None:
            if message["type"] == "http.response.start" and not any(
                name == b"x-request-id" for name, _ in message["headers"]
            ):
                headers = [*message["headers"], (b"x-request-id", self._new_id().encode())]
                message = {**message, "headers": headers}
            await send(message)

        return send_with_id

    def _find_allowed(self, path: str) -> tuple[str, ...]:
        """By the router that will be asked, so that the two cannot differ. Empty: there is no such path."""
        try:
            _, handler, *_ = self._router.handle_routing(path=path, method=_UNUSED)
        except NotFoundException:
            return ()
        except MethodNotAllowedException as exc:
            methods = set((exc.headers or {})["allow"].split(", "))
        else:
            methods = set(_methods_of(handler))
        if "GET" in methods:
            methods.add("HEAD")
        return tuple(sorted(methods | {"OPTIONS"}))


def _timed(receive: Receive, timeout_s: float) -> Receive:
    until = asyncio.get_running_loop().time() + timeout_s
    is_whole = False

    async def timed() -> Any:
        nonlocal is_whole
        if is_whole:
            return await receive()
        try:
            async with asyncio.timeout_at(until):
                message: Any = await receive()
        except TimeoutError as exc:
            raise RequestTimeoutError(
                "The request's body did not arrive in time.", headers={"connection": "close"}
            ) from exc
        is_whole = not message.get("more_body", False)
        return message

    return timed


def _methods_of(handler: Any) -> tuple[str, ...]:
    methods: tuple[str, ...] = handler.opt.get("methods", ("POST",))
    return methods
