"""How many servers there should be, from what those that there are tell of themselves.

Pure: it starts nothing, reads no clock, and asks nobody. Whoever starts and stops servers gives it every reading.
"""

import math
from collections import deque
from collections.abc import Mapping

import msgspec

from gateway.config import Autoscale
from gateway.fleet.contract import Load
from gateway.fleet.demand import Demand

_GROWTH, _STEP = 2, 4
"""A queue says that there are too few, and not by how many: at most so many times those that are ready, or so many more,
are asked for before some of the new ones have shown what they can do."""
_FEWER = 0.1
"""The fuller a server is, the slower it answers: nine tenths of the servers may need all of their places for it."""
_UNTOLD = "no server tells its load"
_ROUNDING = 1e-9
"""Three servers at three quarters are three servers, whatever the last bit says."""


class Desired(msgspec.Struct, frozen=True):
    servers: int
    reason: str
    """One line, for logs and people."""


class Autoscaler:
    """Of one fleet. More at once when the load asks for it; fewer when for `down_after_s` nothing asked for more."""

    def __init__(self, settings: Autoscale) -> None:
        self._settings = settings
        self._demand = Demand(settings)
        self._seen: deque[tuple[float, float]] = deque()
        """When, and how many servers' worth of work."""
        self._asked: deque[tuple[float, int]] = deque()
        """When, and how many servers this moment alone asked for. The first may be older than `down_after_s`: what was
        asked then stood until the second."""
        self._desired: int | None = None
        self._next_stop_s = -math.inf

    @property
    def desired(self) -> int | None:
        """None before the first reading of any server."""
        return self._desired

    def observe(self, now_s: float, loads: Mapping[str, Load | None], *, starting: int = 0) -> Desired:
        """`loads`: each server that is ready, by name; None if it could not be read. `starting`: those that are on
        their way. Servers that finish their last requests belong to neither. Time never goes back."""
        settings = self._settings
        demand = self._demand.of(now_s, loads)
        current = self._desired
        if current is None:
            current = self._within(len(loads) + starting)
            if demand is None:
                return Desired(current, _UNTOLD)
            self._asked.append((now_s, current))
        if demand is None:
            self._ask(now_s, current)
            return Desired(current, _UNTOLD)
        self._seen.append((now_s, demand))
        while self._seen[0][0] < now_s - max(settings.average_s, settings.burst_s):
            self._seen.popleft()
        usual = self._mean(now_s - settings.average_s) / settings.target
        need = max(usual, self._mean(now_s - settings.burst_s))
        self._ask(now_s, self._asked_by(need, current, ready=len(loads)))
        self._desired = self._stepped(now_s, current, max(asked for _, asked in self._asked))
        return Desired(self._desired, self._reason(need, current))

    def _asked_by(self, need: float, current: int, *, ready: int) -> int:
        whole = math.ceil(need - _ROUNDING)
        if need <= current * (1 + self._settings.tolerance):
            return self._within(min(whole, current))
        most = max(ready * _GROWTH, ready + _STEP, current)
        return self._within(min(whole, most))

    def _stepped(self, now_s: float, current: int, asked: int) -> int:
        """Down by a tenth, or by one, and then what that made of the others has to be seen first."""
        if asked >= current:
            return asked
        if now_s < self._next_stop_s:
            return current
        self._next_stop_s = now_s + self._settings.average_s
        return max(asked, current - max(1, int(current * _FEWER)))

    def _within(self, servers: int) -> int:
        return min(max(servers, self._settings.min), self._settings.max)

    def _mean(self, since_s: float) -> float:
        recent = [demand for at_s, demand in self._seen if at_s > since_s]
        return sum(recent) / len(recent)

    def _ask(self, now_s: float, servers: int) -> None:
        self._asked.append((now_s, servers))
        while len(self._asked) > 1 and self._asked[1][0] <= now_s - self._settings.down_after_s:
            self._asked.popleft()

    def _reason(self, need: float, current: int) -> str:
        desired, asked = self._desired or current, self._asked[-1][1]
        if desired > current:
            return f"need of {need:.2f} servers, more than {current}"
        if desired < current:
            return f"need of at most {desired} servers for {self._settings.down_after_s:.0f} s"
        if asked < current:
            return f"need of {need:.2f} servers: fewer, one after the other, after {self._settings.down_after_s:.0f} s"
        if need > current == self._settings.max:
            return f"need of {need:.2f} servers, which is more than may be"
        return f"need of {need:.2f} servers"
