"""Embeddings: what a worker over an encoder serves."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from prometheus_client.registry import Collector

from workers.embeddings.answer import EmbeddingAnswer
from workers.embeddings.batcher import Batcher
from workers.embeddings.contract import Encoder, EncoderCard
from workers.embeddings.figures import Figures
from workers.embeddings.request import EmbeddingRequest, parse_embedding
from workers.engines.contract import EngineStats
from workers.errors import InvalidRequestError
from workers.metrics import Metrics
from workers.timing import Clocks

_WORD = "Hi"


class Embeddings:
    routes: Mapping[str, Callable[[bytes], EmbeddingRequest]] = {"/v1/embeddings": parse_embedding}

    def __init__(self, encoder: Encoder, places: Batcher, figures: Figures, clocks: Clocks) -> None:
        self._encoder = encoder
        self._clocks = clocks
        self._figures = figures
        # Tokens of new requests, and the text of replies; two, so that a large one is not in everybody's way.
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="embeddings")
        self.places = places
        self.collectors: Sequence[Collector] = (figures,)

    @property
    def card(self) -> EncoderCard:
        return self._encoder.card

    def check(self, request: EmbeddingRequest) -> None:
        asked, card = request.dimensions, self.card
        if asked is None or asked == card.dimensions:
            return
        if asked > card.dimensions:
            text = f"This model's vectors have {card.dimensions} dimensions; {asked} are more."
        elif card.shorter == ():
            text = f"This model was not trained for vectors shorter than its {card.dimensions} dimensions. Leave it out."
        elif card.shorter is not None and asked not in card.shorter:
            text = f"This model was trained for {', '.join(map(str, card.shorter))} dimensions, and not for {asked}."
        else:
            return
        raise InvalidRequestError(text, param="dimensions")

    def answering(self, metrics: Metrics, *, priority: int) -> EmbeddingAnswer:
        return EmbeddingAnswer(
            self._encoder,
            self.places,
            metrics,
            self._figures,
            self._clocks,
            priority=priority,
            pool=self._pool,
        )

    async def start(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._pool, self._encoder.load)

    async def run(self) -> None:
        await self.places.run()

    async def probe(self) -> None:
        """Has the idle encoder embed a word; of a busy one it waits for the step that runs."""
        if not self.places.is_idle:
            await self.places.beat()
            return
        with self.places.line_up(self._encoder.read([_WORD], None)) as texts:
            await texts.begin()
            await texts.vectors()

    async def stats(self) -> EngineStats:
        return self.places.stats

    async def stop(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._pool, self.places.stop)
        self._pool.shutdown()
