"""One request on its way through the engine: waits for a place, measures, and sends what comes, whole or in pieces."""

import re
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing

import msgspec

from workers.engines.contract import Engine, Job, Token, TokenUsage
from workers.errors import BusyError, EngineError
from workers.http import Exchange
from workers.metrics import Metrics, WaitEnd
from workers.reply import Chunks, Completion, Envelope, TextChunks, TextCompletion
from workers.request import CompletionRequest, Request
from workers.share import Meter
from workers.slots import Slots
from workers.timing import Clocks

ENGINE_SECONDS = b"x-weighbridge-engine-seconds"
SALT_HEADER = b"x-weighbridge-salt"
_SALT = re.compile(rb"[0-9a-f]{16}")


class Answer:
    def __init__(
        self,
        engine: Engine,
        slots: Slots,
        metrics: Metrics,
        clocks: Clocks,
        *,
        priority: int,
        meter: Meter,
    ) -> None:
        self._engine = engine
        self._slots = slots
        self._metrics = metrics
        self._clocks = clocks
        self._priority = priority
        self._meter = meter
        self.usage: TokenUsage | None = None
        """Known once the engine is done."""
        self._engine_s = 0.0
        """Its share of the engine's time; likewise."""

    async def send(self, exchange: Exchange, request: Request) -> None:
        job = Job(exchange.id, request, salt=_salt(exchange))
        async with aclosing(self._tokens(job)) as tokens:
            if request.stream:
                await self._stream(exchange, tokens, self._chunks(exchange, request))
            else:
                await self._whole(exchange, tokens, self._completion(exchange, request))

    def _chunks(self, exchange: Exchange, request: Request) -> Chunks | TextChunks:
        envelope, usage = self._envelope(exchange, request), request.reports_usage
        if isinstance(request, CompletionRequest):
            return TextChunks(envelope, reports_usage=usage, tops=request.logprobs)
        return Chunks(envelope, reports_usage=usage)

    def _completion(self, exchange: Exchange, request: Request) -> Completion:
        envelope = self._envelope(exchange, request)
        if isinstance(request, CompletionRequest):
            return TextCompletion(envelope, request.choices, tops=request.logprobs)
        return Completion(envelope, request.choices)

    def _envelope(self, exchange: Exchange, request: Request) -> Envelope:
        prefix = "cmpl" if isinstance(request, CompletionRequest) else "chatcmpl"
        return Envelope(f"{prefix}-{exchange.id}", self._clocks.unix_s(), request.model)

    async def _stream(
        self, exchange: Exchange, tokens: AsyncGenerator[Token, None], chunks: Chunks | TextChunks
    ) -> None:
        async for token in tokens:
            # Not before the first token: what the engine refuses still gets a status of its own.
            if not exchange.status:
                await exchange.start_stream()
            for chunk in chunks.of(token):
                await exchange.send_event(chunk)
        if chunks.reports_usage:
            await exchange.send_event(chunks.usage(self._known_usage()))
        await exchange.send_comment(ENGINE_SECONDS + b" " + self._told_seconds())
        await exchange.send_event(b"[DONE]")
        await exchange.end_stream()

    async def _whole(
        self, exchange: Exchange, tokens: AsyncGenerator[Token, None], completion: Completion
    ) -> None:
        async for token in tokens:
            completion.add(token)
        headers = [(ENGINE_SECONDS, self._told_seconds())]
        await exchange.send_json(200, completion.body(self._known_usage()), headers)

    async def _tokens(self, job: Job) -> AsyncGenerator[Token, None]:
        began = self._clocks.monotonic_s()
        last: float | None = None
        async with AsyncExitStack() as stack:
            rank = await self._wait(stack, job.request.choices, began)
            job = msgspec.structs.replace(job, rank=rank)
            spent = stack.enter_context(self._meter.running(job.request.choices))
            tokens = await stack.enter_async_context(aclosing(self._engine.generate(job)))
            async for token in tokens:
                if isinstance(token, TokenUsage):
                    self.usage, self._engine_s = token, spent()
                    continue
                if token.delta:
                    now = self._clocks.monotonic_s()
                    if last is None:
                        self._metrics.first_token(now - began)
                    else:
                        self._metrics.next_token(now - last)
                    last = now
                yield token

    async def _wait(self, stack: AsyncExitStack, places: int, began: float) -> float:
        end: WaitEnd = "gone"
        try:
            rank = await stack.enter_async_context(self._slots.hold(places, self._priority))
            end = "served"
        except BusyError:
            end = "refused"
            raise
        finally:
            self._metrics.waited(self._priority, end, self._clocks.monotonic_s() - began)
        return rank

    def _told_seconds(self) -> bytes:
        return f"{self._engine_s:.6f}".encode()

    def _known_usage(self) -> TokenUsage:
        if self.usage is None:
            raise EngineError
        return self.usage


def _salt(exchange: Exchange) -> str | None:
    """Nonsense counts as nothing."""
    given = exchange.told(SALT_HEADER)
    return given.decode() if _SALT.fullmatch(given) else None
