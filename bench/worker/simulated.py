"""A day of a fleet of workers, event by event: requests come, find a place or wait for one, and servers come and go.

Seeded; knows no model and no network. `day.py` asks the questions.
"""

import heapq
import itertools
import math
import random
import statistics
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

DAY_S = 86_400.0
MAX_QUEUE, MAX_WAIT_S = 64, 30.0
"""The worker's own defaults: beyond them it refuses a request."""

Rate = Callable[[float], float]
"""Requests per second at a second of the day."""


@dataclass(frozen=True)
class Fleet:
    """Servers of one kind. One that works on `n` requests gets `n / (1 + slowing * (n - 1))` times as much done as one
    that works on a single request."""

    name: str
    per_second: float
    """Requests that a server completes in a second when all its places are taken."""
    places: int = 1
    slowing: float = 1.0

    def speed(self, running: int) -> float:
        """Of each of so many requests, in mean requests per second."""
        full = 1 + self.slowing * (self.places - 1)
        return self.per_second / self.places * full / (1 + self.slowing * (running - 1))


class Server:
    """All requests in it advance at the same speed, which depends on how many there are."""

    __slots__ = ("at_s", "done", "made", "queue", "running", "turn")

    def __init__(self, at_s: float) -> None:
        self.at_s = at_s
        self.done = 0.0
        """For each request that was in it all the time."""
        self.made = 0.0
        """For all of them together."""
        self.running: list[tuple[float, float]] = []
        """A heap of what `done` is when a request ends, and when it began."""
        self.queue: deque[tuple[float, float]] = deque()
        """When each came, and its work."""
        self.turn = 0
        """Another one whenever the end that was foreseen no longer holds."""

    @property
    def count(self) -> int:
        return len(self.running) + len(self.queue)


class Moment(NamedTuple):
    now_s: float
    ready: Sequence[Server]
    starting: int
    arrived: int
    """Requests since the last one."""


class Scaler(Protocol):
    def wanted(self, seen: Moment) -> int: ...


@dataclass
class Day:
    waits: list[float] = field(default_factory=list)
    served_s: list[float] = field(default_factory=list)
    """In their places."""
    refused: int = 0
    turns: int = 0
    """Stops after starts, and starts after stops."""
    paid_s: float = 0.0
    """Of servers that start, serve, or finish their last requests."""
    taken_s: float = 0.0
    """Of places."""
    most: int = 0


