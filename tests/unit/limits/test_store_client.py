"""One pipeline for many callers, each of whom gets his own answer or error, in time."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable

import pytest

from gateway.clock import ManualClock, SystemClock
from gateway.errors import ConfigError
from gateway.limits.client import StoreClient, StoreRefusedError, StoreUnavailableError
from gateway.limits.contract import LimiterUnavailableError
from gateway.limits.redis import check_eviction
from tests.fixtures.stores import StoreServer


@pytest.fixture
async def client(store_url: str) -> AsyncIterator[StoreClient]:
    async with StoreClient(store_url, clock=SystemClock(), timeout_s=5) as client:
        yield client


async def test_bytes_go_in_and_come_out_as_they_are(client: StoreClient) -> None:
    value = secrets.token_bytes(300_000) + b"\r\n+OK\r\n"

    assert await client.execute("SET", b"\x00\r\n", value, "EX", 60) == b"OK"

    assert await client.execute("GET", b"\x00\r\n") == value
    assert await client.execute("GET", "absent") is None


async def test_concurrent_callers_get_each_their_own(client: StoreClient) -> None:
    await asyncio.gather(*(client.execute("SET", f"k{i}", i) for i in range(1000)))

    values = await asyncio.gather(*(client.execute("GET", f"k{i}") for i in range(1000)))

    assert values == [str(i).encode() for i in range(1000)]


async def test_one_callers_error_is_nobody_elses(client: StoreClient) -> None:
    await client.execute("SET", "text", "a")

    before, wrong, after = await asyncio.gather(
        client.execute("GET", "text"),
        client.execute("INCR", "text"),
        client.execute("GET", "text"),
        return_exceptions=True,
    )

    assert (before, after) == (b"a", b"a")
    assert isinstance(wrong, StoreRefusedError)
    assert "not an integer" in str(wrong)


async def test_what_it_raises_is_the_limiters_and_a_connection_error() -> None:
    assert issubclass(StoreUnavailableError, LimiterUnavailableError)
    assert issubclass(StoreUnavailableError, ConnectionError)


async def test_a_script_sees_the_life_of_the_server_first(client: StoreClient, store: StoreServer) -> None:
    script = client.script("return {ARGV[1], KEYS[1], ARGV[2]}")

    life, *rest = await client.run(script, ["key"], ["argument"])

    run_id = store.admin.info("server")["run_id"]
    assert run_id.startswith(life.decode())
    assert len(life) == 12
    assert rest == [b"key", b"argument"]


async def test_a_script_that_the_server_forgot_is_sent_whole(client: StoreClient, store: StoreServer) -> None:
    script = client.script("return redis.call('INCR', KEYS[1])")
    await client.run(script, ["n"], [])
    store.admin.script_flush()

    counts = await asyncio.gather(*(client.run(script, ["n"], []) for _ in range(20)))

    assert sorted(counts) == list(range(2, 22))


async def test_scripts_are_loaded_with_each_connection(store: StoreServer) -> None:
    store.admin.script_flush()
    client = StoreClient(store.url, clock=SystemClock(), timeout_s=5)
    script = client.script("return 'was loaded'")

    async with client:
        await client.execute("PING")

    assert store.admin.script_exists(script.sha) == [True]


async def test_a_connection_that_was_closed_while_idle_is_opened_anew(
    client: StoreClient, store_url: str
) -> None:
    await client.execute("PING")
    async with StoreClient(store_url, clock=SystemClock(), timeout_s=5) as other:
        await other.execute("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    assert await client.execute("PING") == b"PONG"


async def test_beyond_the_bound_callers_are_turned_away_at_once(store_url: str) -> None:
    async with StoreClient(store_url, clock=SystemClock(), timeout_s=5, max_pending=10) as client:
        answers = await asyncio.gather(*(client.execute("PING") for _ in range(15)), return_exceptions=True)

    assert [type(answer) for answer in answers] == [bytes] * 10 + [StoreUnavailableError] * 5


async def test_a_closed_client_says_so_and_leaves_no_caller_waiting(
    own_store: Callable[..., StoreServer],
) -> None:
    server = own_store()
    async with StoreClient(server.url, clock=SystemClock(), timeout_s=60) as client:
        await client.execute("PING")
        server.freeze()
        waiting = asyncio.gather(client.execute("PING"), return_exceptions=True)
        await asyncio.sleep(0)
    server.thaw()

    assert isinstance((await waiting)[0], StoreUnavailableError)
    with pytest.raises(StoreUnavailableError):
        await client.execute("PING")


async def test_after_five_failures_the_store_is_left_alone_until_one_call_succeeds(
    own_store: Callable[..., StoreServer], clock: ManualClock
) -> None:
    server = own_store()
    async with StoreClient(server.url, clock=clock, timeout_s=5) as client:
        await client.execute("PING")
        server.kill()
        for _ in range(5):
            with pytest.raises(StoreUnavailableError, match="the store failed"):
                await client.execute("PING")
        with pytest.raises(StoreUnavailableError, match="left alone"):
            await client.execute("PING")
        clock.advance(1)
        probe, other = await asyncio.gather(
            client.execute("PING"), client.execute("PING"), return_exceptions=True
        )
        assert "the store failed" in str(probe)
        assert "left alone" in str(other)

        server.start()
        clock.advance(1)
        assert await client.execute("PING") == b"PONG"

        assert await asyncio.gather(*(client.execute("PING") for _ in range(20))) == [b"PONG"] * 20


@pytest.mark.fault("M16")
async def test_a_store_that_is_not_there_yet_is_found_when_it_comes(
    own_store: Callable[..., StoreServer], clock: ManualClock
) -> None:
    server = own_store()
    server.kill()
    async with StoreClient(server.url, clock=clock, timeout_s=5) as client:
        with pytest.raises(StoreUnavailableError):
            await client.execute("PING")

        server.start()

        assert await client.execute("PING") == b"PONG"


def test_a_url_of_another_kind_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="redis://, rediss://, unix://"):
        StoreClient("http://somewhere", clock=SystemClock())


@pytest.mark.fault("M19")
@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
async def test_a_store_that_evicts_counters_is_refused(
    own_store: Callable[..., StoreServer], policy: str
) -> None:
    server = own_store("--maxmemory", "50mb", "--maxmemory-policy", policy)
    async with StoreClient(server.url, clock=SystemClock(), timeout_s=5) as client:
        with pytest.raises(ConfigError, match=f"maxmemory-policy {policy}.*noeviction"):
            await check_eviction(client)

        server.admin.config_set("maxmemory-policy", "noeviction")
        assert await check_eviction(client)


@pytest.mark.fault("M19")
async def test_a_store_without_a_memory_limit_evicts_nothing(client: StoreClient) -> None:
    assert await check_eviction(client)


@pytest.mark.fault("M19")
async def test_a_store_that_will_not_tell_is_not_refused(own_store: Callable[..., StoreServer]) -> None:
    server = own_store()
    server.admin.execute_command("ACL", "SETUSER", "default", "-info")
    async with StoreClient(server.url, clock=SystemClock(), timeout_s=5) as client:
        assert not await check_eviction(client)
        assert await client.execute("PING") == b"PONG"
