"""All upstreams together: built from the configuration, counted, and left alone when they fail."""

import ast
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import gateway
from gateway.clock import Clock, ManualClock, SystemClock
from gateway.config import Config, Model
from gateway.config import Upstream as UpstreamConfig
from gateway.errors import ConfigError
from gateway.telemetry.metrics import Metrics
from gateway.upstreams.contract import UpstreamError
from gateway.upstreams.pool import UpstreamPool
from tests.fixtures.ledger import Log
from tests.fixtures.scripted_upstream import ScriptedUpstream
from tests.fixtures.upstream_calls import a_call

SERVER_FAILED = UpstreamError("connect", "down")


def configured(base_url: str = "http://127.0.0.1:9/v1", **settings: Any) -> Config:
    models = {"m": Model(size="small", free=True)}
    return Config(upstreams={"up": UpstreamConfig(base_url=base_url, models=models, **settings)})


def build(config: Config, clock: Clock | None = None) -> UpstreamPool:
    return UpstreamPool.build(config, clock or ManualClock(), lambda: 0.5, Log().logger, Metrics())


def fail(pool: UpstreamPool, error: UpstreamError = SERVER_FAILED, *, times: int = 1) -> None:
    for _ in range(times):
        with suppress(UpstreamError), pool.attempt("up"):
            raise error


@pytest.fixture
async def pool(upstream: ScriptedUpstream) -> AsyncIterator[UpstreamPool]:
    pool = build(configured(upstream.url))
    yield pool
    await pool.close()


async def test_a_configured_upstream_can_be_called_with_its_own_key(
    upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.key = "sk-upstream"
    monkeypatch.setenv("UP_KEY", "sk-upstream\n")
    pool = build(configured(upstream.url, api_key_env="UP_KEY"), SystemClock())

    with pool.attempt("up") as pooled:
        reply = await pooled.complete(a_call())

    assert reply.text == "Paris"
    await pool.close()


@pytest.mark.parametrize("host", ["api.openai.com", "10.0.0.5:8000"])
def test_a_server_elsewhere_needs_a_key(host: str) -> None:
    with pytest.raises(ConfigError, match=r"upstreams\.up: .*api_key_env"):
        build(configured(f"https://{host}/v1"))


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000"])
def test_a_server_on_this_machine_may_do_without_a_key(host: str) -> None:
    pool = build(configured(f"http://{host}/v1"))

    assert pool.names() == ("up",)


def test_a_key_that_no_header_can_carry_is_found_at_start(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sk-1\nsk-2\n")

    with pytest.raises(ConfigError, match=r"upstreams\.up: .*header"):
        build(configured(api_key_file=str(file)))


async def test_health_tells_how_many_calls_are_under_way(pool: UpstreamPool) -> None:
    with pool.attempt("up"), suppress(UpstreamError):
        with pool.attempt("up"):
            pass
        with pool.attempt("up"):
            raise SERVER_FAILED

        assert pool.health("up") == (True, 1)

    assert pool.health("up") == (True, 0)


@pytest.mark.fault("S3")
async def test_an_upstream_that_keeps_failing_is_left_alone(pool: UpstreamPool) -> None:
    fail(pool, times=5)

    assert pool.health("up") == (False, 0)
    with pytest.raises(UpstreamError, match="left alone"), pool.attempt("up"):
        pass


@pytest.mark.fault("S3")
async def test_an_upstream_that_came_back_is_called_again(upstream: ScriptedUpstream) -> None:
    clock = ManualClock()
    pool = build(configured(upstream.url), clock)
    fail(pool, times=5)
    clock.advance(1.1)

    with pool.attempt("up") as pooled:
        _first, rest = await pooled.open(a_call(seconds=4e9, is_stream=True))

        assert pool.health("up") == (True, 1)
    await rest.aclose()
    await pool.close()


async def test_a_breaker_can_be_switched_off() -> None:
    pool = build(configured(is_breaker_enabled=False))
    fail(pool, times=50)

    assert pool.health("up") == (True, 0)


async def test_a_server_that_says_when_to_come_back_is_left_alone_until_then() -> None:
    clock = ManualClock()
    pool = build(configured(), clock)

    fail(pool, UpstreamError("busy", "", status=429, retry_after_s=3))

    assert pool.health("up") == (False, 0)
    clock.advance(3)
    assert pool.health("up") == (True, 0)


async def test_building_a_pool_connects_to_nothing(upstream: ScriptedUpstream, pool: UpstreamPool) -> None:
    assert pool.names() == ("up",)
    assert upstream.connections == 0


@pytest.mark.fault("S3")
async def test_an_attempt_tells_the_breaker_how_it_ended(
    upstream: ScriptedUpstream, pool: UpstreamPool
) -> None:
    await upstream.stop()
    for _ in range(5):
        with pytest.raises(UpstreamError), pool.attempt("up") as server:
            await server.complete(a_call(seconds=4e9))  # the pool's clock is not the system's

    with pytest.raises(UpstreamError) as caught, pool.attempt("up"):
        pass

    assert (caught.value.kind, caught.value.may_have_charged) == ("busy", False)
    assert pool.health("up") == (False, 0)


async def test_an_attempt_that_the_caller_gave_up_says_nothing_of_the_server(pool: UpstreamPool) -> None:
    for _ in range(5):
        with pytest.raises(KeyboardInterrupt), pool.attempt("up"):
            raise KeyboardInterrupt

    assert pool.health("up") == (True, 0)


@pytest.mark.fault("M32")
def test_one_function_alone_sends_what_costs_money_and_it_takes_a_reservation() -> None:
    root = Path(gateway.__file__).parent
    importers = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Import) and any(name.name.split(".")[0] == "aiohttp" for name in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "aiohttp")
    }
    source = ast.parse((root / "upstreams/transport.py").read_text())
    senders = [
        (function.name, [ast.unparse(argument.annotation or argument) for argument in function.args.args[1:]])
        for function in ast.walk(source)
        if isinstance(function, ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and node.attr in ("post", "request", "put", "_request")
    ]

    assert importers == {"upstreams/connecting.py", "upstreams/transport.py"}
    assert senders == [("open", ["UpstreamCall", "str"])]
