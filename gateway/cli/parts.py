"""The processes of `weighbridge up`: started in order, watched, and stopped in the opposite order.

A replica of a worker that once was well is started again when it ends; with anything else, all ends.
"""

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from gateway.cli.child import Child
from gateway.cli.fleet import NeverReadyError
from gateway.cli.fleets import Fleets
from gateway.cli.knock import Door
from gateway.cli.launch import LocalLauncher
from gateway.cli.progress import Progress
from gateway.cli.replica import Process
from gateway.cli.signals import Signals
from gateway.cli.stores import configured_stores, embedded
from gateway.cli.supervisor import START_S, told
from gateway.cli.welcome import reachable, url
from gateway.clock import Clock
from gateway.config import Config
from gateway.errors import ConfigError
from gateway.limits.embedded import EmbeddedStore, Purpose

_SPARE_S = 10.0
"""Beyond its time to drain, for a part's last writes."""
_TICK_S = 0.1
_LAST_LINES = 12
_ASKERS = 16
"""Threads that ask replicas how they are. One that hangs holds its thread for a second."""


class StopRequested(Exception):  # noqa: N818 - no error: somebody wants us to stop
    pass


class PartEndedError(Exception):
    def __init__(self, message: str, last_lines: list[str]) -> None:
        self.last_lines = last_lines
        super().__init__(message)


class Parts:
    def __init__(
        self, path: Path, config: Config, signals: Signals, progress: Progress, clock: Clock
    ) -> None:
        self._path = path
        self._config = config
        self._signals = signals
        self._progress = progress
        self._clock = clock
        self._stops = ExitStack()
        self._stores: list[tuple[Purpose, EmbeddedStore]] = []
        self._gateway: Child | None = None
        self._fleets: Fleets | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stops.close()

    def start(self) -> None:
        """Raises StopRequested, PartEndedError, or ConfigError when a part refuses its set-up."""
        self._start_stores()
        self._progress.done("stores for limits and cache")
        fleets = self._start_workers()
        gateway = self._start_gateway()
        for fleet in fleets:
            while not fleet.is_complete:
                self._tick()
            self._progress.done(fleet.title)
        self._await(gateway)
        self._progress.done(gateway.name)

    def watch(self) -> NoReturn:
        """Until a part ends that is not started again, or somebody wants all to stop: raises as `start` does."""
        while True:
            self._tick()
            if self._signals.take_reload() and self._fleets is not None:
                self._fleets.reload()

    def _start_stores(self) -> None:
        urls = configured_stores(self._config)
        wanted: tuple[tuple[Purpose, str], ...] = (("limits", urls.limits), ("cache", urls.cache))
        for purpose, configured in wanted:
            store = embedded(self._config, purpose)
            if configured == store.url:
                self._stops.callback(store.stop)
                store.start()
                self._stores.append((purpose, store))

    def _start_workers(self) -> Fleets:
        launcher = LocalLauncher(self._config.data_path, self._clock)
        launcher.clear()
        askers = self._stops.enter_context(ThreadPoolExecutor(_ASKERS, thread_name_prefix="ask"))
        self._fleets = Fleets(
            self._path,
            self._config,
            launcher,
            clock=self._clock,
            say=self._progress.event,
            ask=askers.submit,
        )
        self._stops.callback(self._fleets.stop, self._is_hurried)
        self._tick()
        return self._fleets

    def _start_gateway(self) -> Child:
        server = self._config.server
        self._gateway = Child(
            f"gateway: {url(server.host, server.port)}",
            # -P: a folder called `gateway` where the user happens to stand is not ours.
            [sys.executable, "-P", "-m", "gateway.cli", "serve", "--config", str(self._path)],
            log=self._config.data_path / "logs" / "gateway.log",
            door=Door(reachable(server.host), server.port),
            stop_s=server.drain_s + _SPARE_S,
            clock=self._clock,
        )
        self._stops.callback(self._gateway.stop, self._is_hurried)
        self._gateway.start()
        return self._gateway

    def _is_hurried(self) -> bool:
        return self._signals.count > 1

    def _await(self, child: Child) -> None:
        deadline = self._clock.monotonic() + START_S
        while child.health() != "ready":
            self._tick()
            if self._clock.monotonic() > deadline:
                lines = child.last_lines(_LAST_LINES)
                raise PartEndedError(f"{child.name} was not ready within {START_S:.0f} s", lines)

    def _tick(self) -> None:
        if self._signals.count:
            raise StopRequested
        for purpose, store in self._stores:
            if store.pid is not None and _has_ended(store.pid):
                raise PartEndedError(f"the store for {purpose} ended by itself", [])
        if self._gateway is not None:
            self._gateway.rotate_log()
            if self._gateway.exit_code is not None:
                raise _ending(self._gateway, f"ended by itself with {told(self._gateway.exit_code)}")
        if self._fleets is not None:
            try:
                self._fleets.look()
            except NeverReadyError as exc:
                raise _ending(exc.process, str(exc)) from exc
        time.sleep(_TICK_S)


def _ending(child: Child | Process, why: str) -> Exception:
    if complaint := child.complaint():
        return ConfigError(f"{child.name}: {complaint}")
    return PartEndedError(f"{child.name} {why}; see {child.log}", child.last_lines(_LAST_LINES))


def _has_ended(pid: int) -> bool:
    """Asks without taking the exit code from whoever will wait for it."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
