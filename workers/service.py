"""What a worker serves: the answers of an engine, or the vectors of an encoder."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from prometheus_client.registry import Collector

from workers.engines.contract import EngineStats, ModelCard, TokenUsage
from workers.http import Exchange
from workers.metrics import Metrics, Places


class Answering(Protocol):
    """One request on its way."""

    @property
    def usage(self) -> TokenUsage | None:
        """Known at the end."""
        ...

    async def send(self, exchange: Exchange, request: Any) -> None:
        """Raises WorkerError."""
        ...


class Service(Protocol):
    @property
    def places(self) -> Places: ...

    @property
    def collectors(self) -> Sequence[Collector]:
        """Figures of its own, for /metrics."""
        ...

    @property
    def card(self) -> ModelCard:
        """Known once started."""
        ...

    @property
    def routes(self) -> Mapping[str, Callable[[bytes], Any]]:
        """The paths that take requests, and what reads a request's body. That raises InvalidRequestError."""
        ...

    def check(self, request: Any) -> None:
        """What of it is not possible here. Raises InvalidRequestError."""
        ...

    def answering(self, metrics: Metrics, *, priority: int) -> Answering: ...

    async def start(self) -> None:
        """Loads the model. Raises ConfigError."""
        ...

    async def run(self) -> None:
        """What has to go on in the background from then on, until it is cancelled. If it returns, the model is lost
        for good, and with it the process."""
        ...

    async def probe(self) -> None:
        """Returns when the model has shown that it works; raises if it does not."""
        ...

    async def stats(self) -> EngineStats:
        """Raises EngineError."""
        ...

    async def stop(self) -> None: ...
