"""Upstreams whose servers come and go: behind a name, or as a worker's roster lists them."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from gateway.clock import SystemClock
from gateway.config import Config, Model, Worker
from gateway.config import Upstream as UpstreamConfig
from gateway.errors import ConfigError
from gateway.fleet.contract import Endpoint, Roster
from gateway.fleet.roster import roster_path, write
from gateway.telemetry.metrics import Metrics
from gateway.upstreams.contract import UpstreamError
from gateway.upstreams.discovery import look_up
from gateway.upstreams.pool import UpstreamPool
from tests.fixtures.ledger import Log
from tests.fixtures.scripted_upstream import Attempt, ScriptedUpstream, Wire
from tests.fixtures.upstream_calls import a_call

MakeUpstream = Callable[..., Awaitable[ScriptedUpstream]]
MODELS = {"m": Model(size="small", free=True)}


class Names:
    """A name server that says what it is told to."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.is_down = False
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> tuple[str, ...]:
        self.asked.append((host, port))
        if self.is_down:
            raise OSError("no name server")
        return self.addresses


class Fleet:
    """The upstream `up`, and the roster of the worker `big`."""

    def __init__(self, folder: Path, names: Names, worker: Worker, settings: dict[str, Any]) -> None:
        self._roster = roster_path(folder, "big")
        config = Config(
            upstreams={"up": UpstreamConfig(models=MODELS, **settings)},
            workers={"big": worker},
            data_dir=str(folder),
        )
        self.log = Log()
        self.pool = UpstreamPool.build(
            config, SystemClock(), lambda: 0.5, self.log.logger, Metrics(), look_up=names
        )

    @property
    def names(self) -> list[str]:
        return [endpoint.name for endpoint in self.pool.endpoints()]

    async def ask(self) -> str:
        with self.pool.attempt("up") as pooled:
            return (await pooled.complete(a_call())).text

    def lists(self, *servers: ScriptedUpstream) -> None:
        endpoints = [
            Endpoint(name=f"big-{number}", url="http://worker/v1", socket=server.socket_path)
            if server.socket_path
            else Endpoint(name=f"big-{number}", url=server.url)
            for number, server in enumerate(servers, start=1)
        ]
        write(self._roster, Roster(worker="big", endpoints=tuple(endpoints)))

    def lists_nothing(self) -> None:
        self._roster.unlink()


MakeFleet = Callable[..., Fleet]


@pytest.fixture
async def make_fleet(tmp_path: Path) -> AsyncIterator[MakeFleet]:
    key_file = tmp_path / "secrets" / "worker-big.key"
    key_file.parent.mkdir()
    key_file.write_text("sk-big\n")
    async with AsyncExitStack() as stack:

        def make(names: Names | None = None, *, key_file: str = "", **settings: Any) -> Fleet:
            worker = Worker(model="m.gguf", serves=("m",), api_key_file=key_file)
            fleet = Fleet(tmp_path, names or Names(), worker, settings)
            stack.push_async_callback(fleet.pool.close)
            return fleet

        yield make


def behind_a_name(port: int) -> dict[str, Any]:
    return {"base_url": f"http://models.example:{port}/v1", "resolves": True, "keyless": True}


async def test_every_address_of_a_name_is_a_server(
    make_upstream: MakeUpstream, make_fleet: MakeFleet
) -> None:
    first = await make_upstream()
    second = await make_upstream(host="127.0.0.2", port=first.port)
    names = Names("127.0.0.2", "127.0.0.1", "127.0.0.2")
    fleet = make_fleet(names, **behind_a_name(first.port))

    await fleet.pool.look()
    for _ in range(4):
        await fleet.ask()

    assert fleet.names == [f"127.0.0.1:{first.port}", f"127.0.0.2:{first.port}"]
    assert names.asked == [("models.example", first.port)]
    assert [len(server.attempts) for server in (first, second)] == [2, 2]
    assert {attempt.headers["host"] for attempt in first.attempts} == {f"models.example:{first.port}"}


async def test_until_it_has_been_looked_up_a_name_is_one_server(make_fleet: MakeFleet) -> None:
    names = Names()
    names.is_down = True
    fleet = make_fleet(names, **behind_a_name(8000))

    await fleet.pool.look()

    assert fleet.names == ["models.example:8000"]


async def test_a_name_server_that_fails_keeps_the_last_list(make_fleet: MakeFleet) -> None:
    names = Names("10.0.0.1", "fd00::2")
    fleet = make_fleet(names, **behind_a_name(8000))
    await fleet.pool.look()

    names.is_down = True
    await fleet.pool.look()
    await fleet.pool.look()

    assert fleet.names == ["10.0.0.1:8000", "[fd00::2]:8000"]
    assert fleet.log.events == ["upstream.servers_changed", "upstream.look_up_failed"]


async def test_an_address_that_vanishes_gets_no_new_calls_and_finishes_those_it_has(
    make_upstream: MakeUpstream, make_fleet: MakeFleet
) -> None:
    staying = await make_upstream()
    going = await make_upstream(host="127.0.0.2", port=staying.port)
    gate = asyncio.Event()
    going.answers("late", hold={0: gate})
    names = Names("127.0.0.2")
    fleet = make_fleet(names, **behind_a_name(staying.port))
    await fleet.pool.look()

    async with asyncio.TaskGroup() as tasks:
        late = tasks.create_task(fleet.ask())
        await going.attempt(0)
        names.addresses = ("127.0.0.1",)
        await fleet.pool.look()
        answers = [await fleet.ask() for _ in range(3)]
        gate.set()

    assert answers == ["Paris"] * 3
    assert late.result() == "late"
    assert len(going.attempts) == 1


