"""What the servers tell, told again by server: so that one page shows a whole fleet as this gateway sees it."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.fleet.contract import Load

MAX_SERVERS = 500
"""Those beyond it are not told: each has four series."""

_FIGURES = (
    ("running", "Requests, or answers, that a server works on, by its own account"),
    ("queued", "Requests that wait for a place in it"),
    ("slots", "Places in it"),
    ("kv_use", "Share of its memory for keys and values that is in use"),
)


class FleetMetrics(Collector):
    """Has labels that say where servers stand: for those who run them."""

    def __init__(self, told: Callable[[], Iterable[tuple[str, str, Load]]]) -> None:
        """`told` gives upstream, server and what it said."""
        self._told = told
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def render(self) -> bytes:
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        told = list(islice(self._told(), MAX_SERVERS))
        for name, help_ in _FIGURES:
            family = GaugeMetricFamily(f"weighbridge_endpoint_{name}", help_, labels=["upstream", "endpoint"])
            for upstream, endpoint, load in told:
                value = getattr(load, name)
                if value is not None:
                    family.add_metric([upstream, endpoint], value)
            yield family
