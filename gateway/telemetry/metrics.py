"""The Prometheus metrics of one gateway. Labels name models and upstreams, never tenants, users or keys.

Plain numbers, because only the event loop counts: the client library's own counters take a lock each time, which was
4 % of a request's CPU.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.values import NanoUSD, Usage

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_ADDED = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1)
_CLASSES = ("input", "cached_input", "cache_write", "cache_write_1h", "output", "reasoning")

_MAX_CODES = 200
_OTHER = "other"


class _Counter:
    """Counts by label values."""

    def __init__(self, name: str, help_: str, labels: Sequence[str], *, per: int = 1) -> None:
        """What it tells is what was counted divided by `per`."""
        self._family = (name, help_, tuple(labels))
        self._per = per
        self._counts: defaultdict[tuple[str, ...], int] = defaultdict(int)

    def add(self, labels: tuple[str, ...], amount: int = 1) -> None:
        self._counts[labels] += amount

    def collect(self) -> Metric:
        name, help_, labels = self._family
        family = CounterMetricFamily(name, help_, labels=labels)
        for values, count in self._counts.items():
            family.add_metric(values, count / self._per if self._per > 1 else count)
        return family


class _Histogram:
    """Observations by label values; the last bucket has no bound."""

    def __init__(self, name: str, help_: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self._family = (name, help_, tuple(labels))
        self._bounds = tuple(bounds)
        self._rows: dict[tuple[str, ...], tuple[list[int], list[float]]] = {}

    def observe(self, labels: tuple[str, ...], value: float) -> None:
        row = self._rows.get(labels)
        if row is None:
            row = self._rows[labels] = ([0] * (len(self._bounds) + 1), [0.0])
        row[0][bisect_left(self._bounds, value)] += 1
        row[1][0] += value

    def collect(self) -> Metric:
        name, help_, labels = self._family
        family = HistogramMetricFamily(name, help_, labels=labels)
        for values, (counts, total) in self._rows.items():
            family.add_metric(values, list(self._cumulated(counts)), total[0])
        return family

    def _cumulated(self, counts: Iterable[int]) -> Iterator[tuple[str, float]]:
        so_far = 0
        for bound, count in zip((*map(str, self._bounds), "+Inf"), counts, strict=True):
            so_far += count
            yield bound, so_far


class Metrics(Collector):
    def __init__(self) -> None:
        self._requests = _Counter(
            "weighbridge_requests",
            "Requests that passed authentication, by how they ended",
            ["model", "size", "status", "cache"],
        )
        self._seconds = _Histogram(
            "weighbridge_request_seconds",
            "From the first byte of a request to the last of its reply",
            ["model"],
            _SECONDS,
        )
        self._added = _Histogram(
            "weighbridge_added_seconds",
            "A request's time less what was spent waiting for upstreams",
            [],
            _ADDED,
        )
        self._first_token = _Histogram(
            "weighbridge_first_token_seconds",
            "From the request to the first event of a stream",
            ["model"],
            _SECONDS,
        )
        self._tokens = _Counter("weighbridge_tokens", "Tokens billed", ["model", "class"])
        self._engine = _Counter(
            "weighbridge_engine_seconds", "Of workers' engines, what answers took", ["model"], per=1_000_000
        )
        self._cost = _Counter("weighbridge_cost_nano_usd", "Money charged to tenants", ["model"])
        self._refusals = _Counter(
            "weighbridge_refusals", "Requests answered with an error, by its code", ["code"]
        )
        self._attempts = _Counter(
            "weighbridge_upstream_attempts",
            "Attempts sent to upstreams, by how they ended",
            ["upstream", "outcome"],
        )
        self._endpoints = _Counter(
            "weighbridge_endpoint_failures",
            "Calls that one of an upstream's several servers did not answer, by why; another may have",
            ["upstream", "reason"],
        )
        self._steps = _Counter(
            "weighbridge_cascade_steps",
            "Answers in cascades, by what was made of them: accepted, deferred to the next model, sampled, the last, or "
            "kept for want of money, of time, of a better promise, or of another that answered",
            ["model", "verdict"],
        )
        self._lines = _Counter(
            "weighbridge_batch_lines",
            "Lines of batches, by what came of them: answered, refused, or put off",
            ["outcome"],
        )
        self._degraded = _Counter(
            "weighbridge_degraded", "Times a part was missing and a lesser one stood in", ["part"]
        )
        self._codes: set[str] = set()
        self.in_flight = 0
        self.journal_unshipped = 0
        self.log_lines_dropped = 0
        self.desired_replicas: dict[str, int] = {}
        """By upstream."""
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def served(self, *, model: str, size: str, status: int, cache: str, seconds: float, added: float) -> None:
        self._requests.add((model, size, str(status), cache))
        self._seconds.observe((model,), seconds)
        self._added.observe((), added)

    def first_token(self, model: str, seconds: float) -> None:
        self._first_token.observe((model,), seconds)

    def billed(self, model: str, usage: Usage, cost: NanoUSD) -> None:
        for name in _CLASSES:
            self._tokens.add((model, name), getattr(usage, name))
        self._cost.add((model,), cost)
        if usage.engine_us:
            self._engine.add((model,), usage.engine_us)

    def refused(self, code: str) -> None:
        """Some codes are an upstream's own, which may be anything: beyond so many they are one."""
        self._codes.add(code if len(self._codes) < _MAX_CODES else _OTHER)
        self._refusals.add((code if code in self._codes else _OTHER,))

    def attempted(self, upstream: str, outcome: str) -> None:
        self._attempts.add((upstream, outcome))

    def endpoint_failed(self, upstream: str, reason: str) -> None:
        self._endpoints.add((upstream, reason))

    def cascaded(self, model: str, verdict: str) -> None:
        self._steps.add((model, verdict))

    def batch_line(self, outcome: Literal["answered", "refused", "put_off"]) -> None:
        self._lines.add((outcome,))

    def degraded(self, part: str) -> None:
        self._degraded.add((part,))

    def render(self) -> bytes:
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        for family in (
            self._requests,
            self._seconds,
            self._added,
            self._first_token,
            self._tokens,
            self._engine,
            self._cost,
            self._refusals,
            self._attempts,
            self._endpoints,
            self._steps,
            self._lines,
            self._degraded,
        ):
            yield family.collect()
        for name, help_, value in (
            ("in_flight", "Requests being served", self.in_flight),
            (
                "journal_unshipped",
                "Entries durable in the journal and not yet in the ledger",
                self.journal_unshipped,
            ),
            (
                "log_lines_dropped",
                "Log lines lost because the log could not be written",
                self.log_lines_dropped,
            ),
        ):
            yield GaugeMetricFamily(f"weighbridge_{name}", help_, value)
        desired = GaugeMetricFamily(
            "weighbridge_desired_replicas",
            "Servers that the load of an upstream asks for",
            labels=["upstream"],
        )
        for upstream, servers in self.desired_replicas.items():
            desired.add_metric([upstream], servers)
        yield desired
