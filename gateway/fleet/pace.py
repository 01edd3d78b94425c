"""What a server makes as it fills up: each request's tokens come slower the more there are, and all of them together faster."""

import math
from collections import deque

_SHORTEST_S = 0.1
_MEMORY_S = 3600.0
_LEARNING = 0.05
_SLOWEST, _FEWEST = 0.1, 0.1
"""Tokens per second, and requests: a server with less does next to nothing, which teaches nothing."""
_SUPPOSED_SLOPE = 0.08
"""What each further request adds to the time for one: between what was measured on a CPU (0.13) and what a GPU is expected
to do (0.05)."""
_APART = 0.1
"""Numbers of requests that differ by less, as a share of their mean, say nothing about others."""


class Counts:
    """Of one server over the last moments: its tokens, and how many requests they were for."""

    def __init__(self, over_s: float) -> None:
        self._over_s = over_s
        self._seen: deque[tuple[float, float, float, bool]] = deque()
        self._running = 0.0
        """Their sum, so that a reading costs the same however many there are."""

    def add(self, now_s: float, tokens: float, *, running: float, is_queued: bool) -> None:
        if self._seen and (tokens < self._seen[-1][1] or now_s <= self._seen[-1][0]):
            self._seen.clear()  # it was started again, and counts from 0
            self._running = 0.0
        self._seen.append((now_s, tokens, running, is_queued))
        self._running += running
        while len(self._seen) > 2 and self._seen[1][0] <= now_s - self._over_s:
            self._running -= self._seen.popleft()[2]

    @property
    def speed(self) -> float | None:
        """Tokens per second. None until there has been time to count."""
        if not self._seen:
            return None
        (begin, first, *_), (end, last, *_) = self._seen[0], self._seen[-1]
        return (last - first) / (end - begin) if end - begin >= _SHORTEST_S else None

    @property
    def running(self) -> float:
        return self._running / len(self._seen)

    @property
    def is_at_its_limit(self) -> bool:
        return all(is_queued for *_, is_queued in self._seen)


class Pace:
    """What a server of a fleet makes when it is full.

    The time that it takes for one token of each of its requests is a line over their number: what reading the weights
    takes, and what each request adds. It is fitted to the last hour. Where nobody knows how many requests make it
    full, it is what a server made in which some waited.
    """

    def __init__(self) -> None:
        self._at_s: float | None = None
        self._line = [0.0] * 5
        """Sums of 1, n, t, v and n * v: requests, time for a token of each, and tokens per second, which is n / t."""
        self._waiting: float | None = None

    def forget(self, now_s: float) -> None:
        if self._at_s is not None:
            kept = math.exp((self._at_s - now_s) / _MEMORY_S)
            self._line = [kept * each for each in self._line]
        self._at_s = now_s

    def learn(self, counts: Counts) -> None:
        speed = counts.speed
        if speed is None or speed < _SLOWEST:
            return
        if counts.is_at_its_limit:
            # Another mix of requests has another full speed, a lower one too.
            before = speed if self._waiting is None else self._waiting
            self._waiting = before + _LEARNING * (speed - before)
        running = counts.running
        if running >= _FEWEST:
            row = (1.0, running, running / speed, speed, running * speed)
            self._line = [sum_ + each for sum_, each in zip(self._line, row, strict=True)]

    def full_speed(self, places: float | None) -> float | None:
        """Tokens per second. None before it has seen enough different numbers of requests."""
        if places is None:
            return self._waiting
        weight = self._line[0]
        if weight < 1:
            return None
        running, step_s, speed, products = (each / weight for each in self._line[1:])
        # Of the requests there are only samples, whose noise would make a slope of its own; tokens are counted. So it is
        # found by the speed: cov(t, v) / cov(n, v), where the mean of t * v is that of n.
        spread = products - running * speed
        if spread < _APART**2 * running * speed:
            return None
        slope = (running - step_s * speed) / spread
        return places / (step_s + min(max(slope, 0.0), step_s / running) * (places - running))


def supposed_share(running: float, places: float) -> float:
    """How much of what it can a server makes with so many requests, for as long as nobody knows better."""

    def made(requests: float) -> float:
        return requests / (1 + _SUPPOSED_SLOPE * max(requests - 1, 0.0))

    return made(min(running, places)) / made(places)
