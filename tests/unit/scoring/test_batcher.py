"""Texts to vectors in batches: off the loop, one at a time, bounded, in time, and nobody waits for what is gone."""

import asyncio
import threading

import pytest

from gateway.clock import ManualClock
from gateway.scoring.batcher import MicroBatcher
from gateway.telemetry.logs import make_logger
from gateway.telemetry.metrics import Metrics

EVER = 3600.0


class Engine:
    """Gives each text its length as a vector. `hold` keeps it busy until `release`."""

    def __init__(self):
        self.batches = []
        self.loop_thread = threading.get_ident()
        self.threads = set()
        self._free = threading.Event()
        self._free.set()
        self.answers = lambda texts: [[float(len(text))] for text in texts]

    def hold(self):
        self._free.clear()

    def release(self):
        self._free.set()

    def __call__(self, texts):
        self.batches.append(list(texts))
        self.threads.add(threading.get_ident())
        assert self._free.wait(30)
        return self.answers(texts)


class Scene:
    def __init__(self, tasks):
        self._tasks = tasks
        self.engine = Engine()
        self.metrics = Metrics()
        self.lines = []

    def batcher(self, *, timeout_s=EVER, max_batch=8, max_waiting=64):
        self.batcher_ = MicroBatcher(
            self.engine,
            self.metrics,
            make_logger(self, ManualClock(), level="info", form="json"),
            timeout_s=timeout_s,
            max_batch=max_batch,
            max_waiting=max_waiting,
        )
        self.running = self._tasks.create_task(self.batcher_.run())
        return self.batcher_

    def write(self, line):
        self.lines.append(line)

    def ask(self, text):
        return self._tasks.create_task(self.batcher_(text))

    async def ask_while_busy(self, *texts):
        """The engine is held with a first text; the others have come to wait behind it."""
        self.engine.hold()
        first = self.ask("busy")
        await until(lambda: self.engine.batches == [["busy"]])
        asked = [self.ask(text) for text in texts]
        await settled()
        return first, asked

    def counted(self, part):
        for line in self.metrics.render().decode().splitlines():
            if line.startswith(f'weighbridge_degraded_total{{part="{part}"}}'):
                return float(line.split()[-1])
        return 0


async def until(is_so):
    async with asyncio.timeout(30):
        while not is_so():
            await asyncio.sleep(0)


async def settled():
    """Everything that can go on without the engine has gone on."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
async def scene():
    async with asyncio.TaskGroup() as tasks:
        scene = Scene(tasks)
        try:
            yield scene
        finally:
            scene.engine.release()
            scene.running.cancel()


async def test_a_text_gets_its_vector_from_another_thread(scene):
    batcher = scene.batcher()

    assert await batcher("hello") == [5.0]
    assert scene.engine.loop_thread not in scene.engine.threads


async def test_texts_that_wait_while_the_engine_is_busy_go_together_the_newest_first(scene):
    scene.batcher()
    first, asked = await scene.ask_while_busy("a", "bb", "ccc")

    scene.engine.release()

    assert await first == [4.0]
    assert await asyncio.gather(*asked) == [[1.0], [2.0], [3.0]]
    assert scene.engine.batches == [["busy"], ["ccc", "bb", "a"]]


async def test_a_batch_is_no_larger_than_it_may_be(scene):
    scene.batcher(max_batch=2)
    _, asked = await scene.ask_while_busy("a", "b", "c", "d", "e")

    scene.engine.release()
    await asyncio.gather(*asked)

    assert scene.engine.batches == [["busy"], ["e", "d"], ["c", "b"], ["a"]]


async def test_who_runs_out_of_time_is_let_go_without_a_vector_and_counted(scene):
    batcher = scene.batcher(timeout_s=0.001)
    scene.engine.hold()

    assert await batcher("slow") is None
    assert scene.counted("deep_late") == 1


async def test_a_text_that_nobody_waits_for_any_more_is_not_encoded(scene):
    batcher = scene.batcher()
    first, (gone, stays) = await scene.ask_while_busy("gone", "stays")

    gone.cancel()
    await settled()
    scene.engine.release()

    assert await stays == [5.0]
    assert await first == [4.0]
    assert scene.engine.batches == [["busy"], ["stays"]]
    assert await batcher("after") == [5.0]


async def test_who_leaves_while_the_engine_works_for_him_disturbs_nobody(scene):
    batcher = scene.batcher()
    first, _ = await scene.ask_while_busy()

    first.cancel()
    await settled()
    scene.engine.release()

    assert await batcher("next") == [4.0]


async def test_where_there_is_no_room_who_has_waited_longest_is_turned_away_and_counted(scene):
    scene.batcher(max_waiting=2)
    _, (oldest, *others) = await scene.ask_while_busy("a", "b", "c")

    assert await oldest is None

    scene.engine.release()
    assert await asyncio.gather(*others) == [[1.0], [1.0]]
    assert scene.counted("deep_full") == 1


async def test_who_has_left_takes_no_room_and_is_not_counted_as_turned_away(scene):
    scene.batcher(max_waiting=2)
    _, (gone, stays) = await scene.ask_while_busy("a", "b")

    gone.cancel()
    newest = scene.ask("c")
    await settled()
    scene.engine.release()

    assert await asyncio.gather(stays, newest) == [[1.0], [1.0]]
    assert scene.counted("deep_full") == 0


@pytest.mark.parametrize(
    "answers",
    [lambda _: 1 / 0, lambda texts: [[1.0]] * (len(texts) - 1), lambda _: None],
    ids=["it raises", "one short", "no vectors at all"],
)
async def test_an_engine_that_fails_costs_its_batch_the_vectors_and_nothing_else(scene, answers):
    batcher = scene.batcher()
    good, scene.engine.answers = scene.engine.answers, answers
    first, asked = await scene.ask_while_busy("a", "b")

    scene.engine.release()

    assert await asyncio.gather(first, *asked) == [None, None, None]
    assert scene.counted("deep_failed") == 3
    assert all(b"score.encoder_failed" in line for line in scene.lines)
    scene.engine.answers = good
    assert await batcher("again") == [5.0]


async def test_stopping_lets_everyone_go(scene):
    batcher = scene.batcher()
    first, asked = await scene.ask_while_busy("a", "b")

    scene.running.cancel()

    assert await asyncio.gather(first, *asked) == [None, None, None]
    assert await batcher("later") is None
