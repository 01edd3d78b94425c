"""The texts of many requests through one encoder, in steps of so many tokens: who comes first, and who shares a step.

A step takes requests in the order of their rank, as places in `workers.slots` are given: by class, with a class's
worth of ageing every `age_s`. Those of one class share it evenly, so that one query is not stuck behind 2,048 texts, and who
had a part of it stands in line for the next as if it had come when the step ended.
"""

import asyncio
from bisect import insort
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

import structlog

from workers.embeddings.contract import Encoder, EncoderLostError, StepTooLargeError, Tokens
from workers.embeddings.figures import Figures
from workers.engines.contract import EngineStats
from workers.errors import BusyError, EngineError, WorkerError
from workers.slots import DEFAULT_PRIORITY

if TYPE_CHECKING:
    from workers.embeddings.contract import Vector

log = structlog.get_logger()

_by_rank = attrgetter("rank")


class Texts:
    """Those of one request, on their way."""

    def __init__(self, texts: Sequence[Tokens], priority: int, rank: float, max_wait_s: float) -> None:
        self.priority = priority
        self.rank = rank
        """When it would have come to have its place in a line of one class."""
        self.engine_s = 0.0
        """Its share of the encoder's time, by tokens."""
        self._max_wait_s = max_wait_s
        self._texts = texts
        self._left = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        """Longest last, and taken from there: what shares a step is of like lengths, and little of it is padding."""
        self._vectors: dict[int, Vector] = {}
        self._begun = asyncio.Event()
        self._end: asyncio.Future[WorkerError | None] = asyncio.get_running_loop().create_future()

    async def begin(self) -> None:
        """Returns when its first texts are in a step. Raises BusyError if that does not come about in time."""
        try:
            async with asyncio.timeout(self._max_wait_s):
                await self._begun.wait()
        except TimeoutError as exc:
            text = f"The model stayed busy for {self._max_wait_s:g} s. Try again in a moment."
            raise BusyError(text, retry_after_s=1) from exc
        if self._end.done() and isinstance(error := self._end.result(), BusyError):
            raise error

    async def vectors(self) -> "list[Vector]":
        """Raises EngineError, and BusyError if those who go before have filled the line."""
        error = await self._end
        if error is not None:
            raise error
        return [self._vectors[index] for index in range(len(self._texts))]

    @property
    def is_over(self) -> bool:
        return self._end.done()

    @property
    def has_left(self) -> bool:
        return bool(self._left)

    def take(self, room: int, *, at_least_one: bool) -> list["Piece"]:
        """Texts of at most so many tokens together."""
        pieces: list[Piece] = []
        while self._left and (len(self._texts[self._left[-1]]) <= room or (at_least_one and not pieces)):
            index = self._left.pop()
            pieces.append(Piece(self, index, self._texts[index]))
            room -= len(self._texts[index])
        if pieces:
            self._begun.set()
        return pieces

    def put_back(self, index: int) -> None:
        self._left.append(index)

    def put(self, index: int, vector: "Vector | None") -> None:
        if vector is None:
            self.end(EngineError())
            return
        self._vectors[index] = vector
        if len(self._vectors) == len(self._texts):
            self.end(None)

    def end(self, error: WorkerError | None) -> None:
        """The first end counts."""
        if not self._end.done():
            self._end.set_result(error)
        self._left.clear()
        self._begun.set()


class Piece(NamedTuple):
    """A text that is in a step."""

    owner: Texts
    at: int
    """Where it stands in its request."""
    tokens: Tokens


