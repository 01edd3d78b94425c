"""Chats and text completions: what a worker over an engine serves."""

from collections.abc import Callable, Mapping, Sequence

from prometheus_client.registry import Collector

from workers.answer import Answer
from workers.engines.contract import Engine, EngineStats, Job, ModelCard
from workers.errors import InvalidRequestError
from workers.metrics import Metrics
from workers.request import ChatRequest, Message, Request, parse, parse_completion
from workers.share import Meter
from workers.slots import Slots
from workers.timing import Clocks

_CANARY = Job(
    "canary", ChatRequest(model="canary", messages=(Message(role="user", content="Hi"),), max_tokens=1)
)


class Chats:
    routes: Mapping[str, Callable[[bytes], Request]] = {
        "/v1/chat/completions": parse,
        "/v1/completions": parse_completion,
    }
    collectors: Sequence[Collector] = ()

    def __init__(self, engine: Engine, places: Slots, clocks: Clocks) -> None:
        self._engine = engine
        self._clocks = clocks
        self._meter = Meter(clocks.monotonic_s)
        self.places = places

    @property
    def card(self) -> ModelCard:
        return self._engine.card

    def check(self, request: Request) -> None:
        if request.choices > self.places.total:
            field = "n" if (request.n or 1) > 1 else "prompt"
            text = f"{request.choices} answers at once are more than the {self.places.total} that fit here."
            raise InvalidRequestError(text, param=field)
        abilities = self._engine.card.abilities
        if isinstance(request, ChatRequest) and request.wants_tools and "tools" not in abilities:
            raise InvalidRequestError("This model cannot call tools.", param="tools")
        if request.structured_outputs is not None and "regex" not in abilities:
            text = "This model cannot keep to a regular expression."
            raise InvalidRequestError(text, param="structured_outputs")

    def answering(self, metrics: Metrics, *, priority: int) -> Answer:
        return Answer(self._engine, self.places, metrics, self._clocks, priority=priority, meter=self._meter)

    async def start(self) -> None:
        await self._engine.start()

    async def run(self) -> None:
        """An engine has a loop of its own: what is left is to hear of its end."""
        await self._engine.failed()

    async def probe(self) -> None:
        """Has the idle engine make a token; of a busy one it asks that the decoding loop answers."""
        if self.places.taken:
            await self._engine.stats()
            return
        async for _ in self._engine.generate(_CANARY):
            pass

    async def stats(self) -> EngineStats:
        return await self._engine.stats()

    async def stop(self) -> None:
        await self._engine.stop()
