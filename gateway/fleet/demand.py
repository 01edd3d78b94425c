"""How many full servers' worth of work a fleet has, by what its servers tell of themselves."""

import math
from collections import deque
from collections.abc import Mapping

from gateway.config import Autoscale
from gateway.fleet.contract import Load

_SHORTEST_S = 0.1
_LEARNING = 0.05
_MOST = 1e6
"""Servers' worth of work. More is a mistake, and as good as endless."""


class _Speeds:
    """Tokens per second of one server over the last moments."""

    def __init__(self, over_s: float) -> None:
        self._over_s = over_s
        self._counts: deque[tuple[float, float, bool]] = deque()

    def add(self, now_s: float, tokens: float | None, *, is_queued: bool) -> None:
        if tokens is None:
            return
        if self._counts and (tokens < self._counts[-1][1] or now_s <= self._counts[-1][0]):
            self._counts.clear()  # it was started again, and counts from 0
        self._counts.append((now_s, tokens, is_queued))
        while len(self._counts) > 2 and self._counts[1][0] <= now_s - self._over_s:
            self._counts.popleft()

    @property
    def now(self) -> float | None:
        """None until there has been time to count."""
        if not self._counts:
            return None
        (begin, first, _), (end, last, _) = self._counts[0], self._counts[-1]
        return (last - first) / (end - begin) if end - begin >= _SHORTEST_S else None

    @property
    def is_at_its_limit(self) -> bool:
        return all(is_queued for _, _, is_queued in self._counts)


class Demand:
    """Keeps what has to be remembered between two readings: the counts of tokens, and what a full server can do."""

    def __init__(self, settings: Autoscale) -> None:
        self._settings = settings
        self._speeds: dict[str, _Speeds] = {}
        self._full_speed: float | None = None
        """Tokens per second of a server in which requests wait. A server that works on many requests is not much
        faster than one that works on half as many: by its places it seems to have more to spare than it has."""

    def of(self, now_s: float, loads: Mapping[str, Load | None]) -> float | None:
        """1.0 is the work that fills one server; what waits counts as if it ran. None if no server tells anything.

        A server that tells nothing counts as one that is wanted: as busy as the others, and at least at the target.
        """
        self._speeds = {name: self._speeds.get(name) or self._new() for name in loads}
        told = [self._of_one(now_s, name, load) for name, load in loads.items()]
        known = [each for each in told if each is not None]
        if not known:
            return None
        unknown = max(sum(known) / len(known), self._settings.target)
        return sum(known) + unknown * (len(told) - len(known))

    def _new(self) -> _Speeds:
        return _Speeds(self._settings.average_s)

    def _of_one(self, now_s: float, name: str, load: Load | None) -> float | None:
        if load is None:
            return None
        speeds, running, queued = self._speeds[name], _figure(load.running), _figure(load.queued) or 0.0
        speeds.add(now_s, _figure(load.generated_tokens), is_queued=queued > 0)
        speed, places = speeds.now, self._places(load)
        taken = self._taken(running, places, _figure(load.kv_use), speed)
        self._learn(speeds)
        beside = max(running or 0.0, 1.0)
        if taken is None:
            return min(1.0 + queued / beside, _MOST) if queued else None
        return min(taken + (queued / places if places else taken * queued / beside), _MOST)

    def _taken(
        self, running: float | None, places: float | None, kv_use: float | None, speed: float | None
    ) -> float | None:
        """How full it is, by the scarcest of what it has."""
        each = self._settings.tokens_per_s_each
        shares = [] if kv_use is None else [min(kv_use, 1.0)]
        if places and running is not None:
            shares.append(running / places)
        if speed is not None and each:
            shares.append(speed / each)
        elif speed is not None and self._full_speed:
            shares.append(min(speed / self._full_speed, 1.0))
        return min(max(shares), _MOST) if shares else None

    def _learn(self, speeds: _Speeds) -> None:
        speed, full = speeds.now, self._full_speed
        if speed is None:
            return
        if speeds.is_at_its_limit:
            # Another mix of requests has another full speed, a lower one too.
            self._full_speed = speed if full is None else full + _LEARNING * (speed - full)
        elif full is not None:
            self._full_speed = max(full, speed)

    def _places(self, load: Load) -> float | None:
        slots = _figure(load.slots)
        return self._settings.places_each or (max(slots, 1.0) if slots else None)


def _figure(value: float | None) -> float | None:
    """None for what is no figure of a load, whoever told it."""
    return value if value is not None and 0 <= value < math.inf else None
