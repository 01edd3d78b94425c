"""What a worker tells Prometheus. Its own registry: two workers in one process do not mix."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Literal, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from workers.engines.contract import EngineStats, ModelCard, TokenUsage
from workers.gpu import GpuFigures, Reading
from workers.slots import PRIORITIES

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
CLIENT_GONE = 499
"""Stands for the status of a request whose client hung up before the end."""

WaitEnd = Literal["served", "refused", "gone"]
"""gone: the client hung up, or the worker shut down."""

_WAIT_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 15, 20, 30, 60)
_FIRST_TOKEN_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_TOKEN_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


class Places(Protocol):
    """How many answers, or requests, are worked on at once; who has a place, and who waits for one."""

    @property
    def total(self) -> int: ...

    @property
    def taken(self) -> int: ...

    def waiting_of(self, priority: int) -> int: ...


class Metrics:
    def __init__(self, slots: Places, collectors: Sequence[Collector] = ()) -> None:
        self._registry = CollectorRegistry()
        prefix, registry = "weighbridge_worker_", self._registry
        self._requests = Counter(prefix + "requests", "Finished requests.", ["status"], registry=registry)
        self._prompt = Counter(prefix + "prompt_tokens", "Prompt tokens of whole answers.", registry=registry)
        self._completion = Counter(
            prefix + "completion_tokens", "Generated tokens of whole answers.", registry=registry
        )
        self._first_token = Histogram(
            prefix + "first_token_seconds",
            "From the whole request to its first token, queue included.",
            buckets=_FIRST_TOKEN_BUCKETS,
            registry=registry,
        )
        self._token = Histogram(
            prefix + "token_seconds",
            "Between two tokens of an answer.",
            buckets=_TOKEN_BUCKETS,
            registry=registry,
        )
        Gauge(prefix + "slots", "Places in the engine.", registry=registry).set(slots.total)
        running = Gauge(prefix + "running", "Places in use.", registry=registry)
        running.set_function(lambda: slots.taken)
        queued = Gauge(prefix + "queued", "Requests that wait for a place.", ["priority"], registry=registry)
        for priority in PRIORITIES:
            queued.labels(str(priority)).set_function(partial(slots.waiting_of, priority))
        self._wait = Histogram(
            prefix + "queue_seconds",
            "From the whole request to its place, or until it was refused or its client gone.",
            ["priority", "end"],
            buckets=_WAIT_BUCKETS,
            registry=registry,
        )
        self._model = Gauge(
            prefix + "model_info",
            "1; the labels say what is loaded.",
            ["model", "engine", "quantisation", "dtype", "context_window", "parameters", "tensor_parallel"],
            registry=registry,
        )
        self._engine = _EngineFigures(prefix + "engine_")
        registry.register(self._engine)
        self._gpus = GpuFigures(prefix + "gpu_")
        registry.register(self._gpus)
        for collector in collectors:
            registry.register(collector)

    def finished(self, status: int, usage: TokenUsage | None) -> None:
        self._requests.labels(str(status)).inc()
        if usage is not None:
            self._prompt.inc(usage.prompt)
            self._completion.inc(usage.completion)

    def waited(self, priority: int, end: WaitEnd, seconds: float) -> None:
        self._wait.labels(str(priority), end).observe(seconds)

    def first_token(self, seconds: float) -> None:
        self._first_token.observe(seconds)

    def next_token(self, seconds: float) -> None:
        self._token.observe(seconds)

    def loaded(self, card: ModelCard) -> None:
        self._model.labels(
            card.model,
            card.engine,
            card.quantisation,
            card.dtype,
            str(card.context_window),
            str(card.parameters),
            str(card.tensor_parallel),
        ).set(1)

    def render(self, stats: EngineStats | None, gpus: Sequence[Reading] = ()) -> bytes:
        """None leaves the engine's own figures out: it is loading, or does not answer."""
        self._engine.stats = stats
        self._gpus.readings = gpus
        return generate_latest(self._registry)


class _EngineFigures(Collector):
    """The engine's own counters, passed on as they are: they include what was cut short."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.stats: EngineStats | None = None

    def collect(self) -> Iterator[Metric]:
        if self.stats is None:
            return
        prefix, stats = self._prefix, self.stats
        yield GaugeMetricFamily(prefix + "busy_slots", "Slots that decode.", stats.busy_slots)
        yield CounterMetricFamily(prefix + "prompt_tokens", "Prompt tokens computed.", stats.prompt_tokens)
        yield CounterMetricFamily(prefix + "generated_tokens", "Tokens decoded.", stats.generated_tokens)
        if stats.kv_blocks:
            yield GaugeMetricFamily(prefix + "kv_blocks", "Blocks of keys and values.", stats.kv_blocks)
            yield GaugeMetricFamily(prefix + "kv_blocks_used", "Those in use.", stats.kv_blocks_used)
            yield GaugeMetricFamily(
                prefix + "kv_blocks_kept", "Those of earlier prompts.", stats.kv_blocks_kept
            )
            yield GaugeMetricFamily(
                prefix + "waiting_slots", "Slots that wait for memory.", stats.waiting_slots
            )
            yield CounterMetricFamily(
                prefix + "put_back", "Answers that gave their memory to others.", stats.put_back
            )
        if stats.cached_prompt_tokens is not None:
            yield CounterMetricFamily(
                prefix + "cached_prompt_tokens",
                "Prompt tokens found and not computed.",
                stats.cached_prompt_tokens,
            )
        if stats.step_tokens:
            yield GaugeMetricFamily(
                prefix + "step_tokens", "Tokens that a step may have now.", stats.step_tokens
            )
            yield CounterMetricFamily(
                prefix + "out_of_memory", "Steps for which there was no memory.", stats.out_of_memory
            )
