"""The endpoint over an engine that plays a script: what it says when the engine loads, hangs, breaks or is full."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import msgspec
import pytest

from tests.fixtures.engine import ScriptedEngine
from tests.fixtures.nvml import FakeGpu, FakeNvml
from workers.chats import Chats
from workers.gpu import Gpus, Nvml
from workers.health import Canary
from workers.server import WorkerApp
from workers.slots import Slots
from workers.timing import Clocks

BODY = {"model": "small", "messages": [{"role": "user", "content": "Count."}]}


class Bench:
    """A worker without a process."""

    def __init__(self, engine: ScriptedEngine, *, max_waiting: int = 10, api_key: str | None = None) -> None:
        self.engine = engine
        self.now_s = 1000.0
        self.slots = Slots(
            engine.slots, max_waiting=max_waiting, max_wait_s=60, age_s=5, now_s=lambda: self.now_s
        )
        clocks = Clocks(unix_s=lambda: 1_790_000_000, monotonic_s=lambda: self.now_s)
        service = Chats(engine, self.slots, clocks)
        self.canary = Canary(service.probe, now_s=lambda: self.now_s, silent_after_s=30)
        self.app = WorkerApp(
            service,
            self.canary,
            names=("small",),
            api_key=api_key,
            clocks=clocks,
            new_id=lambda: "made-up-id",
            gpus=Gpus(Nvml(None, lambda: FakeNvml(FakeGpu("GPU-a"))), now_s=lambda: self.now_s),
        )
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://worker")  # type: ignore[arg-type]  # httpx spells ASGI's types differently

    async def chat(self, **fields: Any) -> httpx.Response:
        return await self.client.post("/v1/chat/completions", json=BODY | fields)

    async def code(self, path: str) -> tuple[int, str | None]:
        response = await self.client.get(path)
        return response.status_code, response.json().get("error", {}).get("code")


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        await asyncio.sleep(0)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench(ScriptedEngine())
    bench.app.loaded()
    await bench.canary.check()
    async with bench.client:
        yield bench


async def test_an_answer_carries_its_text_its_usage_and_the_callers_names(bench: Bench) -> None:
    response = await bench.client.post("/v1/chat/completions", json=BODY, headers={"x-request-id": "abc-1"})

    reply = response.json()
    assert response.headers["x-request-id"] == "abc-1"
    assert (reply["id"], reply["model"], reply["created"]) == ("chatcmpl-abc-1", "small", 1_790_000_000)
    assert reply["choices"][0]["message"]["content"] == "one two"
    assert reply["usage"]["total_tokens"] == 5


async def test_a_worker_that_loads_is_alive_but_not_ready_and_refuses_to_chat() -> None:
    bench = Bench(ScriptedEngine())
    async with bench.client:
        response = await bench.chat()

        assert await bench.code("/healthz") == (200, None)
        assert await bench.code("/readyz") == (503, "model_loading")
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")


@pytest.mark.fault("S20")
async def test_an_engine_that_stops_answering_makes_the_worker_unready_until_it_is_back(bench: Bench) -> None:
    async with asyncio.TaskGroup() as tasks:
        bench.engine.go.clear()
        check = tasks.create_task(bench.canary.check())
        before = await bench.code("/readyz")
        bench.now_s += 31
        silent = await bench.code("/readyz")
        bench.engine.go.set()
        await check

    assert before == (200, None)
    assert silent == (503, "engine_silent")
    assert await bench.code("/readyz") == (200, None)


@pytest.mark.fault("S20")
async def test_an_engine_that_breaks_under_the_canary_makes_the_worker_unready(bench: Bench) -> None:
    bench.engine.breaks_after = 0
    bench.now_s += 31

    await bench.canary.check()

    assert await bench.code("/readyz") == (503, "engine_silent")


@pytest.mark.fault("S19")
async def test_an_engine_that_breaks_before_the_first_token_is_a_500(bench: Bench) -> None:
    bench.engine.breaks_after = 0

    whole, stream = await bench.chat(), await bench.chat(stream=True)

    assert [whole.status_code, stream.status_code] == [500, 500]
    assert whole.json()["error"]["code"] == stream.json()["error"]["code"] == "internal_error"


@pytest.mark.fault("S19")
async def test_an_engine_that_breaks_in_a_stream_ends_it_with_an_error_and_without_done(bench: Bench) -> None:
    bench.engine.breaks_after = 1

    response = await bench.chat(stream=True)

    events = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert msgspec.json.decode(events[-1])["error"]["code"] == "internal_error"
    assert "[DONE]" not in response.text
    assert 'finish_reason":"' not in response.text


async def test_one_broken_request_leaves_no_place_taken_and_the_next_one_is_answered(bench: Bench) -> None:
    bench.engine.breaks_after = 1
    await bench.chat(stream=True)
    bench.engine.breaks_after = None

    response = await bench.chat()

    assert response.status_code == 200
    assert bench.slots.taken == 0


async def test_a_full_queue_answers_503_and_says_when_to_come_back() -> None:
    bench = Bench(ScriptedEngine(), max_waiting=1)
    bench.app.loaded()
    bench.engine.go.clear()
    async with bench.client, asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(bench.chat()) for _ in range(3)]
        await until(lambda: bench.slots.waiting == 1)

        refused = await bench.chat()
        bench.engine.go.set()

    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "server_is_overloaded"
    assert refused.headers["retry-after"] == "1"
    assert [task.result().status_code for task in running] == [200, 200, 200]


@pytest.mark.fault("S22")
async def test_a_worker_that_leaves_is_unready_serves_on_and_ends_each_connection(bench: Bench) -> None:
    before = await bench.chat()

    bench.app.leave()

    after, stream = await bench.chat(), await bench.chat(stream=True)
    assert await bench.code("/readyz") == (503, "draining")
    assert [after.status_code, stream.status_code] == [200, 200]
    assert after.headers["connection"] == stream.headers["connection"] == "close"
    assert "connection" not in before.headers


@pytest.mark.fault("S22")
async def test_draining_refuses_the_new_and_finishes_the_running(bench: Bench) -> None:
    bench.engine.go.clear()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(bench.chat())
        await until(lambda: bench.engine.working == 1)

        draining = tasks.create_task(bench.app.drain(60))
        await asyncio.sleep(0)
        refused = await bench.chat()
        ready = await bench.code("/readyz")
        bench.engine.go.set()
        await draining

    assert refused.json()["error"]["code"] == "draining"
    assert ready == (503, "draining")
    assert running.result().status_code == 200


@pytest.mark.fault("S22")
async def test_a_drain_that_takes_too_long_cuts_off_with_an_error(bench: Bench) -> None:
    bench.engine.go.clear()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(bench.chat())
        await until(lambda: bench.engine.working == 1)

        await bench.app.drain(0)

    assert (running.result().status_code, running.result().json()["error"]["code"]) == (503, "draining")
    assert bench.engine.working == 0


async def test_metrics_are_served_while_the_engine_is_silent(bench: Bench) -> None:
    await bench.chat()

    text = (await bench.client.get("/metrics")).text

    assert 'weighbridge_worker_requests_total{status="200"} 1.0' in text
    assert "weighbridge_worker_completion_tokens_total 2.0" in text
    assert 'quantisation="none"' in text


async def test_tools_are_refused_by_a_model_that_has_none(bench: Bench) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]

    refused, ignored = await bench.chat(tools=tools), await bench.chat(tools=tools, tool_choice="none")

    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "tools")
    assert ignored.status_code == 200


async def test_the_gpus_figures_stand_among_the_metrics(bench: Bench) -> None:
    text = (await bench.client.get("/metrics")).text

    assert 'weighbridge_worker_gpu_utilisation_ratio{gpu="0",name="NVIDIA H200",uuid="GPU-a"} 0.75' in text


async def test_two_answers_at_once_share_the_engines_time_and_each_says_how_much_was_its_own(
    bench: Bench,
) -> None:
    bench.engine.go.clear()
    async with asyncio.TaskGroup() as tasks:
        whole = tasks.create_task(bench.chat())
        await until(lambda: bench.slots.taken == 1)
        bench.now_s += 2
        stream = tasks.create_task(bench.chat(stream=True))
        await until(lambda: bench.engine.working == 2)
        bench.now_s += 1
        bench.engine.go.set()

    assert whole.result().headers["x-weighbridge-engine-seconds"] == "2.500000"
    assert stream.result().text.endswith(": x-weighbridge-engine-seconds 0.500000\n\ndata: [DONE]\n\n")


async def test_an_engine_that_cannot_keep_to_a_regular_expression_refuses_it(bench: Bench) -> None:
    response = await bench.chat(structured_outputs={"regex": "[ab]+"})

    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (
        400,
        "invalid_value",
        "structured_outputs",
    )
