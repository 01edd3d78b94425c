"""The limits' store killed, frozen, restarted, behind, and its callers cancelled: no money lost, nobody misled."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
import redis.asyncio

from gateway.clock import ManualClock, SystemClock
from gateway.limits.client import StoreClient, StoreRefusedError, StoreUnavailableError
from gateway.limits.contract import Grant, LimiterUnavailableError
from gateway.limits.redis import RedisLimiter
from gateway.values import Limits, Spent
from tests.fixtures.asking import ask, granted, refused, settlement
from tests.fixtures.stores import LedgerSays, StoreServer, limiter_on

BUDGET = Limits(budget_per_month=100)
DURABLE = ("--appendonly", "yes", "--appendfsync", "everysec")


async def _recovered(limiter: RedisLimiter) -> None:
    """The breaker lets a call through each second."""
    async with asyncio.timeout(10):
        while not await limiter.is_reachable():
            await asyncio.sleep(0.01)


async def _written(server: StoreServer) -> None:
    """While the disk is slow to sync, the store keeps what it has not written in memory for up to two seconds."""
    async with redis.asyncio.Redis.from_url(server.url) as client, asyncio.timeout(10):
        while (await client.info("persistence"))["aof_buffer_length"]:
            await asyncio.sleep(0.01)


@pytest.mark.fault("M16")
async def test_after_kill_9_the_holds_and_what_no_ledger_has_yet_are_still_there(
    own_store: Callable[..., StoreServer], ledger_says: LedgerSays
) -> None:
    server = own_store(*DURABLE)
    async with limiter_on(server.url, ledger_says) as limiter:
        settled, held = [await granted(limiter, ask(f"r{i}", tenant=BUDGET, amounts=(45,))) for i in range(2)]
        await limiter.settle(settlement("r0", settled, cost=30))
        await _written(server)

        server.kill()
        with pytest.raises(LimiterUnavailableError):
            await limiter.reserve(ask("r2", tenant=BUDGET, amounts=(1,)))
        server.start()
        await _recovered(limiter)

        await refused(limiter, ask("r3", tenant=BUDGET, amounts=(26,)))
        await limiter.settle(settlement("r1", held, cost=5))
        await limiter.settle(settlement("r1", held, cost=5))
        await refused(limiter, ask("r3", tenant=BUDGET, amounts=(66,)))
        await granted(limiter, ask("r3", tenant=BUDGET, amounts=(65,)))
    assert len(ledger_says.asked) == 2


@pytest.mark.fault("M18")
async def test_a_store_that_comes_back_with_old_counters_is_corrected_from_the_ledger(
    own_store: Callable[..., StoreServer], ledger_says: LedgerSays
) -> None:
    server = own_store()
    async with limiter_on(server.url, ledger_says) as limiter:
        grant = await granted(limiter, ask("r0", tenant=BUDGET, amounts=(45,)))
        old = {key: (server.admin.pttl(key), server.admin.dump(key)) for key in server.admin.scan_iter()}
        await limiter.settle(settlement("r0", grant, cost=45))
        ledger_says.spent_by = {("tenant", "acme"): Spent(requests=1, cost=45)}

        server.kill()
        server.start()
        for key, (ttl, value) in old.items():
            server.admin.restore(key, ttl, value)
        await _recovered(limiter)

        await refused(limiter, ask("r1", tenant=BUDGET, amounts=(11,)))
        await granted(limiter, ask("r1", tenant=BUDGET, amounts=(10,)))


@pytest.mark.fault("M17")
async def test_a_frozen_store_is_given_up_in_time_and_a_reserve_that_still_applies_is_harmless(
    own_store: Callable[..., StoreServer], ledger_says: LedgerSays
) -> None:
    server = own_store()
    async with limiter_on(server.url, ledger_says, timeout_s=0.05) as limiter:
        async with asyncio.timeout(10):
            await _recovered(limiter)
            await granted(limiter, ask("warm"))
            server.freeze()
            answers = await asyncio.gather(
                *(limiter.reserve(ask(f"r{i}", tenant=BUDGET, amounts=(60,))) for i in range(20)),
                return_exceptions=True,
            )
            with pytest.raises(StoreUnavailableError, match="left alone"):
                await limiter.reserve(ask("r0", tenant=BUDGET, amounts=(60,)))
        assert {type(answer) for answer in answers} == {StoreUnavailableError}

        server.thaw()
        await _recovered(limiter)

        again = [await limiter.reserve(ask(f"r{i}", tenant=BUDGET, amounts=(60,))) for i in range(20)]
        assert sum(isinstance(answer, Grant) for answer in again) == 1


@pytest.mark.fault("M19")
async def test_a_store_that_is_out_of_memory_grants_nothing_and_still_settles(
    own_store: Callable[..., StoreServer], ledger_says: LedgerSays
) -> None:
    server = own_store()
    async with limiter_on(server.url, ledger_says) as limiter:
        grant = await granted(limiter, ask("r0", tenant=BUDGET, amounts=(60,)))
        server.admin.config_set("maxmemory", 1)

        with pytest.raises(StoreRefusedError, match="maxmemory"):
            await limiter.reserve(ask("r1", tenant=BUDGET, amounts=(1,)))
        await limiter.settle(settlement("r0", grant, cost=50))

        server.admin.config_set("maxmemory", 0)
        await refused(limiter, ask("r1", tenant=BUDGET, amounts=(51,)))
        await granted(limiter, ask("r1", tenant=BUDGET, amounts=(50,)))


@pytest.mark.fault("M2")
async def test_counters_flushed_under_load_let_through_no_more_than_was_in_flight(
    store_limiter: RedisLimiter, store: StoreServer, ledger_says: LedgerSays
) -> None:
    limits, at_once = Limits(budget_per_month=1000), 20

    async def spend(i: int) -> None:
        answer = await store_limiter.reserve(ask(f"r{i}", tenant=limits, amounts=(10,)))
        if isinstance(answer, Grant):
            was = ledger_says.spent_by.get(("tenant", "acme"), Spent(requests=0, cost=0))
            ledger_says.spent_by["tenant", "acme"] = Spent(requests=was.requests + 1, cost=was.cost + 10)
            await store_limiter.settle(settlement(f"r{i}", answer, cost=10, is_posted=True))
        if i % 7 == 0:
            store.admin.flushall()

    for first in range(0, 400, at_once):
        await asyncio.gather(*(spend(i) for i in range(first, first + at_once)))

    assert 1000 <= ledger_says.spent_by["tenant", "acme"].cost <= 1000 + at_once * 10


@asynccontextmanager
async def _slow_path_to(url: str, rng: Random) -> AsyncIterator[str]:
    """A proxy that passes replies on late, and in pieces that end anywhere."""
    connections: list[asyncio.StreamWriter] = []

    async def pump(
        source: asyncio.StreamReader, target: asyncio.StreamWriter, piece: int, late_s: float
    ) -> None:
        with suppress(ConnectionError):
            while data := await source.read(piece):
                await asyncio.sleep(rng.random() * late_s)
                target.write(data)
                await target.drain()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, ahead = await asyncio.open_unix_connection(url.removeprefix("unix://"))
        connections.extend((writer, ahead))
        await asyncio.gather(pump(reader, ahead, 65536, 0), pump(behind, writer, 37, 0.001))

    with TemporaryDirectory(prefix="wb-") as folder:
        path = str(Path(folder) / "proxy")
        server = await asyncio.start_unix_server(serve, path)
        yield f"unix://{path}"
        server.close()
        for writer in connections:
            writer.close()
        await server.wait_closed()
        for writer in connections:
            with suppress(ConnectionError):
                await writer.wait_closed()


@pytest.fixture
def rng() -> Random:
    return Random(16)


@pytest.mark.fault("A16")
async def test_in_a_storm_of_cancelled_calls_nobody_gets_anothers_value(
    store: StoreServer, rng: Random
) -> None:
    for user in range(20):
        store.admin.set(f"u{user}", f"secret of {user}")
    seen: list[tuple[int, bytes]] = []

    async def read(client: StoreClient, user: int) -> None:
        seen.append((user, await client.execute("GET", f"u{user}")))

    cancelled = 0
    async with (
        _slow_path_to(store.url, rng) as url,
        StoreClient(url, clock=SystemClock(), timeout_s=5) as client,
    ):
        for _ in range(150):
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(read(client, rng.randrange(20))) for _ in range(4)]
                await asyncio.sleep(rng.random() * 0.004)
                cancelled += sum(task.cancel() for task in tasks if rng.random() < 0.5)

    assert cancelled > 50
    assert len(seen) > 100
    assert all(value == f"secret of {user}".encode() for user, value in seen)


@pytest.mark.fault("M21")
async def test_what_cancelled_requests_left_held_is_free_after_its_time(
    store: StoreServer, clock: ManualClock, ledger_says: LedgerSays, rng: Random
) -> None:
    limits = Limits(budget_per_month=10**9, concurrency=1000)

    async def one(limiter: RedisLimiter, i: int) -> None:
        answer = await limiter.reserve(ask(f"r{i}", tenant=limits, amounts=(7,), ttl_s=30))
        assert isinstance(answer, Grant)
        await limiter.settle(settlement(f"r{i}", answer, cost=3))

    async with (
        _slow_path_to(store.url, rng) as url,
        limiter_on(url, ledger_says, now_ms=clock.now_ms) as limiter,
    ):
        for batch in range(30):
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(limiter, batch * 8 + i)) for i in range(8)]
                await asyncio.sleep(rng.random() * 0.02)
                for task in tasks:
                    if rng.random() < 0.7:
                        task.cancel()
        clock.advance(30)
        for i in range(15):
            grant = await granted(limiter, ask(f"last{i}"))
            await limiter.settle(settlement(f"last{i}", grant))

    text = store.admin.get("counters:{acme}:tenant:acme")
    assert isinstance(text, bytes)
    _, _, settled, held, _, running = text.split()
    assert (int(held), int(running)) == (0, 0)
    assert int(settled) % 3 == 0
