"""The life of a worker process: listen, load, prove that the model speaks, serve, drain, end."""

import asyncio
import os
import secrets
import signal
import socket
from collections.abc import Callable
from contextlib import nullcontext

import msgspec
import structlog
import uvicorn
import uvloop

from workers.errors import ConfigError, EngineError
from workers.gpu import Gpus, Nvml
from workers.health import Canary
from workers.server import WorkerApp
from workers.service import Service
from workers.spot import SpotWatch
from workers.stopping import Stop
from workers.timing import Clocks

log = structlog.get_logger()

KILL_AFTER_S = 10
"""How long the engine may take to end, beyond the drain. One that hangs cannot be asked twice."""
LAST_WORDS_S = 2.0
"""For the errors of the requests whose engine died to reach their callers."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    names: tuple[str, ...]
    api_key: str | None
    lame_duck_s: float
    drain_s: float
    dies_with_parent: bool
    spot: SpotWatch | None


def run(
    service: Service, settings: Settings, clocks: Clocks, sock: socket.socket, on_ready: Callable[[], None]
) -> None:
    """Returns after SIGTERM or SIGINT. Raises ConfigError if the model cannot load, and EngineError if it was lost: then
    leave the process without letting it clean up, as the GPU may not answer any more."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(service, settings, clocks, sock, on_ready))


async def _serve(
    service: Service, settings: Settings, clocks: Clocks, sock: socket.socket, on_ready: Callable[[], None]
) -> None:
    now_s = clocks.monotonic_s
    canary = Canary(service.probe, now_s=now_s)
    app = WorkerApp(
        service,
        canary,
        names=settings.names,
        api_key=settings.api_key,
        clocks=clocks,
        new_id=lambda: secrets.token_hex(12),
        gpus=Gpus(Nvml(_visible_gpus()), now_s=now_s),
    )
    server = _Server(_uvicorn_config(app))
    stop = Stop(now_s=now_s)
    stop.on_signals()
    failure: ConfigError | None = None
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(server.serve(sockets=[sock]))
        background = []
        if settings.dies_with_parent:
            background.append(tasks.create_task(_stop_with_parent(stop)))
        if settings.spot is not None:
            background.append(tasks.create_task(_stop_on_notice(stop, settings.spot)))
        try:
            await service.start()
            stop.on_signals()  # llama.cpp put its own handlers in place
            background.append(tasks.create_task(_stop_when_dead(stop, service)))
            await canary.check()
            if not canary.is_well:
                raise ConfigError("the model loaded but answers nothing; the lines above say why")
        except ConfigError as exc:
            failure = exc
        else:
            app.loaded()
            background.append(tasks.create_task(canary.watch()))
            lame_duck_s = 0 if stop.is_asked else settings.lame_duck_s  # else nobody has heard of it
            on_ready()
            await stop.wait()
            app.leave()
            await stop.wait_hurried(stop.limit(lame_duck_s, then_s=settings.drain_s))
            drain_s = LAST_WORDS_S if stop.is_broken else stop.limit(settings.drain_s)
            signal.alarm(round(drain_s) + KILL_AFTER_S)
            await app.drain(drain_s)
        server.should_exit = True
        await serving
        for task in background:
            task.cancel()
    if stop.is_broken:
        raise EngineError
    await service.stop()
    if failure is not None:
        raise failure


class _Server(uvicorn.Server):
    """Signals are ours: the engine has to be drained before the sockets close."""

    def capture_signals(self) -> nullcontext[None]:  # type: ignore[override]  # a context manager all the same
        return nullcontext()


def _uvicorn_config(app: WorkerApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="none",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=2,
    )


def _visible_gpus() -> str | None:
    return os.environ.get("CUDA_VISIBLE_DEVICES")  # noqa: TID251 - CUDA itself reads it there, and nowhere else


async def _stop_with_parent(stop: Stop) -> None:
    parent = os.getppid()
    while os.getppid() == parent:
        await asyncio.sleep(0.5)
    stop.ask()


async def _stop_when_dead(stop: Stop, service: Service) -> None:
    await service.run()
    log.error("engine.died")
    stop.break_off()


async def _stop_on_notice(stop: Stop, spot: SpotWatch) -> None:
    stop.ask(within_s=await spot.notice())
