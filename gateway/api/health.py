"""Probes and metrics. Ready means able to answer: a store that is gone is told, and takes nobody out of service."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
from litestar import MediaType, Response, get
from litestar.handlers import HTTPRouteHandler

from gateway.api.operators import OPEN

Check = Callable[[], Awaitable[bool]]
_CHECK_S = 1.0


def probes(checks: Mapping[str, Check], *, is_draining: Callable[[], bool]) -> list[HTTPRouteHandler]:
    @get("/healthz", opt=OPEN)
    async def alive() -> dict[str, str]:
        return {"status": "alive"}

    @get("/readyz", opt=OPEN)
    async def ready() -> Response[dict[str, Any]]:
        if is_draining():
            return Response({"status": "draining"}, status_code=503)
        parts: dict[str, str] = {}

        async def ask(name: str, check: Check) -> None:
            parts[name] = "degraded"
            with anyio.move_on_after(_CHECK_S):
                parts[name] = "ok" if await check() else "degraded"

        async with anyio.create_task_group() as tasks:
            for name, check in checks.items():
                tasks.start_soon(ask, name, check)
        status = "ready" if set(parts.values()) == {"ok"} else "degraded"
        return Response({"status": status, "parts": dict(sorted(parts.items()))})

    return [alive, ready]


def metrics_page(render: Callable[[], bytes]) -> HTTPRouteHandler:
    @get("/metrics", media_type=MediaType.TEXT, opt=OPEN)
    async def page() -> Response[bytes]:
        return Response(render(), headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"})

    return page
