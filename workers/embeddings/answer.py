"""One request for embeddings on its way: read, refused or queued, measured, and sent as a whole."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

from workers.answer import ENGINE_SECONDS
from workers.embeddings.batcher import Batcher, Texts
from workers.embeddings.contract import Encoder
from workers.embeddings.figures import Figures
from workers.embeddings.request import EmbeddingRequest
from workers.engines.contract import TokenUsage
from workers.errors import BusyError
from workers.http import Exchange
from workers.metrics import Metrics, WaitEnd
from workers.timing import Clocks

T = TypeVar("T")


class EmbeddingAnswer:
    def __init__(
        self,
        encoder: Encoder,
        batcher: Batcher,
        metrics: Metrics,
        figures: Figures,
        clocks: Clocks,
        *,
        priority: int,
        pool: Executor,
    ) -> None:
        self._encoder = encoder
        self._batcher = batcher
        self._metrics = metrics
        self._figures = figures
        self._now_s = clocks.monotonic_s
        self._priority = priority
        self._pool = pool
        self.usage: TokenUsage | None = None

    async def send(self, exchange: Exchange, request: EmbeddingRequest) -> None:
        from workers.embeddings import vectors

        began_s = self._now_s()
        texts = await self._in_thread(self._encoder.read, request.inputs, request.prompt_name)
        tokens = sum(map(len, texts))
        with self._batcher.line_up(texts, self._priority) as queued:
            await self._wait(queued, began_s)
            found = await queued.vectors()
            self.usage = TokenUsage(prompt=tokens, cached=0, completion=0)
        self._figures.request(self._now_s() - began_s)
        body = await self._in_thread(
            vectors.body, request, found, tokens=tokens, is_unit=self._encoder.card.normalised
        )
        headers = [(ENGINE_SECONDS, f"{queued.engine_s:.6f}".encode())]
        await exchange.send_bytes(200, body, b"application/json", headers)

    async def _wait(self, queued: Texts, began_s: float) -> None:
        end: WaitEnd = "gone"
        try:
            await queued.begin()
            end = "served"
        except BusyError:
            end = "refused"
            raise
        finally:
            self._metrics.waited(self._priority, end, self._now_s() - began_s)

    async def _in_thread(self, work: Callable[..., T], *args: Any, **options: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: work(*args, **options))
