"""One model worker of `weighbridge up`: when it dies or falls silent it is started again, after longer and longer pauses.

The gateway meanwhile routes around it: its breaker and its fallbacks need nothing from here.
"""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from gateway.clock import Clock

START_S = 600.0
"""A large model takes minutes to load from a slow disk."""
EVERY_S = 2.0
"""Between two looks at its health."""
SILENT_S = 30.0
"""A worker that was not well for so long is stopped. Its own canary is patient before it says so."""
KILL_AFTER_S = 10.0
"""What hangs may not hear that it should end."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
WELL_S = 60.0
"""After so long in good health, the next pause is the first one again."""


class Process(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def log(self) -> Path: ...

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        ...

    def start(self) -> None:
        """Raises OSError."""
        ...

    def is_ready(self) -> bool:
        """Asks its canary, within a deadline."""
        ...

    def terminate(self) -> None: ...

    def kill(self) -> None: ...

    def complaint(self) -> str:
        """What it said has to be changed before it can run, if it ended for that; else empty."""
        ...


class Supervisor:
    def __init__(self, worker: Process, clock: Clock, say: Callable[[str], None]) -> None:
        """Takes over a worker that runs and is well."""
        self._worker = worker
        self._clock = clock
        self._say = say
        self._well_since: float | None = clock.monotonic()
        """None from its start until it is ready."""
        self._silent_since: float | None = None
        self._look_at = clock.monotonic()
        self._kill_at: float | None = None
        self._start_at: float | None = None
        self._pause_s = FIRST_PAUSE_S

    def look(self) -> None:
        """To be called many times a second. Takes no longer than one look at its health."""
        now = self._clock.monotonic()
        if self._start_at is not None:
            if now >= self._start_at:
                self._start(now)
        elif self._worker.exit_code is not None:
            self._ended(now, self._worker.exit_code)
        elif self._kill_at is not None:
            if now >= self._kill_at:
                self._worker.kill()
        elif now >= self._look_at:
            self._look_at_health()

    def _start(self, now: float) -> None:
        self._start_at = self._kill_at = self._well_since = None
        self._look_at = self._silent_since = now
        try:
            self._worker.start()
        except OSError as exc:
            self._pause(now, f"cannot be started: {exc.strerror}")

    def _ended(self, now: float, code: int) -> None:
        well_until = now if self._silent_since is None else self._silent_since
        if self._well_since is not None and well_until - self._well_since >= WELL_S:
            self._pause_s = FIRST_PAUSE_S
        complaint = self._worker.complaint()
        self._pause(now, f"ended with {told(code)}{f': {complaint}' if complaint else ''}")

    def _pause(self, now: float, why: str) -> None:
        self._start_at = now + self._pause_s
        self._say(
            f"{self._worker.name} {why}; starting it again in {self._pause_s:.0f} s; see {self._worker.log}"
        )
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def _look_at_health(self) -> None:
        is_well = self._worker.is_ready()
        now = self._clock.monotonic()
        self._look_at = now + EVERY_S
        if is_well:
            if self._well_since is None:
                self._well_since = now
                self._say(f"{self._worker.name} is well again")
            self._silent_since = None
            return
        # Counted from the first look that failed, not from the last good one: when all of us stood still together, as
        # on a laptop that slept, nobody was silent.
        if self._silent_since is None:
            self._silent_since = now
        limit = START_S if self._well_since is None else SILENT_S
        if now - self._silent_since >= limit:
            self._say(f"{self._worker.name} has not been well for {limit:.0f} s; stopping it")
            self._worker.terminate()
            self._kill_at = now + KILL_AFTER_S


def told(exit_code: int) -> str:
    if exit_code >= 0:
        return f"exit code {exit_code}"
    return f"exit code {exit_code} ({signal.strsignal(-exit_code)})"
