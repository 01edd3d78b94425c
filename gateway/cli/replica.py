"""One process of a worker from its start to its end: on trial until it was well once, then kept running, then retired."""

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import msgspec

from gateway.cli import supervisor
from gateway.cli.supervisor import Ask, Supervisor
from gateway.clock import Clock
from gateway.config import Worker
from gateway.fleet.contract import Endpoint, Load

NOTICE_S = 2.0
"""From its leaving the roster to SIGTERM. Gateways read the roster four times a second."""
SPARE_S = 15.0
"""Beyond its time to drain, for an engine that takes long to end."""

State = Literal["starting", "ready", "unwell", "waiting", "retiring"]


class Process(supervisor.Process, Protocol):
    @property
    def endpoint(self) -> Endpoint: ...

    @property
    def pid(self) -> int | None:
        """None unless it runs."""
        ...

    def load(self) -> Load | None:
        """What it tells of itself; None if it does not in time. For another thread than ours."""
        ...

    def last_lines(self, count: int) -> list[str]:
        """Of what it wrote in this run."""
        ...

    def rotate_log(self) -> None: ...

    def end(self, is_hurried: Callable[[], bool]) -> None:
        """After `terminate`: waits, and kills what has not ended in time."""
        ...


class Stamp(msgspec.Struct, frozen=True):
    """A file of a model, as it lay there when a process was started with it."""

    path: str
    size: int
    modified_ns: int


class Recipe(msgspec.Struct, frozen=True):
    """What makes a process what it is: those with the same recipe need not give way to each other."""

    settings: Worker
    files: tuple[Stamp, ...]


class Replica:
    def __init__(
        self,
        label: str,
        process: Process,
        *,
        recipe: Recipe,
        drain_s: float,
        gpus: Sequence[str],
        replaces: "Replica | None",
        clock: Clock,
        say: Callable[[str], None],
        ask: Ask,
    ) -> None:
        self.label = label
        self.process = process
        self.recipe = recipe
        self.gpus = tuple(gpus)
        self.replaces = replaces
        """Who gives way once this one is ready."""
        self._drain_s = drain_s
        self._clock = clock
        self._supervisor = Supervisor(process, clock, say, ask)
        self._terminate_at: float | None = None
        self._kill_at: float | None = None

    @property
    def state(self) -> State:
        return "retiring" if self._terminate_at is not None else self._supervisor.state

    @property
    def is_ready(self) -> bool:
        return self.state == "ready"

    @property
    def is_retiring(self) -> bool:
        return self._terminate_at is not None

    @property
    def is_gone(self) -> bool:
        return self.is_retiring and self.process.pid is None

    @property
    def failure(self) -> str:
        """Why it never was well."""
        return "" if self.is_retiring else self._supervisor.failure

    @property
    def restarts(self) -> int:
        return self._supervisor.restarts

    def start(self) -> None:
        self._supervisor.start()

    def look(self) -> None:
        """To be called many times a second. Waits for nothing."""
        self.process.rotate_log()
        if self._terminate_at is None:
            self._supervisor.look()
        else:
            self._see_off(self._terminate_at)

    def retire(self) -> None:
        """It finishes what it does. Whoever reads the roster has a moment to see that it is not in there any more."""
        self._terminate_at = self._clock.monotonic() + (NOTICE_S if self.is_ready else 0)
        self._see_off(self._terminate_at)

    def _see_off(self, terminate_at: float) -> None:
        now = self._clock.monotonic()
        if self._kill_at is not None:
            if now >= self._kill_at:
                self.process.kill()
        elif now >= terminate_at:
            self.process.terminate()
            self._kill_at = now + self._drain_s + SPARE_S
