"""A circuit breaker: stops sending to an upstream that keeps failing, and lets one call at a time find out whether
it is back. Its state is this process's own.
"""

from collections import deque
from collections.abc import Callable
from typing import Literal

from gateway.clock import Clock
from gateway.upstreams.contract import UpstreamError

CONSECUTIVE_FAILURES = 5
WINDOW_S = 10
MIN_CALLS = 20
FAILURE_SHARE = 0.5
FIRST_COOL_DOWN_S = 1.0
MAX_COOL_DOWN_S = 60.0

Verdict = Literal["ok", "failed", "unknown"]
"""unknown: it says nothing of the server, because the caller hung up or the call was never made."""


def judge(error: UpstreamError) -> Verdict:
    """Only the server's own failures count against it."""
    if error.kind == "untranslatable":
        return "unknown"
    if error.kind == "busy":
        return "unknown" if error.status in (None, 429) else "failed"
    if error.kind == "timeout" and not error.may_have_charged:
        return "unknown"
    if error.kind == "refused" and error.status is not None and error.status < 500:
        return "ok"
    return "failed"


class Breaker:
    """Ask `permit` before a call; tell `record` after it, whatever happened."""

    def __init__(self, clock: Clock, random: Callable[[], float]) -> None:
        self._clock = clock
        self._random = random
        """Gives 0 to 1. Spreads the cool-downs of many gateways, so that they do not all knock at once."""
        self._open_until: float | None = None
        """None is closed. Once it is past, one call may try."""
        self._openings = 0
        """In a row, without a success between them."""
        self._is_trying = False
        self._rests_until = 0.0
        """The server asked to be left alone until then."""
        self._in_a_row = 0
        self._seconds: deque[list[int]] = deque()
        """[second, calls, failures] of the last WINDOW_S seconds."""

    @property
    def is_open(self) -> bool:
        """Whether a call would be turned away."""
        now = self._clock.monotonic()
        if now < self._rests_until:
            return True
        return self._open_until is not None and (self._is_trying or now < self._open_until)

    def permit(self) -> bool:
        """Whether to call. While it is open, the first to ask once the cool-down is over gets the one trial."""
        if self.is_open:
            return False
        self._is_trying = self._open_until is not None
        return True

    def answered(self) -> None:
        """A call has begun to answer. If it is the trial, that is success enough."""
        if self._is_trying:
            self._end_trial("ok")

    def record(self, verdict: Verdict) -> None:
        if self._is_trying:
            self._end_trial(verdict)
        elif self._open_until is None and verdict != "unknown":
            self._count(is_failure=verdict == "failed")

    def rest(self, seconds: float) -> None:
        """The server said how long it wants to be left alone."""
        until = self._clock.monotonic() + min(seconds, MAX_COOL_DOWN_S)
        self._rests_until = max(self._rests_until, until)

    def _end_trial(self, verdict: Verdict) -> None:
        self._is_trying = False
        if verdict == "failed":
            self._open()
        elif verdict == "ok":
            self._open_until = None
            self._openings = 0

    def _count(self, *, is_failure: bool) -> None:
        self._in_a_row = self._in_a_row + 1 if is_failure else 0
        second = int(self._clock.monotonic())
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append([second, 0, 0])
        while self._seconds[0][0] <= second - WINDOW_S:
            self._seconds.popleft()
        self._seconds[-1][1] += 1
        self._seconds[-1][2] += is_failure
        if is_failure and self._is_failing():
            self._open()

    def _is_failing(self) -> bool:
        calls = sum(second[1] for second in self._seconds)
        failures = sum(second[2] for second in self._seconds)
        return self._in_a_row >= CONSECUTIVE_FAILURES or (
            calls >= MIN_CALLS and failures >= FAILURE_SHARE * calls
        )

    def _open(self) -> None:
        """Turn calls away for 1 s, then 2, 4, up to 60, each a quarter shorter or longer by chance."""
        cool_down_s = min(FIRST_COOL_DOWN_S * 2 ** min(self._openings, 6), MAX_COOL_DOWN_S)
        self._open_until = self._clock.monotonic() + cool_down_s * (0.75 + 0.5 * self._random())
        self._openings += 1
        self._in_a_row = 0
        self._seconds.clear()
