"""GET /openapi.json and /docs: the description for programs and for people, open to everybody."""

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import anyio.to_thread
import msgspec
from litestar import Request, Response, route
from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler

from gateway.api.description.document import document
from gateway.api.description.operation import Operation
from gateway.api.description.page import POLICY, page
from gateway.api.description.samples import HOST

_AUTHORITY = re.compile(r"[A-Za-z0-9._-]{1,253}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?")
_START = f"""\
export WEIGHBRIDGE_KEY=...   # yours
export OPENAI_BASE_URL={HOST}/v1 OPENAI_API_KEY=$WEIGHBRIDGE_KEY   # most clients read these two"""
_METHODS = [HttpMethod.GET, HttpMethod.HEAD]


class Description:
    """Made at the first question, which may come from several threads at once: they make the same."""

    def __init__(self, operations: Sequence[Operation], *, title: str, version: str) -> None:
        self._operations = operations
        self._title = title
        self._version = version

    @cached_property
    def document(self) -> dict[str, Any]:
        return document(self._operations, title=self._title, version=self._version)

    @cached_property
    def json(self) -> bytes:
        return msgspec.json.encode(self.document)

    @cached_property
    def page(self) -> bytes:
        return page(self.document, json_path="/openapi.json", start=_START)


def description_handlers(description: Description) -> list[HTTPRouteHandler]:
    @route("/openapi.json", http_method=_METHODS)
    async def openapi(request: Request[Any, Any, Any]) -> Response[bytes]:
        made = await anyio.to_thread.run_sync(lambda: description.json)
        return _reply(request, made, "application/json")

    @route("/docs", http_method=_METHODS)
    async def docs(request: Request[Any, Any, Any]) -> Response[bytes]:
        made = await anyio.to_thread.run_sync(lambda: description.page)
        return _reply(request, made, "text/html", {"content-security-policy": POLICY})

    return [openapi, docs]


def _reply(
    request: Request[Any, Any, Any], made: bytes, media: str, headers: dict[str, str] | None = None
) -> Response[bytes]:
    return Response(
        made.replace(HOST.encode(), _own_address(request).encode()),
        media_type=media,
        headers={**(headers or {}), "x-content-type-options": "nosniff", "vary": "host"},
    )


def _own_address(request: Request[Any, Any, Any]) -> str:
    """As the reader wrote it, so that the examples work where they are read."""
    host = request.headers.get("host", "")
    return f"{request.scope['scheme']}://{host if _AUTHORITY.fullmatch(host) else 'localhost'}"
