"""The Prometheus metrics of one gateway. Labels name models and upstreams, never tenants, users or keys."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.registry import Collector

from gateway.values import NanoUSD, Usage

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_ADDED = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1)


class Metrics:
    """Children are looked up once per label set: finding them costs more than counting."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self._requests = Counter(
            "weighbridge_requests_total",
            "Requests that passed authentication, by how they ended",
            ["model", "size", "status", "cache"],
            registry=registry,
        )
        self._seconds = Histogram(
            "weighbridge_request_seconds",
            "From the first byte of a request to the last of its reply",
            ["model"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._added = Histogram(
            "weighbridge_added_seconds",
            "The part of a request's time that was not spent waiting for an upstream",
            buckets=_ADDED,
            registry=registry,
        )
        self._first_token = Histogram(
            "weighbridge_first_token_seconds",
            "From the request to the first event of a stream",
            ["model"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._tokens = Counter(
            "weighbridge_tokens_total", "Tokens billed", ["model", "class"], registry=registry
        )
        self._cost = Counter(
            "weighbridge_cost_nano_usd_total", "Money charged to tenants", ["model"], registry=registry
        )
        self._refusals = Counter(
            "weighbridge_refusals_total",
            "Requests answered with an error, by its code",
            ["code"],
            registry=registry,
        )
        self._attempts = Counter(
            "weighbridge_upstream_attempts_total",
            "Attempts sent to upstreams, by how they ended",
            ["upstream", "outcome"],
            registry=registry,
        )
        self._degraded = Counter(
            "weighbridge_degraded_total",
            "Times a part was missing and a lesser one stood in",
            ["part"],
            registry=registry,
        )
        self.in_flight = Gauge("weighbridge_in_flight", "Requests being served", registry=registry)
        self.journal_unshipped = Gauge(
            "weighbridge_journal_unshipped",
            "Entries durable in the journal and not yet in the ledger",
            registry=registry,
        )
        self.log_lines_dropped = Gauge(
            "weighbridge_log_lines_dropped",
            "Log lines lost because the log could not be written",
            registry=registry,
        )
        self._children: dict[tuple[str, ...], tuple[Counter, ...]] = {}
        self._model_seconds: dict[str, tuple[Histogram, Histogram]] = {}

    def served(self, *, model: str, size: str, status: int, cache: str, seconds: float, added: float) -> None:
        self._count(self._requests, "requests", model, size, str(status), cache)
        self._timers(model)[0].observe(seconds)
        self._added.observe(added)

    def first_token(self, model: str, seconds: float) -> None:
        self._timers(model)[1].observe(seconds)

    def billed(self, model: str, usage: Usage, cost: NanoUSD) -> None:
        key = ("billed", model)
        children = self._children.get(key)
        if children is None:
            classes = ("input", "cached_input", "output", "reasoning")
            tokens = tuple(self._tokens.labels(model, name) for name in classes)
            children = self._children[key] = (*tokens, self._cost.labels(model))
        children[0].inc(usage.input)
        children[1].inc(usage.cached_input)
        children[2].inc(usage.output)
        children[3].inc(usage.reasoning)
        children[4].inc(cost)

    def refused(self, code: str) -> None:
        self._count(self._refusals, "refusals", code)

    def attempted(self, upstream: str, outcome: str) -> None:
        self._count(self._attempts, "attempts", upstream, outcome)

    def degraded(self, part: str) -> None:
        self._count(self._degraded, "degraded", part)

    def collect(self, collector: Collector) -> None:
        """Add somebody else's figures to the page."""
        self._registry.register(collector)

    def render(self) -> bytes:
        return generate_latest(self._registry)

    def _count(self, counter: Counter, *labels: str) -> None:
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = (counter.labels(*labels[1:]),)
        child[0].inc()

    def _timers(self, model: str) -> tuple[Histogram, Histogram]:
        timers = self._model_seconds.get(model)
        if timers is None:
            timers = (self._seconds.labels(model), self._first_token.labels(model))
            self._model_seconds[model] = timers
        return timers
