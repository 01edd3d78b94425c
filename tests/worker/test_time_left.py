"""A caller's deadline: nothing waits or runs beyond it, and only who has the key may set one."""

import asyncio
from collections.abc import AsyncGenerator

import httpx
import pytest

from tests.fixtures.engine import ScriptedEngine
from tests.worker.test_server import BODY, Bench, until
from workers.engines.contract import Job, Token, TokenUsage

KEY = "worker-key"


class OneWordEngine(ScriptedEngine):
    async def generate(self, job: Job) -> AsyncGenerator[Token | TokenUsage, None]:
        async for token in super().generate(job):
            yield token
            self.go.clear()


@pytest.fixture
def bench() -> Bench:
    bench = Bench(ScriptedEngine(), api_key=KEY)
    bench.app.loaded()
    bench.engine.go.clear()
    return bench


async def ask(bench: Bench, left_ms: str | None = None, **fields: object) -> httpx.Response:
    headers = {"authorization": f"Bearer {KEY}"}
    if left_ms is not None:
        headers["x-weighbridge-time-left-ms"] = left_ms
    return await bench.client.post("/v1/chat/completions", json=BODY | fields, headers=headers)


async def test_who_waits_is_refused_when_the_time_is_over_and_leaves_the_line(bench: Bench) -> None:
    async with bench.client, asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(ask(bench)) for _ in range(2)]
        await until(lambda: bench.engine.working == 2)

        late = await ask(bench, "20")

        waiting = bench.slots.waiting
        bench.engine.go.set()

    assert (late.status_code, late.json()["error"]["code"]) == (503, "deadline")
    assert late.headers["x-should-retry"] == "false"
    assert waiting == 0
    assert [task.result().status_code for task in running] == [200, 200]


async def test_what_runs_is_stopped_when_the_time_is_over(bench: Bench) -> None:
    async with bench.client:
        late = await ask(bench, "20")

    assert late.json()["error"]["code"] == "deadline"
    assert (bench.engine.working, bench.slots.taken) == (0, 0)


async def test_a_stream_that_began_ends_with_the_error_and_without_done() -> None:
    bench = Bench(OneWordEngine(), api_key=KEY)
    bench.app.loaded()
    async with bench.client:
        late = await ask(bench, "20", stream=True)

    events = [line for line in late.text.splitlines() if line]
    assert late.status_code == 200
    assert '"content":"one"' in events[1]
    assert '"code":"deadline"' in events[-1]
    assert bench.slots.taken == 0


@pytest.mark.parametrize("left_ms", ["-1", "soon", "1e3", "", "9999999999"])
async def test_nonsense_is_no_deadline(bench: Bench, left_ms: str) -> None:
    bench.engine.go.set()
    async with bench.client:
        assert (await ask(bench, left_ms)).status_code == 200


async def test_without_a_key_of_its_own_a_worker_believes_nobodys_deadline() -> None:
    bench = Bench(ScriptedEngine())
    bench.app.loaded()
    async with bench.client:
        assert (await ask(bench, "0")).status_code == 200
