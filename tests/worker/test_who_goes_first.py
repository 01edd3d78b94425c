"""The line in front of the engine as callers of the endpoint meet it: classes by header, believed with the key only."""

import asyncio
from collections.abc import AsyncGenerator
from functools import partial

import httpx
import pytest

from tests.fixtures.engine import ScriptedEngine
from tests.worker.test_server import BODY, Bench, until
from workers.engines.contract import Job, Token, TokenUsage

KEY = "worker-key"
HEADER = b"x-weighbridge-priority"


class NarrowEngine(ScriptedEngine):
    """One place, and a record of who had it."""

    slots = 1

    def __init__(self) -> None:
        super().__init__()
        self.order: list[str] = []

    async def generate(self, job: Job) -> AsyncGenerator[Token | TokenUsage, None]:
        self.order.append(job.id)
        async for token in super().generate(job):
            yield token


class Crowd:
    """Requests that come one after another while the engine is taken."""

    def __init__(self, *, api_key: str | None = KEY, max_waiting: int = 10) -> None:
        self.engine = NarrowEngine()
        self.bench = Bench(self.engine, api_key=api_key, max_waiting=max_waiting)
        self.bench.app.loaded()
        self.engine.go.clear()

    async def ask(self, name: str, *priority: str) -> httpx.Response:
        headers = [(b"x-request-id", name.encode()), (b"authorization", f"Bearer {KEY}".encode())]
        headers += [(HEADER, value.encode()) for value in priority]
        return await self.bench.client.post("/v1/chat/completions", json=BODY, headers=headers)

    async def order(self, *arrivals: tuple[str, ...]) -> list[str]:
        """In which they are served, who come while another is: each with the headers after its name."""
        async with self.bench.client, asyncio.TaskGroup() as tasks:
            tasks.create_task(self.ask("running"))
            await until(lambda: self.engine.working == 1)
            for waiting, arrival in enumerate(arrivals, 1):
                tasks.create_task(self.ask(*arrival))
                await until(partial(self._has_waiting, waiting))
            self.engine.go.set()
        return self.engine.order[1:]

    def _has_waiting(self, count: int) -> bool:
        return self.bench.slots.waiting == count


async def test_the_higher_class_is_served_first_and_within_one_who_came_first() -> None:
    crowd = Crowd()

    order = await crowd.order(("batch", "0"), ("free", "1"), ("vip", "3"), ("paid", "2"), ("vip2", "3"))

    assert order == ["vip", "vip2", "paid", "free", "batch"]


async def test_who_says_no_class_waits_with_the_first() -> None:
    order = await Crowd().order(("batch", "0"), ("silent",), ("free", "1"))

    assert order == ["silent", "free", "batch"]


@pytest.mark.parametrize("given", [["10"], ["-1"], ["x"], [""], ["3.0"], ["٣"], ["9" * 5000], ["3", "3"]])
async def test_a_class_that_is_nonsense_counts_as_none(given: list[str]) -> None:
    order = await Crowd().order(("first", "1"), ("nonsense", *given), ("second", "1"))

    assert order == ["first", "nonsense", "second"]


async def test_without_a_key_nobody_is_believed() -> None:
    order = await Crowd(api_key=None).order(("first", "0"), ("second", "9"))

    assert order == ["first", "second"]


async def test_who_has_waited_long_enough_is_no_longer_overtaken() -> None:
    crowd = Crowd()
    async with crowd.bench.client, asyncio.TaskGroup() as tasks:
        tasks.create_task(crowd.ask("running"))
        await until(lambda: crowd.engine.working == 1)
        tasks.create_task(crowd.ask("batch", "0"))
        await until(lambda: crowd.bench.slots.waiting == 1)
        crowd.bench.now_s += 14
        tasks.create_task(crowd.ask("early", "3"))
        await until(lambda: crowd.bench.slots.waiting == 2)
        crowd.bench.now_s += 2
        tasks.create_task(crowd.ask("late", "3"))
        await until(lambda: crowd.bench.slots.waiting == 3)
        crowd.engine.go.set()

    assert crowd.engine.order == ["running", "early", "batch", "late"]


async def test_metrics_tell_who_waits_who_waited_and_who_was_refused_by_class() -> None:
    crowd = Crowd(max_waiting=1)
    async with crowd.bench.client as client, asyncio.TaskGroup() as tasks:
        tasks.create_task(crowd.ask("running", "2"))
        await until(lambda: crowd.engine.working == 1)
        low = tasks.create_task(crowd.ask("low", "0"))
        await until(lambda: crowd.bench.slots.waiting == 1)
        waiting = crowd.bench.slots.waiting_of(0)
        crowd.bench.now_s += 3
        high = tasks.create_task(crowd.ask("high", "2"))
        assert (await low).status_code == 503
        crowd.bench.now_s += 4
        crowd.engine.go.set()
        assert (await high).status_code == 200
        reply = await client.get("/metrics", headers={"authorization": f"Bearer {KEY}"})
        lines = reply.text.splitlines()

    name = "weighbridge_worker_queue_seconds"
    assert waiting == 1
    assert 'weighbridge_worker_queued{priority="0"} 0.0' in lines
    assert f'{name}_sum{{end="refused",priority="0"}} 3.0' in lines
    assert f'{name}_sum{{end="served",priority="2"}} 4.0' in lines
    assert f'{name}_count{{end="served",priority="2"}} 2.0' in lines
