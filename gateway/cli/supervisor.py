"""One process of a worker: when it dies or falls silent it is started again, after longer and longer pauses.

The gateway meanwhile routes around it: its breaker and its fallbacks need nothing from here.
"""

import signal
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from gateway.clock import Clock

T = TypeVar("T")
Health = Literal["ready", "unready", "leaving", "silent"]
"""`leaving`: somebody else told it to stop, and it finishes what it does."""
State = Literal["starting", "ready", "unwell", "waiting"]


class Ask(Protocol):
    """Has a question answered while we do other things."""

    def __call__(self, question: Callable[[], T], /) -> "Future[T]": ...


START_S = 600.0
"""A large model takes minutes to load from a slow disk."""
EVERY_S = 2.0
"""Between two looks at its health."""
STARTING_EVERY_S = 0.25
"""Likewise, of one that is not ready yet."""
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

    def health(self) -> Health:
        """Asks its canary, within a deadline. For another thread than ours."""
        ...

    def terminate(self) -> None: ...

    def kill(self) -> None: ...

    def complaint(self) -> str:
        """What it said has to be changed before it can run, if it ended for that; else empty."""
        ...


class Pauses:
    """1, 2, 4, ... 60 seconds."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._next_s = FIRST_PAUSE_S

    def take(self) -> float:
        pause_s, self._next_s = self._next_s, min(2 * self._next_s, LONGEST_PAUSE_S)
        return pause_s


class Supervisor:
    """What never was well is not started again: `failure` says why, and somebody else decides."""

    def __init__(self, worker: Process, clock: Clock, say: Callable[[str], None], ask: Ask) -> None:
        self._worker = worker
        self._clock = clock
        self._say = say
        self._ask = ask
        self._answer: Future[Health] | None = None
        self._said: Health = "silent"
        self._was_well = False
        self._well_since: float | None = None
        """None from its start until it is ready."""
        self._silent_since: float | None = None
        self._look_at = 0.0
        self._kill_at: float | None = None
        self._start_at: float | None = None
        self._pauses = Pauses()
        self.failure = ""
        self.restarts = 0

    @property
    def state(self) -> State:
        """One that misses a look stays ready; one that says itself that it is not, or is being stopped, does not."""
        if self._start_at is not None:
            return "waiting"
        if self._well_since is None:
            return "starting"
        is_ready = (
            self._kill_at is None and self._said in ("ready", "silent") and self._worker.exit_code is None
        )
        return "ready" if is_ready else "unwell"

    def start(self) -> None:
        """For the first time."""
        self._start(self._clock.monotonic())

    def look(self) -> None:
        """To be called many times a second. Waits for nothing."""
        now = self._clock.monotonic()
        if self.failure:
            return
        if self._start_at is not None:
            if now >= self._start_at:
                self.restarts += 1
                self._start(now)
        elif self._worker.exit_code is not None:
            self._ended(now, self._worker.exit_code)
        elif self._kill_at is not None:
            if now >= self._kill_at:
                self._worker.kill()
        elif now >= self._look_at:
            self._look_at_health()

    def _start(self, now: float) -> None:
        self._start_at = self._kill_at = self._well_since = self._answer = None
        self._said = "silent"
        self._look_at = self._silent_since = now
        try:
            self._worker.start()
        except OSError as exc:
            self._pause(now, f"cannot be started: {exc.strerror}")

    def _ended(self, now: float, code: int) -> None:
        well_until = now if self._silent_since is None else self._silent_since
        if self._well_since is not None and well_until - self._well_since >= WELL_S:
            self._pauses.reset()
        complaint = self._worker.complaint()
        self._pause(now, f"ended with {told(code)}{f': {complaint}' if complaint else ''}")

    def _pause(self, now: float, why: str) -> None:
        if not self._was_well:
            self.failure = why
            return
        pause_s = self._pauses.take()
        self._start_at = now + pause_s
        self._say(f"{self._worker.name} {why}; starting it again in {pause_s:.0f} s; see {self._worker.log}")

    def _look_at_health(self) -> None:
        if self._answer is None:
            self._answer = self._ask(self._worker.health)
        if not self._answer.done():
            return
        self._said, self._answer = self._answer.result(), None
        now = self._clock.monotonic()
        if self._said == "ready":
            self._is_well(now)
        elif self._said == "leaving":
            self._silent_since = None
        else:
            self._is_not_well(now)
        self._look_at = now + (STARTING_EVERY_S if self._well_since is None else EVERY_S)

    def _is_well(self, now: float) -> None:
        if self._well_since is None:
            self._well_since = now
            if self._was_well:
                self._say(f"{self._worker.name} is well again")
        self._was_well = True
        self._silent_since = None

    def _is_not_well(self, now: float) -> None:
        # Counted from the first look that failed, not from the last good one: when all of us stood still together, as
        # on a laptop that slept, nobody was silent.
        if self._silent_since is None:
            self._silent_since = now
        limit = START_S if self._well_since is None else SILENT_S
        if now - self._silent_since < limit:
            return
        if not self._was_well:
            self.failure = f"was not ready within {limit:.0f} s"
            return
        self._say(f"{self._worker.name} has not been well for {limit:.0f} s; stopping it")
        self._worker.terminate()
        self._kill_at = now + KILL_AFTER_S


def told(exit_code: int) -> str:
    if exit_code >= 0:
        return f"exit code {exit_code}"
    return f"exit code {exit_code} ({signal.strsignal(-exit_code)})"
