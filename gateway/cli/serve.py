"""`weighbridge serve`: the apps' listener and the admins' listener in one process, until it is told to stop."""

import argparse
import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from pathlib import Path

import uvicorn
import uvloop
from litestar.types import ASGIApp

from gateway.app import Gateway, create_app
from gateway.config import Config, default_data_dir, environment, load
from gateway.errors import ConfigError
from gateway.failpoints import Failpoints
from gateway.limits.embedded import embedded_stores

_KEEP_ALIVE_S = 75


def config_path(args: argparse.Namespace) -> Path:
    return args.config or default_data_dir() / "config.yaml"


def run(args: argparse.Namespace) -> int:
    config = load(config_path(args))
    crash_at = environment().get("WEIGHBRIDGE_CRASH_AT")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve(config, Failpoints(crash_at)))


async def serve(config: Config, failpoints: Failpoints) -> int:
    with listening(config) as (apps, admins), embedded_stores(config) as urls:
        gateway = create_app(config, store_urls=urls, failpoints=failpoints)
        async with gateway.running():
            servers = [_server(gateway.public, config), _server(gateway.admin, config)]
            async with asyncio.TaskGroup() as tasks, _stopping(gateway, servers):
                tasks.create_task(servers[0].serve(sockets=[apps]))
                tasks.create_task(servers[1].serve(sockets=[admins]))
                print(f"weighbridge: serving http://{config.server.host}:{apps.getsockname()[1]}/v1", file=sys.stderr)
    return 0


@contextmanager
def listening(config: Config) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both sockets bound before anything else starts. Raises ConfigError if a port is taken."""
    server = config.server
    with (
        _bound("server.port", server.host, server.port) as apps,
        _bound("server.admin_port", server.admin_host, server.admin_port) as admins,
    ):
        yield apps, admins


def _bound(where: str, host: str, port: int) -> socket.socket:
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, proto)
    except OSError as exc:
        raise ConfigError(f"{where}: cannot listen on {host}:{port}: {exc.strerror or exc}") from exc
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(address)
    except OSError as exc:
        sock.close()
        raise ConfigError(f"{where}: cannot listen on {host}:{port}: {exc.strerror}; choose another port") from exc
    sock.setblocking(False)
    return sock


class _Server(uvicorn.Server):
    """Signals are ours to handle, because two servers share the process."""

    def capture_signals(self) -> nullcontext[None]:  # type: ignore[override]  # a context manager all the same
        return nullcontext()


def _server(app: ASGIApp, config: Config) -> _Server:
    return _Server(
        uvicorn.Config(
            app,  # type: ignore[arg-type]  # Litestar's ASGI types and uvicorn's say the same in other words
            loop="none",
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=round(config.server.drain_s),
            backlog=4096,
        )
    )


@asynccontextmanager
async def _stopping(gateway: Gateway, servers: list[_Server]) -> AsyncIterator[None]:
    """The first SIGTERM or SIGINT drains; a second one does not wait."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for server in servers:
            server.force_exit = gateway.is_draining
            server.should_exit = True
        gateway.is_draining = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        pass
