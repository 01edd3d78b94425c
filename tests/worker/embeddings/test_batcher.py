"""Who shares a step, in what order, and what becomes of those whose text the model does not survive."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fixtures.scripted_encoder import BREAKS, LOST, NO_NUMBER, ScriptedEncoder, vector_of
from workers.embeddings.batcher import Batcher
from workers.embeddings.figures import Figures
from workers.errors import BusyError, EngineError


class Bench:
    def __init__(
        self, encoder: ScriptedEncoder, *, total: int = 64, max_waiting: int = 100, max_wait_s: float = 60
    ) -> None:
        self.encoder = encoder
        self.now_s = 0.0
        self.batcher = Batcher(
            encoder,
            total,
            Figures(),
            max_waiting=max_waiting,
            max_wait_s=max_wait_s,
            age_s=5,
            now_s=lambda: self.now_s,
        )
        self.tasks = asyncio.TaskGroup()

    async def ask(self, texts: Sequence[Sequence[int]], priority: int = 1) -> list[Any]:
        with self.batcher.line_up(texts, priority) as queued:
            await queued.begin()
            return await queued.vectors()

    async def come(self, texts: Sequence[Sequence[int]], priority: int = 1) -> "asyncio.Task[list[Any]]":
        """In line when this returns."""
        task = self.tasks.create_task(self.ask(texts, priority))
        for _ in range(3):
            await asyncio.sleep(0)
        return task

    async def steps(self, count: int) -> None:
        """Returns when so many have begun, the last of which waits to be let go."""
        await until(lambda: len(self.encoder.steps) >= count)

    async def next_step(self) -> list[Sequence[int]]:
        begun = len(self.encoder.steps)
        self.encoder.let_go()
        await self.steps(begun + 1)
        return self.encoder.steps[-1]

    def free(self) -> None:
        self.encoder.held = False
        self.encoder.let_go()


@asynccontextmanager
async def running(bench: Bench) -> AsyncIterator[Bench]:
    async with bench.tasks:
        run = bench.tasks.create_task(bench.batcher.run())
        yield bench
        bench.free()
        await until(lambda: not bench.batcher._open)
        run.cancel()
    bench.batcher.stop()


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        await asyncio.sleep(0)


def text(token: int, length: int = 10) -> tuple[int, ...]:
    return (token,) * length


def many(token: int, texts: int) -> list[tuple[int, ...]]:
    return [text(token)] * texts


def who(step: Sequence[Sequence[int]]) -> list[int]:
    """Whose texts: the first token of each."""
    return [tokens[0] for tokens in step]


async def held(bench: Bench) -> None:
    """A step of somebody else's runs, and will until it is let go."""
    bench.encoder.held = True
    await bench.come([text(0)])
    await bench.steps(1)


async def test_those_who_wait_share_a_step() -> None:
    async with running(Bench(ScriptedEncoder())) as bench:
        await held(bench)
        for token in (1, 2, 3):
            await bench.come([text(token)])

        assert sorted(who(await bench.next_step())) == [1, 2, 3]


async def test_a_query_is_not_stuck_behind_two_thousand_texts() -> None:
    async with running(Bench(ScriptedEncoder())) as bench:
        bench.encoder.held = True
        await bench.come(many(1, 2048))
        await bench.steps(1)
        bench.now_s += 1
        await bench.come([text(2)])

        assert 2 in who(await bench.next_step())


async def test_large_requests_of_a_class_share_a_step_evenly() -> None:
    async with running(Bench(ScriptedEncoder())) as bench:
        await held(bench)
        for token in (1, 2):
            await bench.come(many(token, 200))

        assert sorted(who(await bench.next_step())) == [1] * 5 + [2] * 5


async def test_a_higher_class_leaves_only_what_it_does_not_need() -> None:
    async with running(Bench(ScriptedEncoder())) as bench:
        await held(bench)
        await bench.come(many(1, 50), priority=0)
        await bench.come(many(2, 8), priority=3)

        assert who(await bench.next_step()) == [2] * 8 + [1] * 2


async def test_who_waits_long_enough_goes_before_a_higher_class() -> None:
    async with running(Bench(ScriptedEncoder())) as bench:
        await held(bench)
        await bench.come(many(1, 10), priority=0)
        bench.now_s += 15.1
        await bench.come(many(2, 10), priority=3)

        assert who(await bench.next_step()) == [1] * 10


async def test_a_text_longer_than_a_step_is_a_step_of_its_own() -> None:
    async with running(Bench(ScriptedEncoder(step_tokens=100))) as bench:
        await held(bench)
        await bench.come([text(1, 500), text(1, 5)])

        assert await bench.next_step() == [text(1, 500)]
        assert await bench.next_step() == [text(1, 5)]


async def test_no_more_requests_than_there_are_places_share_a_step() -> None:
    async with running(Bench(ScriptedEncoder(), total=2)) as bench:
        await held(bench)
        for token in (1, 2, 3):
            await bench.come([text(token)])

        assert who(await bench.next_step()) == [1, 2]
        assert bench.batcher.taken == 2
        assert bench.batcher.waiting_of(1) == 1


