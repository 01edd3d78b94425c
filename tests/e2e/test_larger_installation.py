"""The same gateway on what larger installations run: PostgreSQL for the ledger, an outside Redis for the limits."""

import asyncio
from collections import Counter

import pytest

from tests.fixtures.gateway import MakeGateway
from tests.fixtures.postgres import PostgresServer
from tests.fixtures.scripted_upstream import ScriptedUpstream
from tests.fixtures.stores import StoreServer

HELLO = [{"role": "user", "content": "Hello there"}]


@pytest.mark.postgres
async def test_two_gateways_over_postgresql_and_redis_hold_one_limit_and_keep_one_ledger(
    make_gateway: MakeGateway, postgres_url: str, redis_server: StoreServer, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Paris", output_tokens=1)
    gateways = [await make_gateway(database_url=postgres_url, limits_url=redis_server.url) for _ in range(2)]
    key = await gateways[0].new_key("tiny", "free", concurrency=None)

    async def ask(number: int) -> int:
        async with gateways[number % 2].http(key) as http:
            return (
                await http.post("/v1/chat/completions", json={"model": "small", "messages": HELLO})
            ).status_code

    answers = Counter(await asyncio.gather(*map(ask, range(60))))

    assert answers == {200: 10, 429: 50}
    await gateways[0].entries()
    entries = await gateways[1].entries()
    assert len({entry.request_id for entry in entries}) == len(entries) == 10
    assert sum(entry.cost for entry in entries) == 10 * 4_000 == 4_000 * len(upstream.invoice)


@pytest.mark.postgres
@pytest.mark.fault("M14")
async def test_while_the_database_is_down_known_keys_are_served_and_nothing_is_lost(
    make_gateway: MakeGateway, own_postgres: PostgresServer, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Paris", output_tokens=1)
    gateway = await make_gateway(database_url=own_postgres.url())
    async with gateway.http() as http:
        body = {"model": "small", "messages": HELLO}
        await http.post("/v1/chat/completions", json=body)
        unknown = await gateway.new_key("late", "paid")
        own_postgres.kill()

        known = await http.post("/v1/chat/completions", json=body)
        stranger = await http.post(
            "/v1/chat/completions", json=body, headers={"authorization": f"Bearer {unknown}"}
        )
        ready = await http.get("/readyz")
        own_postgres.start()
        while gateway.app.journal.unshipped:
            await asyncio.sleep(0.02)

    assert known.status_code == 200
    assert (stranger.status_code, stranger.json()["error"]["code"]) == (503, "auth_unavailable")
    assert (ready.status_code, ready.json()["parts"]["database"]) == (200, "degraded")
    assert len(await gateway.entries()) == 2
