"""How many full servers' worth of work a fleet has, by what its servers tell of themselves."""

from collections.abc import Mapping

from gateway.config import Autoscale
from gateway.fleet.contract import Load
from gateway.fleet.pace import Counts, Pace, supposed_share

_MOST_TOLD = 1e15
_MOST = 1e6
"""Servers' worth of work. More is a mistake, and as good as endless."""


class Demand:
    """Keeps what has to be remembered between two readings: the counts of tokens, and what a full server makes.

    By its places alone a server that batches looks emptier than it is: with half of them taken it may do three quarters
    of what it can.
    """

    def __init__(self, settings: Autoscale) -> None:
        self._settings = settings
        self._counts: dict[str, Counts] = {}
        self._pace = Pace()

    def of(self, now_s: float, loads: Mapping[str, Load | None]) -> float | None:
        """1.0 is the work that fills one server; what waits counts as if it ran. None if no server tells anything.

        A server that tells nothing counts as one that is wanted: as busy as the others, and at least at the target.
        """
        self._counts = {name: self._counts.get(name) or Counts(self._settings.average_s) for name in loads}
        self._pace.forget(now_s)
        told = [self._of_one(now_s, self._counts[name], load) for name, load in loads.items()]
        known = [each for each in told if each is not None]
        if not known:
            return None
        unknown = max(sum(known) / len(known), self._settings.target)
        return sum(known) + unknown * (len(told) - len(known))

    def _of_one(self, now_s: float, counts: Counts, load: Load | None) -> float | None:
        if load is None:
            return None
        running, queued, tokens = (
            _figure(load.running),
            _figure(load.queued) or 0.0,
            _figure(load.generated_tokens),
        )
        if tokens is not None:
            counts.add(now_s, tokens, running=running or 0.0, is_queued=queued > 0)
        places = self._places(load)
        taken = self._taken(load, running, places, None if tokens is None else counts)
        self._pace.learn(counts)
        beside = max(running or 0.0, 1.0)
        if taken is None:
            return min(1.0 + queued / beside, _MOST) if queued else None
        return min(taken + (queued / places if places else taken * queued / beside), _MOST)

    def _taken(
        self, load: Load, running: float | None, places: float | None, counts: Counts | None
    ) -> float | None:
        """How full it is, by the scarcest of what it has. `counts`: None if it tells no tokens."""
        kv_use, each = _figure(load.kv_use), self._settings.tokens_per_s_each
        shares = [] if kv_use is None else [min(kv_use, 1.0)]
        if places and running is not None:
            shares.append(running / places)
        if counts is not None and each:
            shares += [] if counts.speed is None else [counts.speed / each]
        elif counts is not None:
            full = self._pace.full_speed(places)
            if full is not None and counts.speed is not None:
                shares.append(min(counts.speed / full, 1.0))
            elif full is None and places and running is not None:
                shares.append(supposed_share(running, places))
        return min(max(shares), _MOST) if shares else None

    def _places(self, load: Load) -> float | None:
        slots = _figure(load.slots)
        return self._settings.places_each or (max(slots, 1.0) if slots else None)


def _figure(value: float | None) -> float | None:
    """None for what is no figure of a load, whoever told it."""
    return value if value is not None and 0 <= value <= _MOST_TOLD else None
