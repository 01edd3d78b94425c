"""The processes of `weighbridge up`: started in order, watched, and stopped in the opposite order.

A model worker that once was well is started again when it ends; with anything else, all ends.
"""

import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from gateway.cli.child import Child
from gateway.cli.progress import Progress
from gateway.cli.signals import Signals
from gateway.cli.stores import configured_stores, embedded
from gateway.cli.supervisor import START_S, Supervisor, told
from gateway.cli.welcome import reachable, url
from gateway.clock import Clock
from gateway.config import Config, Worker
from gateway.errors import ConfigError
from gateway.limits.embedded import EmbeddedStore, Purpose

_WORKER_DRAIN_S = 5.0
"""The gateway is gone when a worker is stopped: nobody waits for its answers."""
_SPARE_S = 10.0
"""Beyond its time to drain, for a part's last writes."""
_TICK_S = 0.1
_LAST_LINES = 12


class StopRequested(Exception):  # noqa: N818 - no error: somebody wants us to stop
    pass


class PartEndedError(Exception):
    def __init__(self, message: str, last_lines: list[str]) -> None:
        self.last_lines = last_lines
        super().__init__(message)


class Parts:
    def __init__(self, path: Path, config: Config, signals: Signals, clock: Clock) -> None:
        self._path = path
        self._config = config
        self._signals = signals
        self._clock = clock
        self._stops = ExitStack()
        self._stores: list[tuple[Purpose, EmbeddedStore]] = []
        self._children: list[Child] = []
        self._required: list[Child] = []
        """Without one of these, all ends: the gateway, and workers that never were well."""
        self._supervisors: list[Supervisor] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stops.close()

    def start(self, progress: Progress) -> None:
        """Raises StopRequested, PartEndedError, or ConfigError when a part refuses its set-up."""
        self._start_stores()
        progress.done("stores for limits and cache")
        workers = [self._worker(name, worker) for name, worker in self._config.workers.items()]
        gateway = self._gateway()
        self._children = [*workers, gateway]
        self._required = list(self._children)
        for child in self._children:
            self._stops.callback(child.stop, lambda: self._signals.count > 1)
            child.start()
        for worker in workers:
            self._await(worker)
            self._required.remove(worker)
            self._supervisors.append(Supervisor(worker, self._clock, progress.event))
            progress.done(worker.name)
        self._await(gateway)
        progress.done(gateway.name)

    def watch(self) -> NoReturn:
        """Until a part ends that is not started again, or somebody wants all to stop: raises as `start` does."""
        while True:
            self._tick()

    def _start_stores(self) -> None:
        urls = configured_stores(self._config)
        wanted: tuple[tuple[Purpose, str], ...] = (("limits", urls.limits), ("cache", urls.cache))
        for purpose, configured in wanted:
            store = embedded(self._config, purpose)
            if configured == store.url:
                self._stops.callback(store.stop)
                store.start()
                self._stores.append((purpose, store))

    def _await(self, child: Child) -> None:
        deadline = self._clock.monotonic() + START_S
        while not child.is_ready():
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
        for child in self._children:
            child.rotate_log()
        for child in self._required:
            if child.exit_code is not None:
                raise _ending(child, child.exit_code)
        for supervisor in self._supervisors:
            supervisor.look()
        time.sleep(_TICK_S)

    def _worker(self, name: str, worker: Worker) -> Child:
        return self._child(
            f"worker `{name}`: {', '.join(worker.serves)}",
            ["workers", *worker_options(worker)],
            log=f"worker-{name}.log",
            at=(worker.host, worker.port or 0),
            stop_s=_WORKER_DRAIN_S + _SPARE_S,
        )

    def _gateway(self) -> Child:
        server = self._config.server
        return self._child(
            f"gateway: {url(server.host, server.port)}",
            ["gateway.cli", "serve", "--config", str(self._path)],
            log="gateway.log",
            at=(server.host, server.port),
            stop_s=server.drain_s + _SPARE_S,
        )

    def _child(self, name: str, module: list[str], *, log: str, at: tuple[str, int], stop_s: float) -> Child:
        host, port = at
        return Child(
            name,
            # -P: a folder called `workers` where the user happens to stand is not ours.
            [sys.executable, "-P", "-m", *module],
            log=self._config.data_path / "logs" / log,
            probe=(reachable(host), port, "/readyz"),
            stop_s=stop_s,
            clock=self._clock,
        )


def worker_options(worker: Worker) -> list[str]:
    """Of `python -m workers`."""
    options = ["--model", worker.model, "--host", worker.host, "--port", str(worker.port)]
    options += [word for served in worker.serves for word in ("--serve", served)]
    options += ["--engine", worker.engine, "--precision", worker.precision, "--device", worker.device]
    if worker.kv_gib is not None:
        options += ["--kv-gib", str(worker.kv_gib)]
    options += ["--slots", str(worker.slots), "--context", str(worker.context_window)]
    options += ["--threads", str(worker.threads), "--drain", str(_WORKER_DRAIN_S), "--die-with-parent"]
    if worker.api_key_env:
        options += ["--api-key-env", worker.api_key_env]
    elif worker.api_key_file:
        options += ["--api-key-file", str(Path(worker.api_key_file).expanduser())]
    return options


def _ending(child: Child, code: int) -> Exception:
    if complaint := child.complaint():
        return ConfigError(f"{child.name}: {complaint}")
    return PartEndedError(
        f"{child.name} ended by itself with {told(code)}; see {child.log}", child.last_lines(_LAST_LINES)
    )


def _has_ended(pid: int) -> bool:
    """Asks without taking the exit code from whoever will wait for it."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