class Simulation:
    def __init__(self, fleet: Fleet, scaler: Scaler, *, every_s: float, warm_up_s: float, seed: int) -> None:
        self._fleet = fleet
        self._scaler = scaler
        self._every_s = every_s
        self._warm_up_s = warm_up_s
        self._seed = seed
        self._speeds = [0.0, *(fleet.speed(running) for running in range(1, fleet.places + 1))]
        self._work = random.Random(f"work {seed}").gammavariate
        self._ready: list[dict[Server, None]] = [{} for _ in range(fleet.places + MAX_QUEUE + 1)]
        """By how many requests they have: each comes to one of those with the fewest."""
        self._starting: deque[float] = deque()
        """When each is ready."""
        self._leaving: set[Server] = set()
        self._ends: list[tuple[float, int, int, Server]] = []
        self._order = itertools.count()
        self._arrived = 0
        self._direction = 0
        self.day = Day()

    def run(self, rate: Rate, most: float, first: int, until_s: float = DAY_S) -> Day:
        """`most`: what the rate never exceeds. `first`: servers at the beginning."""
        for _ in range(first):
            self._ready[0][Server(0.0)] = None
        coming = arrivals(rate, most, self._seed, until_s)
        arrival, step = next(coming, math.inf), 0.0
        while step < until_s:
            end = self._ends[0][0] if self._ends else math.inf
            if step <= arrival and step <= end:
                self._step(step)
                step += self._every_s
            elif arrival <= end:
                self._arrive(arrival)
                arrival = next(coming, math.inf)
            else:
                self._end(*heapq.heappop(self._ends))
        return self.day

    def _arrive(self, now_s: float) -> None:
        self._arrived += 1
        # Answers have a ceiling, and few are near it.
        work = min(self._work(2.0, 0.5), 4.0)
        count = next(count for count, servers in enumerate(self._ready) if servers)
        if count == len(self._ready) - 1:
            self.day.refused += 1
            return
        server = next(iter(self._ready[count]))
        del self._ready[count][server]
        self._ready[count + 1][server] = None
        if count >= self._fleet.places:
            server.queue.append((now_s, work))
            return
        self.day.waits.append(0.0)
        self._advance(server, now_s)
        heapq.heappush(server.running, (server.done + work, now_s))
        self._foresee(server)

    def _end(self, now_s: float, _order: int, turn: int, server: Server) -> None:
        if turn != server.turn:
            return
        count = server.count
        self._advance(server, now_s)
        _, began_s = heapq.heappop(server.running)
        self.day.served_s.append(now_s - began_s)
        while server.queue and len(server.running) < self._fleet.places:
            came_s, work = server.queue.popleft()
            if now_s - came_s > MAX_WAIT_S:
                self.day.refused += 1
                continue
            self.day.waits.append(now_s - came_s)
            heapq.heappush(server.running, (server.done + work, now_s))
        self._foresee(server)
        if server in self._leaving:
            if not server.running:
                self._leaving.remove(server)
            return
        del self._ready[count][server]
        self._ready[server.count][server] = None

    def _advance(self, server: Server, now_s: float) -> None:
        each = (now_s - server.at_s) * self._speeds[len(server.running)]
        server.done += each
        server.made += each * len(server.running)
        server.at_s = now_s

    def _foresee(self, server: Server) -> None:
        server.turn += 1
        if server.running:
            speed = self._speeds[len(server.running)]
            end_s = server.at_s + (server.running[0][0] - server.done) / speed
            heapq.heappush(self._ends, (end_s, next(self._order), server.turn, server))

    def _step(self, now_s: float) -> None:
        while self._starting and self._starting[0] <= now_s:
            self._starting.popleft()
            self._ready[0][Server(now_s)] = None
        day, starting = self.day, len(self._starting)
        ready = [server for servers in self._ready for server in servers]
        for server in ready:
            self._advance(server, now_s)
        paid = len(ready) + len(self._leaving) + starting
        day.paid_s += paid * self._every_s
        day.taken_s += sum(len(server.running) for server in (*ready, *self._leaving)) * self._every_s
        day.most = max(day.most, paid)
        wanted = self._scaler.wanted(Moment(now_s, ready, starting, self._arrived))
        self._arrived = 0
        self._change(now_s, wanted - len(ready) - starting)

    def _change(self, now_s: float, by: int) -> None:
        if by:
            self.day.turns += by * self._direction < 0
            self._direction = by
        self._starting.extend([now_s + self._warm_up_s] * by)
        for _ in range(-by):
            if self._starting:
                self._starting.pop()
            else:
                self._retire()

    def _retire(self) -> None:
        servers = next(servers for servers in self._ready if servers)
        server = next(iter(servers))
        del servers[server]
        if server.running:
            self._leaving.add(server)


def arrivals(rate: Rate, most: float, seed: int, until_s: float) -> Iterator[float]:
    chance = random.Random(f"arrivals {seed}")
    at_s = 0.0
    while (at_s := at_s + chance.expovariate(most)) < until_s:
        if chance.random() * most < rate(at_s):
            yield at_s


@dataclass(frozen=True)
class Figures:
    utilisation: float
    """Requests completed, of those that the servers that were paid for would have completed with every place taken."""
    places: float
    """Places taken, of those of the servers that were paid for."""
    hours: float
    """Of servers, paid for."""
    p95_wait: float
    """In mean times of service."""
    waited: float
    """Share of the requests."""
    service_s: float
    refused: int
    turns: float
    """An hour."""
    most: int


def figures(fleet: Fleet, day: Day) -> Figures:
    waits, service_s = sorted(day.waits), statistics.fmean(day.served_s)
    return Figures(
        utilisation=len(day.served_s) / (day.paid_s * fleet.per_second),
        places=day.taken_s / (day.paid_s * fleet.places),
        hours=day.paid_s / 3600,
        p95_wait=waits[math.ceil(0.95 * len(waits)) - 1] / service_s,
        waited=sum(wait > 0 for wait in waits) / len(waits),
        service_s=service_s,
        refused=day.refused,
        turns=day.turns / 24,
        most=day.most,
    )
