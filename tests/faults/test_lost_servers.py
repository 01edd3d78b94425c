"""Servers that go while they are called: nobody's request is lost, and nobody pays twice."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest

from tests.fixtures.gateway import MakeGateway, RunningGateway
from tests.fixtures.scripted_upstream import ScriptedUpstream

MakeUpstream = Callable[..., Awaitable[ScriptedUpstream]]
CONFIG = """
tiers: {{many: {{requests_per_minute: 100000, tokens_per_minute: 100000000}}}}
upstreams:
  local:
    base_urls: [{urls}]
    is_worker: true
    models: {{small: {{size: small, price: {{input: 1, output: 2}}}}}}
"""
AT_ONCE = 24


class Load:
    """Requests, so many at a time."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self.statuses: list[int] = []
        self.is_over = False
        self._answered = asyncio.Condition()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(self._client())

    async def _client(self) -> None:
        while not self.is_over:
            body = {"model": "small", "messages": [{"role": "user", "content": "Hello"}]}
            reply = await self._http.post("/v1/chat/completions", json=body)
            self.statuses.append(reply.status_code)
            async with self._answered:
                self._answered.notify_all()

    async def has_answered(self, count: int) -> None:
        async with self._answered:
            await self._answered.wait_for(lambda: len(self.statuses) >= count)


@asynccontextmanager
async def loaded(gateway: RunningGateway) -> AsyncIterator[Load]:
    """Under load before, in and after the block."""
    key = await gateway.new_key("many", "many")
    async with gateway.http(key) as http:
        load = Load(http)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(load.run())
            await load.has_answered(50)
            yield load
            await load.has_answered(len(load.statuses) + 50)
            load.is_over = True


@pytest.fixture
async def servers(make_upstream: MakeUpstream) -> list[ScriptedUpstream]:
    servers = [await make_upstream() for _ in range(2)]
    for server in servers:
        server.answers("Paris", prompt_tokens=5, output_tokens=1)
    return servers


@pytest.fixture
async def gateway(make_gateway: MakeGateway, servers: list[ScriptedUpstream]) -> RunningGateway:
    return await make_gateway(CONFIG.format(urls=", ".join(server.url for server in servers)))


async def assert_each_is_paid_once(gateway: RunningGateway, load: Load) -> None:
    entries = await gateway.entries()
    assert len({entry.request_id for entry in entries}) == len(entries) == len(load.statuses)
    assert {(entry.outcome, entry.cost) for entry in entries} == {("ok", 7_000)}


@pytest.mark.fault("S19")
async def test_when_one_of_two_workers_is_killed_under_load_no_request_fails(
    gateway: RunningGateway, servers: list[ScriptedUpstream]
) -> None:
    async with loaded(gateway) as load:
        await servers[0].stop()
        await load.has_answered(200)

    assert load.statuses == [200] * len(load.statuses)
    await assert_each_is_paid_once(gateway, load)


@pytest.mark.fault("S19")
async def test_when_workers_are_restarted_in_turn_under_load_no_request_fails(
    gateway: RunningGateway, servers: list[ScriptedUpstream]
) -> None:
    async with loaded(gateway) as load:
        for server in servers:
            await server.stop()
            await load.has_answered(len(load.statuses) + 20)
            seen = len(server.attempts)
            await server.start()
            await server.attempt(seen)  # it is trusted again before the next one goes

    assert load.statuses == [200] * len(load.statuses)
    await assert_each_is_paid_once(gateway, load)