async def test_what_is_left_of_a_request_that_hangs_up_is_not_computed() -> None:
    async with running(Bench(ScriptedEncoder())) as bench:
        bench.encoder.held = True
        large = await bench.come(many(1, 100))
        await bench.steps(1)
        large.cancel()
        await bench.come([text(2)])

        assert who(await bench.next_step()) == [2]


@pytest.mark.parametrize("bad", [BREAKS, NO_NUMBER])
async def test_a_text_that_the_model_does_not_survive_fails_its_own_request(bad: int) -> None:
    async with running(Bench(ScriptedEncoder())) as bench:
        await held(bench)
        broken = bench.tasks.create_task(outcome(bench, [text(3), text(bad)]))
        whole = [await bench.come([text(token), text(token, 4)]) for token in (1, 2)]
        bench.free()

        assert await broken is EngineError
        for token, task in zip((1, 2), whole, strict=True):
            assert np.array_equal(await task, [vector_of(text(token)), vector_of(text(token, 4))])


async def test_a_step_too_large_for_the_memory_is_halved_and_stays_so() -> None:
    async with running(Bench(ScriptedEncoder(memory=30))) as bench:
        vectors = await bench.ask(many(7, 40))
        largest = max(sum(map(len, step)) for step in bench.encoder.steps[-10:])

    assert len(vectors) == 40
    assert largest <= 30


async def test_a_text_that_is_too_large_alone_fails_its_own_request() -> None:
    async with running(Bench(ScriptedEncoder(memory=30))) as bench:
        broken = await outcome(bench, [text(1, 31)])
        vectors = await bench.ask([text(2, 30)])

    assert broken is EngineError
    assert len(vectors) == 1


async def test_a_lost_device_fails_all_who_wait_and_ends_the_loop() -> None:
    bench = Bench(ScriptedEncoder())
    async with asyncio.TaskGroup() as bench.tasks:
        bench.encoder.held = True
        lost = bench.tasks.create_task(outcome(bench, [text(LOST)]))
        run = bench.tasks.create_task(bench.batcher.run())
        await bench.steps(1)
        waiting = bench.tasks.create_task(outcome(bench, [text(1)]))
        await asyncio.sleep(0)
        bench.free()
        await run
        late = await outcome(bench, [text(2)])
    bench.batcher.stop()

    assert (await lost, await waiting, late) == (EngineError, EngineError, EngineError)


async def test_of_a_full_line_the_last_is_refused_and_that_is_one_of_a_lower_class() -> None:
    async with running(Bench(ScriptedEncoder(), total=1, max_waiting=2)) as bench:
        await held(bench)
        low = bench.tasks.create_task(outcome(bench, [text(1)], priority=0))
        for token in (2, 3):
            await bench.come([text(token)], priority=3)
        refused = await low
        late = await outcome(bench, [text(4)], priority=3)
        bench.free()

    assert (refused, late) == (BusyError, BusyError)


async def test_who_is_in_no_step_in_time_is_refused() -> None:
    async with running(Bench(ScriptedEncoder(), max_wait_s=0.01)) as bench:
        bench.encoder.held = True
        first = bench.tasks.create_task(bench.ask([text(1)]))
        await bench.steps(1)
        refused = await outcome(bench, [text(2)])
        bench.free()

    assert refused is BusyError
    assert len(await first) == 1


async def test_the_encoders_time_is_shared_out_by_tokens() -> None:
    async with running(Bench(ScriptedEncoder())) as bench:
        await held(bench)
        with (
            bench.batcher.line_up([text(1, 30)]) as large,
            bench.batcher.line_up([text(2, 10)]) as small,
        ):
            await bench.next_step()
            bench.now_s += 4
            bench.free()
            await large.vectors()
            await small.vectors()

    assert (large.engine_s, small.engine_s) == (3.0, 1.0)


async def test_a_beat_comes_when_the_step_that_runs_is_done() -> None:
    async with running(Bench(ScriptedEncoder())) as bench:
        await held(bench)
        beat = bench.tasks.create_task(bench.batcher.beat())
        for _ in range(5):
            await asyncio.sleep(0)
        was_silent = not beat.done()
        bench.free()
        await beat

    assert was_silent


lengths = st.lists(st.integers(1, 40), min_size=1, max_size=12)


@settings(max_examples=30)
@given(st.lists(st.tuples(lengths, st.integers(0, 9)), min_size=1, max_size=6), st.integers(1, 60))
def test_everyone_gets_the_vectors_of_their_own_texts_in_their_order(
    requests: list[tuple[list[int], int]], step_tokens: int
) -> None:
    async def all_of_them() -> list[list[Any]]:
        async with running(Bench(ScriptedEncoder(step_tokens=step_tokens), total=3)) as bench:
            asked = [
                [text(token, length) for length in lengths] for token, (lengths, _) in enumerate(requests)
            ]
            return await asyncio.gather(
                *(bench.ask(texts, requests[at][1]) for at, texts in enumerate(asked))
            )

    found = asyncio.run(all_of_them())

    for token, ((lengths, _), vectors) in enumerate(zip(requests, found, strict=True)):
        assert np.array_equal(vectors, [vector_of(text(token, length)) for length in lengths])


async def outcome(bench: Bench, texts: Sequence[Sequence[int]], priority: int = 1) -> type[Exception] | None:
    try:
        await bench.ask(texts, priority)
    except (BusyError, EngineError) as exc:
        return type(exc)
    return None