class Batcher:
    """`total` requests share a step at most. `run` has to run for anything to be computed."""

    def __init__(
        self,
        encoder: Encoder,
        total: int,
        figures: Figures,
        *,
        max_waiting: int,
        max_wait_s: float,
        age_s: float,
        now_s: Callable[[], float],
    ) -> None:
        self.total = total
        self._encoder = encoder
        self._figures = figures
        self._max_waiting = max_waiting
        self._max_wait_s = max_wait_s
        self._age_s = age_s
        self._now_s = now_s
        self._open = 0
        self._line: list[Texts] = []
        """All that have texts left to take."""
        self._step: list[Piece] = []
        self._step_over = asyncio.Event()
        self._tokens = 0
        self._most_tokens: int | None = None
        """Of a step, once one was too large for the memory."""
        self._has_work = asyncio.Event()
        self._is_lost = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="encoder")

    @property
    def taken(self) -> int:
        """Requests of which a text is in the step that runs."""
        return len(self._computing())

    @property
    def is_idle(self) -> bool:
        return not self._open

    def waiting_of(self, priority: int) -> int:
        computing = self._computing()
        return sum(texts.priority == priority and texts not in computing for texts in self._line)

    @property
    def stats(self) -> EngineStats:
        return EngineStats(busy_slots=self.taken, prompt_tokens=self._tokens, generated_tokens=0)

    @contextmanager
    def line_up(self, texts: Sequence[Tokens], priority: int = DEFAULT_PRIORITY) -> Iterator[Texts]:
        """What is left of the request when this is closed is not computed."""
        request = Texts(texts, priority, self._rank(priority), self._max_wait_s)
        insort(self._line, request, key=_by_rank)
        self._has_work.set()
        if self._is_lost:
            request.end(EngineError())
        self._open += 1
        if self._open > self.total + self._max_waiting:
            self._refuse_last()
        try:
            yield request
        finally:
            self._open -= 1
            request.end(None)
            if request in self._line:
                self._line.remove(request)

    async def beat(self) -> None:
        """Returns when the step that runs is done: a step that is never done is a dead encoder."""
        if self._step:
            await self._step_over.wait()

    async def run(self) -> None:
        """Until it is cancelled, or the encoder is lost: then all that wait have failed."""
        while not self._is_lost:
            self._line = [texts for texts in self._line if texts.has_left]
            if not self._line:
                self._has_work.clear()
                await self._has_work.wait()
                continue
            self._step = self._next_step()
            self._step_over.clear()
            await self._compute(self._step)
            for texts in self._computing():
                texts.rank = self._rank(texts.priority)
            self._step = []
            self._step_over.set()
            self._line.sort(key=_by_rank)

    def stop(self) -> None:
        """Returns when the step that runs is done."""
        self._thread.shutdown()

    def _refuse_last(self) -> None:
        computing = self._computing()
        last = next((texts for texts in reversed(self._line) if texts not in computing), None)
        if last is not None:
            self._line.remove(last)
            text = "The model is busy and its queue is full. Try again in a moment."
            last.end(BusyError(text, retry_after_s=1))

    def _rank(self, priority: int) -> float:
        return self._now_s() - priority * self._age_s

    def _computing(self) -> set[Texts]:
        return {piece.owner for piece in self._step if not piece.owner.is_over}

    def _next_step(self) -> list[Piece]:
        front = self._line[: self.total]
        crowds = Counter(texts.priority for texts in front)
        room = total = min(self._encoder.step_tokens, self._most_tokens or self._encoder.step_tokens)
        pieces: list[Piece] = []

        def take(texts: Texts, most: int) -> None:
            nonlocal room
            taken = texts.take(most, at_least_one=not pieces)
            pieces.extend(taken)
            room -= sum(len(piece.tokens) for piece in taken)

        for texts in front:
            take(texts, min(room, total // crowds[texts.priority]))
        for texts in front:  # what the shares have left over
            take(texts, room)
        return pieces

    async def _compute(self, pieces: list[Piece]) -> None:
        """Bad luck of one request is not its neighbours': a step that fails is done again for each by itself."""
        try:
            await self._embed(pieces)
        except StepTooLargeError:
            self._shrink(pieces)
        except EncoderLostError:
            log.exception("encoder.lost")
            self._is_lost = True
            for texts in {*self._line, *self._computing()}:
                texts.end(EngineError())
        except Exception:  # the loop goes on, whatever the model throws
            owners = {piece.owner for piece in pieces}
            log.exception("encoder.failed", texts=len(pieces), requests=len(owners))
            if len(owners) == 1:
                owners.pop().end(EngineError())
                return
            for owner in owners if not self._is_lost else ():
                await self._compute([piece for piece in pieces if piece.owner is owner])

    async def _embed(self, pieces: list[Piece]) -> None:
        pieces = [piece for piece in pieces if not piece.owner.is_over]
        if not pieces:
            return
        began_s = self._now_s()
        texts = [piece.tokens for piece in pieces]
        vectors = await asyncio.get_running_loop().run_in_executor(self._thread, self._encoder.embed, texts)
        seconds, tokens = self._now_s() - began_s, sum(map(len, texts))
        self._tokens += tokens
        self._figures.step(texts=len(texts), tokens=tokens, seconds=seconds)
        for piece, vector in zip(pieces, vectors, strict=True):
            piece.owner.engine_s += seconds * len(piece.tokens) / tokens
            piece.owner.put(piece.at, vector)

    def _shrink(self, pieces: list[Piece]) -> None:
        """Half the tokens a step from now on. A text that is alone too large fails its request."""
        if len(pieces) == 1:
            log.error("encoder.no_memory", tokens=len(pieces[0].tokens))
            pieces[0].owner.end(EngineError())
            return
        self._most_tokens = max(sum(len(piece.tokens) for piece in pieces) // 2, 1)
        log.warning("encoder.step_halved", tokens=self._most_tokens)
        for piece in reversed(pieces):
            if not piece.owner.is_over:
                piece.owner.put_back(piece.at)
                if piece.owner not in self._line:
                    self._line.append(piece.owner)