async def test_the_machines_own_resolver_is_asked() -> None:
    assert await look_up("127.0.0.1", 80) == ["127.0.0.1"]
    with pytest.raises(OSError, match="no name of a host"):
        await look_up(f"{'a' * 70}.example", 80)


async def test_a_workers_processes_are_those_of_its_roster(
    make_upstream: MakeUpstream, make_fleet: MakeFleet, tmp_path: Path
) -> None:
    first = await make_upstream(socket_path=str(tmp_path / "1.sock"))
    second = await make_upstream()
    fleet = make_fleet(worker="big")
    fleet.lists(first, second)

    await fleet.pool.look()
    for _ in range(4):
        await fleet.ask()

    assert fleet.names == ["big-1", "big-2"]
    assert [len(server.attempts) for server in (first, second)] == [2, 2]


async def test_a_worker_is_called_with_its_own_key(
    make_upstream: MakeUpstream, make_fleet: MakeFleet
) -> None:
    server = await make_upstream(key="sk-big")
    fleet = make_fleet(worker="big")
    fleet.lists(server)
    await fleet.pool.look()

    assert await fleet.ask() == "Paris"


async def test_a_workers_key_that_cannot_be_read_is_told_at_its_place(make_fleet: MakeFleet) -> None:
    with pytest.raises(ConfigError, match=r"^workers\.big: cannot read"):
        make_fleet(worker="big", key_file="/nowhere/key")


async def test_without_a_roster_a_worker_cannot_be_called_and_it_is_said_why(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(worker="big")

    await fleet.pool.look()

    assert fleet.pool.health("up") == (False, 0)
    with pytest.raises(UpstreamError, match="no process of the worker 'big' is ready") as caught:
        await fleet.ask()
    assert (caught.value.kind, caught.value.may_have_charged) == ("busy", False)


async def test_the_roster_is_read_again_when_it_changes(
    make_upstream: MakeUpstream, make_fleet: MakeFleet
) -> None:
    old, new = await make_upstream(), await make_upstream()
    fleet = make_fleet(worker="big")
    listed: list[list[str]] = []

    async def becomes(names: list[str]) -> None:
        while fleet.names != names:
            await asyncio.sleep(0.01)
        listed.append(fleet.names)

    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(fleet.pool.run())
        fleet.lists(old)
        await becomes(["big-1"])
        fleet.lists(old, new)
        await becomes(["big-1", "big-2"])
        fleet.lists_nothing()
        await becomes([])
        following.cancel()

    assert listed == [["big-1"], ["big-1", "big-2"], []]


async def test_what_stays_on_the_list_keeps_its_connections_and_its_count(
    make_upstream: MakeUpstream, make_fleet: MakeFleet
) -> None:
    old, new = await make_upstream(), await make_upstream()
    gate = asyncio.Event()
    old.answers("late", hold={0: gate})
    fleet = make_fleet(worker="big")
    fleet.lists(old)
    await fleet.pool.look()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(fleet.ask())
        await old.attempt(0)
        fleet.lists(old, new)
        await fleet.pool.look()

        assert [endpoint.in_flight for endpoint in fleet.pool.endpoints()] == [1, 0]
        gate.set()


async def test_a_server_that_takes_the_place_of_another_starts_with_a_clean_slate(
    make_upstream: MakeUpstream, make_fleet: MakeFleet
) -> None:
    dead, new = await make_upstream(), await make_upstream()
    await dead.stop()
    fleet = make_fleet(worker="big")
    fleet.lists(dead)
    await fleet.pool.look()
    for _ in range(5):
        with suppress(UpstreamError):
            await fleet.ask()
    was_healthy, _ = fleet.pool.health("up")

    fleet.lists(new)
    await fleet.pool.look()

    assert not was_healthy
    assert await fleet.ask() == "Paris"


async def test_a_call_that_finds_its_server_replaced_goes_to_the_new_one(
    make_upstream: MakeUpstream, make_fleet: MakeFleet
) -> None:
    old, new = await make_upstream(), await make_upstream()
    fleet = make_fleet(worker="big")
    fleet.lists(old)
    await fleet.pool.look()

    async def is_replaced(_attempt: Attempt, wire: Wire) -> None:
        fleet.lists(new)
        await fleet.pool.look()
        wire.reset()

    old.does(is_replaced)

    assert await fleet.ask() == "Paris"
    assert (len(old.attempts), len(new.attempts)) == (1, 1)


async def test_the_name_that_is_asked_of_tls_stays_the_hosts(make_fleet: MakeFleet) -> None:
    asked: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    names = Names("127.0.0.1")
    fleet = make_fleet(names, **{**behind_a_name(port), "base_url": f"https://models.example:{port}/v1"})
    await fleet.pool.look()

    async with server:
        with pytest.raises(UpstreamError):  # it has no certificate
            await fleet.ask()

    assert asked == ["models.example"]
