"""The least that a Python gateway can be: Litestar on uvicorn, aiohttp towards the upstream, and nothing in between.

Usage: bare_proxy.py PORT UPSTREAM_BASE_URL
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import uvicorn
from litestar import Litestar, Request, Response, get, post
from litestar.response import Stream

JSON = {"Content-Type": "application/json"}


def create_app(base_url: str) -> Litestar:
    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            app.state.session = session
            yield

    @post("/v1/chat/completions", status_code=200)
    async def chat(request: Request) -> Response[bytes] | Stream:
        reply = await request.app.state.session.post(
            f"{base_url}/chat/completions", data=await request.body(), headers=JSON
        )
        if reply.content_type == "text/event-stream":
            return Stream(_relay(reply), media_type="text/event-stream")
        async with reply:
            return Response(await reply.read(), status_code=reply.status, media_type=reply.content_type)

    @get("/healthz")
    async def healthz() -> str:
        return "ok"

    return Litestar([chat, healthz], lifespan=[lifespan])


async def _relay(reply: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async with reply:
        async for piece in reply.content.iter_any():
            yield piece


if __name__ == "__main__":
    uvicorn.run(
        create_app(sys.argv[2]),
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
    )
