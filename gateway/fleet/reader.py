"""Asks servers how loaded they are, over and over, for whoever chooses among them. Never in the way of a request."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
from yarl import URL

from gateway.clock import Clock
from gateway.config import Config, Upstream
from gateway.fleet.contract import EndpointHandle, EngineKind, Load
from gateway.fleet.load import MAX_PAGE_BYTES, parse
from gateway.telemetry.logs import Logger

EVERY_S = 2.0
STALE_S = 3 * EVERY_S
"""What was told longer ago counts as unknown."""
TIMEOUT_S = 2.5
"""Our own worker waits 2 s for an engine in the middle of a long step, and then tells at least its queue."""
AT_ONCE = 64


class Outlook(msgspec.Struct, frozen=True):
    """What the next request would find at the server of an upstream that has the least to do. None is unknown."""

    queued: float | None = None
    kv_use: float | None = None


class Reading(NamedTuple):
    server: EndpointHandle
    load: Load
    at_s: float
    in_flight: int
    """For this gateway, at that moment."""
    places: float | None
    """As it tells; if it does not, as many as were running when some had to wait."""

    @property
    def queued(self) -> float | None:
        """What waits there by now: what did then, and what this gateway has sent since. Without the latter all gateways
        would send everything one way until the next reading, and then everything the other way."""
        load, sent = self.load, self.server.in_flight - self.in_flight
        if load.queued is None:
            return None
        if load.queued:  # where some wait, no place is free
            return max(0.0, load.queued + sent)
        if self.places is None or load.running is None:
            return 0.0
        return max(0.0, sent - max(0.0, self.places - load.running))


Watcher = Callable[[float, Mapping[str, Mapping[str, Load | None]]], None]
"""Is given the time (monotonic, seconds) and, by upstream and server, what was told since the last time."""

_UNKNOWN = Outlook()


class LoadReader:
    """Several gateways each ask for themselves."""

    def __init__(
        self,
        config: Config,
        servers: Callable[[], Iterable[EndpointHandle]],
        clock: Clock,
        random: Callable[[], float],
        watcher: Watcher,
        log: Logger,
    ) -> None:
        """`random` gives 0 to 1: servers are not asked by all gateways at the same moment."""
        self._engines = {
            name: engine for name, upstream in config.upstreams.items() if (engine := engine_of(upstream))
        }
        self._pages = {name: config.upstreams[name].metrics_url for name in self._engines}
        self._servers = servers
        self._clock = clock
        self._random = random
        self._watcher = watcher
        self._log = log
        self._mute: set[tuple[str, str]] = set()
        self._places = asyncio.Semaphore(AT_ONCE)
        self._asking: set[tuple[str, str]] = set()
        self._readings: dict[str, dict[str, Reading]] = {name: {} for name in self._engines}
        self._concluded_s = clock.monotonic()

    async def run(self) -> None:
        """For ever; cancel it to stop. A server that is slow to answer holds up none of the others."""
        if not self._engines:
            return
        async with asyncio.TaskGroup() as tasks:
            while True:
                servers = self._begin(tasks)
                await asyncio.sleep(EVERY_S * (0.8 + 0.4 * self._random()))
                self._conclude(servers)

    async def read(self) -> None:
        """Once from each, to the end."""
        async with asyncio.TaskGroup() as tasks:
            servers = self._begin(tasks)
        self._conclude(servers)

    def outlook(self, upstream: str) -> Outlook:
        """Of those servers that are healthy and tell anything."""
        readings = self._readings.get(upstream)
        if not readings:
            return _UNKNOWN
        least = room = None
        for reading in readings.values():
            if reading.server.is_healthy:
                queued, kv_use = reading.queued, reading.load.kv_use
                if queued is not None and (least is None or queued < least):
                    least = queued
                if kv_use is not None and (room is None or kv_use < room):
                    room = kv_use
        return Outlook(least, room)

    def told(self) -> Iterator[tuple[str, str, Load]]:
        """Upstream, server, and the last that it said."""
        for upstream, readings in self._readings.items():
            for name, reading in sorted(readings.items()):
                yield upstream, name, reading.load

    def _begin(self, tasks: asyncio.TaskGroup) -> list[EndpointHandle]:
        servers = [server for server in self._servers() if server.upstream in self._engines]
        for server in servers:
            if _key(server) not in self._asking:
                self._asking.add(_key(server))
                tasks.create_task(self._ask(server))
        return servers

    async def _ask(self, server: EndpointHandle) -> None:
        upstream, endpoint = server.upstream, server.endpoint
        url = self._page_of(server)
        try:
            async with self._places:
                page = await server.page(url, timeout_s=TIMEOUT_S, max_bytes=MAX_PAGE_BYTES)
        finally:
            self._asking.discard(_key(server))
        load = parse(self._engines[upstream], page or b"")
        if load != Load():
            readings, now = self._readings[upstream], self._clock.monotonic()
            places = _places(load, readings.get(endpoint.name))
            readings[endpoint.name] = Reading(server, load, now, server.in_flight, places)
            server.tell(load)

    def _conclude(self, servers: Sequence[EndpointHandle]) -> None:
        now = self._clock.monotonic()
        self._forget(servers, before_s=now - STALE_S)
        self._tell_mute(servers)
        self._watcher(now, self._news(servers, since_s=self._concluded_s))
        self._concluded_s = now

    def _forget(self, servers: Sequence[EndpointHandle], *, before_s: float) -> None:
        """What is no longer there, or has been silent for too long."""
        present = {_key(server): server for server in servers}
        for upstream, readings in self._readings.items():
            for name, reading in list(readings.items()):
                server = present.get((upstream, name))
                if server is None or reading.at_s < before_s:
                    del readings[name]
                    if server is not None:
                        server.tell(None)

    def _tell_mute(self, servers: Sequence[EndpointHandle]) -> None:
        """Once each: where an engine is named and nothing is told, it was perhaps started without its metrics."""
        mute = {
            _key(server) for server in servers if server.endpoint.name not in self._readings[server.upstream]
        }
        for server in servers:
            upstream, endpoint = key = _key(server)
            if key in mute - self._mute:
                page = self._page_of(server).partition("?")[0]
                self._log.warning("fleet.load_unknown", upstream=upstream, endpoint=endpoint, page=page)
            elif key in self._mute - mute:
                self._log.info("fleet.load_known", upstream=upstream, endpoint=endpoint)
        self._mute = mute

    def _page_of(self, server: EndpointHandle) -> str:
        return self._pages[server.upstream] or metrics_url(server.endpoint.url)

    def _news(
        self, servers: Sequence[EndpointHandle], *, since_s: float
    ) -> dict[str, dict[str, Load | None]]:
        news: dict[str, dict[str, Load | None]] = {upstream: {} for upstream in self._engines}
        for server in servers:
            upstream, name = _key(server)
            reading = self._readings[upstream].get(name)
            news[upstream][name] = reading.load if reading and reading.at_s > since_s else None
        return news


def _key(server: EndpointHandle) -> tuple[str, str]:
    return server.upstream, server.endpoint.name


def _places(load: Load, before: Reading | None) -> float | None:
    if load.slots is not None:
        return load.slots
    known = before.places if before is not None else None
    return load.running if load.queued else known


def engine_of(upstream: Upstream) -> EngineKind | None:
    """Whose figures its servers have."""
    if upstream.engine:
        return upstream.engine
    return "weighbridge" if upstream.is_worker or upstream.worker else None


def metrics_url(base_url: str) -> str:
    """Beside the version: `http://host/llm/v1` has its page at `http://host/llm/metrics`."""
    url = URL(base_url.rstrip("/"), encoded=True)
    return str(url.parent / "metrics" if url.path != "/" else url / "metrics")
