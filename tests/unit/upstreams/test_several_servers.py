"""An upstream of several servers: which one is called, and which one after it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.clock import Clock, ManualClock, SystemClock
from gateway.config import Config, Model
from gateway.config import Upstream as UpstreamConfig
from gateway.fleet.contract import Load
from gateway.telemetry.metrics import Metrics
from gateway.upstreams.contract import UpstreamError
from gateway.upstreams.pool import UpstreamPool
from tests.fixtures.ledger import Log
from tests.fixtures.scripted_upstream import Attempt, ScriptedUpstream, Wire
from tests.fixtures.upstream_calls import a_call

MakeUpstream = Callable[..., Awaitable[ScriptedUpstream]]


class Servers:
    """So many servers of one upstream, and a pool that calls them."""

    def __init__(self, upstreams: list[ScriptedUpstream], pool: UpstreamPool, log: Log) -> None:
        self.upstreams = upstreams
        self.pool = pool
        self.log = log

    @property
    def counts(self) -> list[int]:
        return [len(upstream.attempts) for upstream in self.upstreams]

    async def ask(self, *, seconds: float = 30, tenant: str = "acme", **body: Any) -> str:
        call = a_call(seconds=seconds, **body)
        with self.pool.attempt("up", tenant, call.body) as pooled:
            return (await pooled.complete(call)).text

    async def stream(self) -> str:
        call = a_call(is_stream=True)
        with self.pool.attempt("up", "acme", call.body) as pooled:
            events, rest = await pooled.open(call)
            text = ""
            while events is not None:
                text += "".join(event.text for event in events)
                events = await anext(rest, None)
            return text

    async def failure(self, asking: Awaitable[str]) -> UpstreamError:
        with pytest.raises(UpstreamError) as caught:
            await asking
        return caught.value

    async def any_attempt(self, count: int) -> None:
        """Until more than so many have arrived."""
        while sum(self.counts) <= count:
            await asyncio.sleep(0)

    async def dies(self, number: int) -> None:
        await self.upstreams[number].stop()


MakeServers = Callable[..., Awaitable[Servers]]


@pytest.fixture
async def make_servers(make_upstream: MakeUpstream) -> AsyncIterator[MakeServers]:
    pools: list[UpstreamPool] = []

    async def make(count: int = 2, *, clock: Clock | None = None, **settings: Any) -> Servers:
        upstreams = [await make_upstream() for _ in range(count)]
        for number, upstream in enumerate(upstreams):
            upstream.answers(f"from {number}")
        urls = tuple(upstream.url for upstream in upstreams)
        models = {"m": Model(size="small", free=True)}
        config = Config(upstreams={"up": UpstreamConfig(base_urls=urls, models=models, **settings)})
        log = Log()
        pools.append(UpstreamPool.build(config, clock or SystemClock(), lambda: 0.5, log.logger, Metrics()))
        return Servers(upstreams, pools[-1], log)

    yield make
    for pool in pools:
        await pool.close()


@asynccontextmanager
async def held(servers: Servers, count: int) -> AsyncIterator[None]:
    """So many calls, begun one after another, that are answered when the block ends."""
    gate = asyncio.Event()
    for upstream in servers.upstreams:
        upstream.answers("late", hold={0: gate})
    async with asyncio.TaskGroup() as tasks:
        for _ in range(count):
            before = sum(servers.counts)
            tasks.create_task(servers.ask())
            await servers.any_attempt(before)
        yield
        gate.set()


async def test_equal_servers_take_turns(make_servers: MakeServers) -> None:
    servers = await make_servers(3)

    answers = [await servers.ask() for _ in range(9)]

    assert servers.counts == [3, 3, 3]
    assert set(answers) == {"from 0", "from 1", "from 2"}


async def test_a_call_goes_to_the_server_with_the_least_to_do(make_servers: MakeServers) -> None:
    servers = await make_servers(3)

    async with held(servers, 6):
        assert servers.counts == [2, 2, 2]
        assert servers.pool.health("up") == (True, 6)

    assert servers.pool.health("up") == (True, 0)


async def test_what_a_server_has_to_do_for_others_counts(make_servers: MakeServers) -> None:
    servers = await make_servers(2)
    first, _ = servers.pool.endpoints()

    first.tell(Load(running=2, queued=1))
    for _ in range(4):
        await servers.ask()
    first.tell(None)
    for _ in range(2):
        await servers.ask()

    assert servers.counts == [1, 5]


async def test_our_own_calls_are_not_counted_twice(make_servers: MakeServers) -> None:
    servers = await make_servers(2)

    async with held(servers, 2):
        for endpoint in servers.pool.endpoints():
            endpoint.tell(Load(running=1, queued=0))

        assert [endpoint.busy for endpoint in servers.pool.endpoints()] == [1, 1]


async def test_a_larger_server_gets_more(make_servers: MakeServers) -> None:
    servers = await make_servers(2)
    large, small = servers.pool.endpoints()
    large.tell(Load(slots=12))
    small.tell(Load(slots=4))

    async with held(servers, 8):
        assert servers.counts == [6, 2]


@pytest.mark.fault("S3")
@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_server_that_refuses_connections_is_followed_by_another(
    make_servers: MakeServers, is_stream: bool
) -> None:
    servers = await make_servers(2)
    await servers.dies(0)

    answers = [await (servers.stream() if is_stream else servers.ask()) for _ in range(20)]

    assert set(answers) == {"from 1"}
    first, second = servers.pool.endpoints()
    assert (first.is_healthy, second.is_healthy) == (False, True)
    assert servers.pool.health("up") == (True, 0)


@pytest.mark.fault("S3")
@pytest.mark.parametrize("status", [429, 503, 529])
@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_busy_server_is_followed_by_another(
    make_servers: MakeServers, status: int, is_stream: bool
) -> None:
    servers = await make_servers(2)
    servers.upstreams[0].refuses(status)

    answers = [await (servers.stream() if is_stream else servers.ask()) for _ in range(2)]

    assert answers == ["from 1", "from 1"]
    assert servers.counts == [1, 2]


@pytest.mark.fault("S3")
async def test_each_server_is_tried_once_at_most(make_servers: MakeServers) -> None:
    servers = await make_servers(3)
    for upstream in servers.upstreams:
        upstream.refuses(503, retry_after="2")

    error = await servers.failure(servers.ask())

    assert (error.kind, error.status, error.may_have_charged) == ("busy", 503, False)
    assert error.retry_after_s == 2
    assert servers.counts == [1, 1, 1]
    assert servers.pool.health("up") == (False, 0)  # each asked to be left alone


@pytest.mark.fault("S3")
async def test_that_one_is_busy_says_more_than_that_another_is_away(make_servers: MakeServers) -> None:
    servers = await make_servers(2)
    servers.upstreams[0].refuses(429)
    await servers.dies(1)

    errors = [await servers.failure(servers.ask()) for _ in range(4)]

    assert {error.kind for error in errors} == {"busy"}


@pytest.mark.fault("S3")
async def test_what_blames_the_request_is_told_even_if_another_server_was_busy(
    make_servers: MakeServers,
) -> None:
    servers = await make_servers(2)
    servers.upstreams[0].refuses(503)
    servers.upstreams[1].refuses(400, message="too long")

    errors = [await servers.failure(servers.ask()) for _ in range(2)]

    assert [error.status for error in errors] == [400, 400]


@pytest.mark.fault("S3")
async def test_the_log_tells_which_server_failed(make_servers: MakeServers) -> None:
    servers = await make_servers(2)
    servers.upstreams[0].refuses(503)

    await servers.ask()

    first, second = servers.pool.endpoints()
    [line] = servers.log.lines
    assert (line["event"], line["endpoint"], line["following"]) == (
        "upstream.endpoint_failed",
        first.name,
        second.name,
    )
    assert (line["request_id"], line["kind"], line["status"]) == ("req_1", "busy", 503)


@pytest.mark.fault("S1")
@pytest.mark.parametrize(("total_s", "left_s"), [(300, 10), (10, 300)])
async def test_no_other_server_is_tried_when_the_time_is_over(
    make_servers: MakeServers, total_s: float, left_s: float
) -> None:
    clock = ManualClock()
    servers = await make_servers(2, clock=clock, total_timeout_s=total_s)

    async def is_late(_attempt: Attempt, wire: Wire) -> None:
        clock.advance(11)
        await wire.reply(503, b"")

    for upstream in servers.upstreams:
        upstream.does(is_late)
    call = msgspec.structs.replace(a_call(), deadline=clock.monotonic() + left_s)

    with pytest.raises(UpstreamError) as caught, servers.pool.attempt("up") as pooled:
        await pooled.complete(call)

    assert caught.value.kind == "busy"
    assert sum(servers.counts) == 1


async def breaks(_attempt: Attempt, wire: Wire) -> None:
    """The connection, before the first byte of the reply."""
    wire.reset()


OURS = [{"is_worker": True}, {"engine": "vllm"}]


@pytest.mark.fault("S19")
@pytest.mark.parametrize("settings", OURS, ids=["worker", "engine"])
@pytest.mark.parametrize("is_stream", [False, True])
async def test_what_breaks_before_it_answers_is_asked_of_another_server_of_ours(
    make_servers: MakeServers, settings: dict[str, Any], is_stream: bool
) -> None:
    servers = await make_servers(2, **settings)
    servers.upstreams[0].does(breaks)

    answers = [await (servers.stream() if is_stream else servers.ask()) for _ in range(2)]

    assert answers == ["from 1", "from 1"]
    assert servers.counts == [1, 2]


@pytest.mark.fault("S19")
@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("status", [500, 200])
async def test_an_answer_that_a_failing_server_of_ours_does_not_begin_is_had_of_another(
    make_servers: MakeServers, status: int, is_stream: bool
) -> None:
    servers = await make_servers(2, is_worker=True)
    if status == 500:
        servers.upstreams[0].refuses(500)
    else:
        servers.upstreams[0].reports_error()

    answers = [await (servers.stream() if is_stream else servers.ask()) for _ in range(2)]

    assert answers == ["from 1", "from 1"]


@pytest.mark.fault("S19")
async def test_a_request_that_fails_at_two_servers_is_not_let_loose_on_a_third(
    make_servers: MakeServers,
) -> None:
    servers = await make_servers(3, is_worker=True)
    for upstream in servers.upstreams:
        upstream.does(breaks)

    error = await servers.failure(servers.ask())

    assert (error.kind, error.may_have_charged) == ("interrupted", True)
    assert sum(servers.counts) == 2


@pytest.mark.fault("S19")
async def test_work_that_was_lost_is_not_forgotten_when_nobody_else_can_do_it(
    make_servers: MakeServers,
) -> None:
    servers = await make_servers(2, is_worker=True)
    servers.upstreams[0].does(breaks)
    servers.upstreams[1].refuses(503)

    errors = [await servers.failure(servers.ask()) for _ in range(2)]

    assert [(error.kind, error.may_have_charged) for error in errors] == [("busy", True)] * 2


@pytest.mark.fault("S19")
async def test_a_stream_that_has_begun_stays_with_its_server(make_servers: MakeServers) -> None:
    servers = await make_servers(2, is_worker=True)
    for upstream in servers.upstreams:
        upstream.breaks_off("reset", after=1)

    error = await servers.failure(servers.stream())

    assert error.kind == "interrupted"
    assert sum(servers.counts) == 1


@pytest.mark.fault("M32")
@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("how", ["breaks", "fails", "hangs", "babbles"])
async def test_what_may_have_been_billed_is_never_asked_of_another_server(
    make_servers: MakeServers, how: str, is_stream: bool
) -> None:
    servers = await make_servers(2, total_timeout_s=0.2)
    for upstream in servers.upstreams:
        match how:
            case "breaks":
                upstream.does(breaks)
            case "fails":
                upstream.refuses(500)
            case "hangs":
                upstream.hangs()
            case _:
                upstream.replies(200, b"<html>", content_type="text/html")

    error = await servers.failure(servers.stream() if is_stream else servers.ask())

    assert error.may_have_charged
    assert sum(servers.counts) == 1


async def test_what_blames_the_request_is_not_asked_again(make_servers: MakeServers) -> None:
    servers = await make_servers(2, is_worker=True)
    for upstream in servers.upstreams:
        upstream.refuses(400, message="too long")

    error = await servers.failure(servers.ask())

    assert error.caller_error is not None
    assert sum(servers.counts) == 1


async def test_who_hangs_up_says_nothing_of_the_server(make_servers: MakeServers) -> None:
    servers = await make_servers(2)
    for upstream in servers.upstreams:
        upstream.hangs()

    for _ in range(12):
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(servers.ask())
            await servers.any_attempt(sum(servers.counts))
            asked.cancel()

    assert sum(servers.counts) == 12
    assert servers.pool.health("up") == (True, 0)


async def test_a_server_behind_a_socket_is_called_by_it(make_upstream: MakeUpstream, tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    upstream = await make_upstream(socket_path=str(path))
    pool = build(UpstreamConfig(base_url=upstream.url, models={"m": Model(size="small", free=True)}))

    with pool.attempt("up") as pooled:
        reply = await pooled.complete(a_call())

    assert reply.text == "Paris"
    assert (upstream.attempts[0].path, upstream.attempts[0].headers["host"]) == (
        "/v1/chat/completions",
        "worker",
    )
    assert [endpoint.name for endpoint in pool.endpoints()] == ["server.sock"]
    await pool.close()


async def test_a_socket_that_nobody_listens_at_refuses_connections(tmp_path: Path) -> None:
    pool = build(UpstreamConfig(base_url=f"unix:{tmp_path}/x", models={"m": Model(size="small", free=True)}))

    with pytest.raises(UpstreamError) as caught, pool.attempt("up") as pooled:
        await pooled.complete(a_call())

    assert (caught.value.kind, caught.value.may_have_charged) == ("connect", False)
    await pool.close()


@pytest.mark.parametrize("is_socket", [False, True])
async def test_a_page_comes_by_the_servers_own_way(
    make_upstream: MakeUpstream, tmp_path: Path, is_socket: bool
) -> None:
    path = str(tmp_path / "server.sock") if is_socket else ""
    upstream = await make_upstream(socket_path=path)
    pool = build(UpstreamConfig(base_url=upstream.url, models={"m": Model(size="small", free=True)}))
    [endpoint] = pool.endpoints()
    url = endpoint.endpoint.url.removesuffix("/v1") + "/metrics"

    page = await endpoint.page(url, timeout_s=5, max_bytes=1000)
    cut = await endpoint.page(url, timeout_s=5, max_bytes=10)
    upstream.probe_status = 404
    missing = await endpoint.page(url, timeout_s=5, max_bytes=1000)
    await upstream.stop()
    gone = await endpoint.page(url, timeout_s=5, max_bytes=1000)
    await pool.close()
    late = await endpoint.page(url, timeout_s=5, max_bytes=1000)

    assert page == b'{"object":"list","data":[]}'
    assert (cut, missing, gone, late) == (None, None, None, None)


@pytest.mark.parametrize("is_own", [True, False])
async def test_the_key_goes_to_its_own_server_alone(
    make_upstream: MakeUpstream, tmp_path: Path, is_own: bool
) -> None:
    own, other = await make_upstream(key="sk-own"), await make_upstream(key="sk-own")
    for server in (own, other):
        server.tells("a page")
    key_file = tmp_path / "key"
    key_file.write_text("sk-own")
    models = {"m": Model(size="small", free=True)}
    pool = build(UpstreamConfig(base_url=own.url, api_key_file=str(key_file), models=models))
    [endpoint] = pool.endpoints()
    url = (own if is_own else other).url.removesuffix("/v1") + "/metrics"

    page = await endpoint.page(url, timeout_s=5, max_bytes=1000)

    assert page == (b"a page" if is_own else None)
    await pool.close()


def build(settings: UpstreamConfig) -> UpstreamPool:
    return UpstreamPool.build(
        Config(upstreams={"up": settings}), SystemClock(), lambda: 0.5, Log().logger, Metrics()
    )
