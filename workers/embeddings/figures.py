"""What an encoder tells Prometheus besides what every worker tells."""

from collections.abc import Iterator

from prometheus_client import Counter, Histogram
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
_TOKENS = (16, 64, 256, 1024, 4096, 16_384, 65_536)
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Figures(Collector):
    def __init__(self) -> None:
        prefix = "weighbridge_worker_"
        self._texts = Counter(prefix + "texts", "Texts that became vectors.", registry=None)
        self._request = Histogram(
            prefix + "embedding_seconds",
            "From the whole request to its vectors, queue included.",
            buckets=_SECONDS,
            registry=None,
        )
        self._step_texts = Histogram(
            prefix + "step_texts", "Texts computed at once.", buckets=_TEXTS, registry=None
        )
        self._step_tokens = Histogram(
            prefix + "step_tokens",
            "Tokens computed at once, padding left out.",
            buckets=_TOKENS,
            registry=None,
        )
        self._step_seconds = Histogram(
            prefix + "step_seconds",
            "Of computing; their sum is the time in which the encoder was busy.",
            buckets=_SECONDS,
            registry=None,
        )

    def step(self, *, texts: int, tokens: int, seconds: float) -> None:
        self._texts.inc(texts)
        self._step_texts.observe(texts)
        self._step_tokens.observe(tokens)
        self._step_seconds.observe(seconds)

    def request(self, seconds: float) -> None:
        self._request.observe(seconds)

    def collect(self) -> Iterator[Metric]:
        for part in (self._texts, self._request, self._step_texts, self._step_tokens, self._step_seconds):
            yield from part.collect()
