"""A configured upstream: the servers that it has at the moment, and which of them a call goes to."""

import math
from collections.abc import Callable, Collection, Iterable, Sequence

from gateway.config import Upstream as UpstreamConfig
from gateway.fleet.contract import Endpoint
from gateway.upstreams.affinity import rank
from gateway.upstreams.discovery import Source
from gateway.upstreams.endpoint import PooledEndpoint

_FULLER = 1.25
"""Times the average: a server that has more to do than this is no longer preferred for what it remembers."""


class Member:
    def __init__(
        self,
        name: str,
        settings: UpstreamConfig,
        make: Callable[[Endpoint], PooledEndpoint],
        endpoints: Iterable[Endpoint],
        source: Source | None = None,
    ) -> None:
        self.name = name
        self.settings = settings
        self.source = source
        """Says which servers there are, where that changes."""
        self.endpoints: tuple[PooledEndpoint, ...] = tuple(map(make, endpoints))
        self.is_list_old = False
        """It could not be looked up the last time."""
        self._make = make
        self._leaving: list[PooledEndpoint] = []
        self._next = 0

    @property
    def has_affinity(self) -> bool:
        return self.settings.affinity == "prefix" and len(self.endpoints) > 1

    @property
    def bills_nobody(self) -> bool:
        """The servers are our own: what is asked of two of them is paid once."""
        return self.settings.is_ours or bool(self.settings.engine)

    def health(self) -> tuple[bool, int]:
        """Whether it may be called, and how many calls it is serving for us."""
        endpoints = self.endpoints
        if len(endpoints) == 1:
            return endpoints[0].is_healthy, endpoints[0].in_flight
        is_healthy = any(endpoint.is_healthy for endpoint in endpoints)
        return is_healthy, sum([endpoint.in_flight for endpoint in endpoints])

    @property
    def trouble(self) -> str | None:
        """Why it cannot be called."""
        if not self.endpoints:
            return self.source.nothing if self.source is not None else None
        return None if self.health()[0] else "it is being left alone after failures"

    def choose(self, tried: Collection[PooledEndpoint], key: bytes | None) -> PooledEndpoint | None:
        """One that may be called and was not yet, with leave to call it."""
        endpoints: Sequence[PooledEndpoint] = self.endpoints
        if len(endpoints) > 1:
            endpoints = [one for one in endpoints if one not in tried and one.is_healthy]
            if len(endpoints) > 1:
                endpoints = [_remembering(endpoints, key) if key else self._idlest(endpoints)]
        elif tried:  # another may have taken its place meanwhile
            endpoints = [one for one in endpoints if one not in tried]
        return endpoints[0] if endpoints and endpoints[0].permit() else None

    def _idlest(self, endpoints: Sequence[PooledEndpoint]) -> PooledEndpoint:
        """The one with the least to do for its size; equals take turns."""
        is_size_known = all(one.slots for one in endpoints)
        first = self._next % len(endpoints)
        in_turn = [*endpoints[first:], *endpoints[:first]]
        chosen = min(in_turn, key=lambda one: one.busy / (one.slots or 1) if is_size_known else one.busy)
        self._next = endpoints.index(chosen) + 1
        return chosen

    def replace(self, endpoints: Iterable[Endpoint]) -> tuple[list[str], list[str]]:
        """From now on these are all. Those that go finish what they are at. Returns the names that came, and went."""
        wanted = {endpoint.name: endpoint for endpoint in endpoints}
        staying = [one for one in self.endpoints if wanted.get(one.name) == one.endpoint]
        going = [one for one in self.endpoints if one not in staying]
        known = {one.name for one in staying}
        coming = [self._make(endpoint) for name, endpoint in wanted.items() if name not in known]
        self.endpoints = (*staying, *coming)
        self._leaving += going
        return [one.name for one in coming], [one.name for one in going]

    async def sweep(self) -> None:
        """Close the connections of those that have gone and are done."""
        done = [one for one in self._leaving if not one.in_flight]
        self._leaving = [one for one in self._leaving if one.in_flight]
        for one in done:
            await one.client.close()

    async def close(self) -> None:
        for one in (*self.endpoints, *self._leaving):
            await one.client.close()


def _remembering(endpoints: Sequence[PooledEndpoint], key: bytes) -> PooledEndpoint:
    """The first in the key's order of preference that has a place free, or is not much fuller than the others."""
    busy = sum([endpoint.busy for endpoint in endpoints])
    most = math.ceil(_FULLER * (busy + 1) / len(endpoints))
    in_order = sorted(endpoints, key=lambda one: rank(key, one.name), reverse=True)
    for one in in_order:
        if one.busy + 1 <= max(most, one.slots or 0.0):
            return one
    return in_order[0]
