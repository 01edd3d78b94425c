"""POST /v1/embeddings over an encoder that plays a script: shapes, bounds, errors, and what the other routes say."""

import asyncio
import base64
import struct
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest

from tests.fixtures.nvml import FakeNvml
from tests.fixtures.scripted_encoder import BREAKS, LOST, ScriptedEncoder, vector_of
from tests.worker.embeddings.test_batcher import until
from workers.embeddings.batcher import Batcher
from workers.embeddings.figures import Figures
from workers.embeddings.service import Embeddings
from workers.gpu import Gpus, Nvml
from workers.health import Canary
from workers.server import WorkerApp
from workers.timing import Clocks


class Bench:
    """A worker without a process."""

    def __init__(self, encoder: ScriptedEncoder, *, api_key: str | None = None) -> None:
        self.encoder = encoder
        self.now_s = 1000.0
        clocks = Clocks(unix_s=lambda: 1_790_000_000, monotonic_s=lambda: self.now_s)
        figures = Figures()
        self.batcher = Batcher(
            encoder, 64, figures, max_waiting=10, max_wait_s=60, age_s=5, now_s=lambda: self.now_s
        )
        self.service = Embeddings(encoder, self.batcher, figures, clocks)
        self.canary = Canary(self.service.probe, now_s=lambda: self.now_s, silent_after_s=30)
        self.app = WorkerApp(
            self.service,
            self.canary,
            names=("vectors",),
            api_key=api_key,
            clocks=clocks,
            new_id=lambda: "made-up-id",
            gpus=Gpus(Nvml(None, FakeNvml), now_s=lambda: self.now_s),
        )
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://worker")  # type: ignore[arg-type]  # httpx spells ASGI's types differently

    async def embed(self, given: Any = "winter", **fields: Any) -> httpx.Response:
        return await self.client.post("/v1/embeddings", json={"model": "vectors", "input": given, **fields})

    async def refusal(self, given: Any = "winter", **fields: Any) -> tuple[int, str, str | None]:
        response = await self.embed(given, **fields)
        error = response.json()["error"]
        return response.status_code, error["code"], error["param"]


@pytest.fixture
async def make_bench() -> AsyncIterator[Any]:
    async with asyncio.TaskGroup() as tasks:
        made: list[tuple[Bench, asyncio.Task[None]]] = []

        async def make(encoder: ScriptedEncoder | None = None, **options: Any) -> Bench:
            bench = Bench(encoder or ScriptedEncoder(), **options)
            made.append((bench, tasks.create_task(bench.service.run())))
            await bench.service.start()
            bench.app.loaded()
            await bench.canary.check()
            return bench

        yield make
        for bench, run in made:
            bench.encoder.held = False
            bench.encoder.let_go(100)
            run.cancel()
            await bench.client.aclose()
            await bench.service.stop()


@pytest.fixture
async def bench(make_bench: Any) -> Bench:
    made: Bench = await make_bench()
    return made


async def test_a_text_becomes_a_vector_in_openais_shape(bench: Bench) -> None:
    response = await bench.embed("winter")

    reply = response.json()
    assert {key: reply[key] for key in ("object", "model", "usage")} == {
        "object": "list",
        "model": "vectors",
        "usage": {"prompt_tokens": 6, "total_tokens": 6},
    }
    assert [(item["object"], item["index"]) for item in reply["data"]] == [("embedding", 0)]
    assert np.array_equal(np.float32(reply["data"][0]["embedding"]), vector_of(tuple(map(ord, "winter"))))
    assert float(response.headers["x-weighbridge-engine-seconds"]) == 0


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        (["a", "bcd", "ef"], [(97,), (98, 99, 100), (101, 102)]),
        ([5, 6, 7], [(5, 6, 7)]),
        ([[5, 6], [7]], [(5, 6), (7,)]),
    ],
)
async def test_texts_and_tokens_come_back_in_their_order(
    bench: Bench, given: Any, texts: list[tuple[int, ...]]
) -> None:
    reply = (await bench.embed(given)).json()

    assert [item["index"] for item in reply["data"]] == list(range(len(texts)))
    for item, text in zip(reply["data"], texts, strict=True):
        assert np.array_equal(np.float32(item["embedding"]), vector_of(text))
    assert reply["usage"]["prompt_tokens"] == sum(map(len, texts))


async def test_base64_holds_the_same_floats(bench: Bench) -> None:
    packed = (await bench.embed(encoding_format="base64")).json()["data"][0]["embedding"]
    floats = (await bench.embed(encoding_format="float", user="ada")).json()["data"][0]["embedding"]

    assert list(struct.unpack("<3f", base64.b64decode(packed))) == floats


async def test_a_shorter_vector_has_length_one_again(make_bench: Any) -> None:
    bench = await make_bench(ScriptedEncoder(shorter=None))

    whole = (await bench.embed()).json()["data"][0]["embedding"]
    short = (await bench.embed(dimensions=2)).json()["data"][0]["embedding"]

    assert len(short) == 2
    assert np.allclose(short, np.array(whole[:2]) / np.linalg.norm(whole[:2]))
    assert (await bench.embed(dimensions=3)).json()["data"][0]["embedding"] == whole
    assert await bench.refusal(dimensions=4) == (400, "invalid_value", "dimensions")


async def test_shorter_vectors_are_refused_unless_the_model_was_trained_for_them(make_bench: Any) -> None:
    whole, some = await make_bench(), await make_bench(ScriptedEncoder(shorter=(2,)))

    assert await whole.refusal(dimensions=2) == (400, "invalid_value", "dimensions")
    assert await some.refusal(dimensions=1) == (400, "invalid_value", "dimensions")
    assert (
        (await some.embed(dimensions=2)).status_code == (await whole.embed(dimensions=3)).status_code == 200
    )


@pytest.mark.parametrize(
    "given", ["", [], [""], ["a", ""], [[]], ["a", 5], [[5], "a"], [[5], 6], [-1], [2**31], 7, None, {"a": 1}]
)
async def test_what_is_neither_texts_nor_tokens_is_refused(bench: Bench, given: Any) -> None:
    status, code, param = await bench.refusal(given)

    assert (status, code) == (400, "invalid_value")
    assert param is not None
    assert param.startswith("input")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"dimensions": 0}, "dimensions"),
        ({"encoding_format": "int8"}, "encoding_format"),
        ({"input": "a", "temperature": 1}, "temperature"),
        ({"input": [[5, 6]], "prompt_name": "query"}, "prompt_name"),
    ],
)
async def test_fields_out_of_bounds_are_named(bench: Bench, fields: dict[str, Any], param: str) -> None:
    response = await bench.client.post(
        "/v1/embeddings", json={"model": "vectors", "input": "winter"} | fields
    )

    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


async def test_2048_texts_are_taken_and_one_more_is_not(bench: Bench) -> None:
    bench.encoder.step_tokens = 1000

    assert len((await bench.embed(["a"] * 2048)).json()["data"]) == 2048
    assert await bench.refusal(["a"] * 2049) == (400, "invalid_value", "input")


async def test_a_text_beyond_the_window_is_refused_before_any_work(bench: Bench) -> None:
    steps = len(bench.encoder.steps)

    assert await bench.refusal(["a", "a" * 1001]) == (400, "context_length_exceeded", "input")
    assert len(bench.encoder.steps) == steps


async def test_another_models_name_is_refused(bench: Bench) -> None:
    assert await bench.refusal(model="small") == (404, "model_not_found", "model")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_chats_are_not_served_by_an_encoder_and_the_error_says_what_is(bench: Bench, path: str) -> None:
    response = await bench.client.post(path, json={"model": "vectors", "messages": []})

    error = response.json()["error"]
    assert (response.status_code, error["type"]) == (404, "invalid_request_error")
    assert "/v1/embeddings" in error["message"]


@pytest.mark.fault("S19")
async def test_a_text_that_breaks_the_model_is_a_500_and_the_next_one_is_served(bench: Bench) -> None:
    assert await bench.refusal([[BREAKS]]) == (500, "internal_error", None)
    assert (await bench.embed()).status_code == 200


@pytest.mark.fault("S19")
async def test_a_lost_device_ends_the_service_after_its_callers_were_told(bench: Bench) -> None:
    told = await bench.refusal([[LOST]])
    bench.now_s += 31
    await bench.canary.check()

    assert told == (500, "internal_error", None)
    assert (await bench.client.get("/readyz")).status_code == 503


@pytest.mark.fault("S20")
async def test_an_encoder_that_hangs_makes_the_worker_unready_until_it_is_back(bench: Bench) -> None:
    async with asyncio.TaskGroup() as tasks:
        bench.encoder.held = True
        begun = len(bench.encoder.steps)
        asked = tasks.create_task(bench.embed())
        await until(lambda: len(bench.encoder.steps) > begun)
        check = tasks.create_task(bench.canary.check())
        bench.now_s += 31
        silent = (await bench.client.get("/readyz")).status_code
        bench.encoder.held = False
        bench.encoder.let_go()
        await check

    assert silent == 503
    assert (await bench.client.get("/readyz")).status_code == 200
    assert asked.result().status_code == 200


async def test_a_caller_whose_time_is_over_is_told_and_the_rest_is_not_computed(make_bench: Any) -> None:
    bench = await make_bench(api_key="worker-key")
    headers = {"authorization": "Bearer worker-key", "x-weighbridge-time-left-ms": "20"}
    bench.encoder.held = True

    response = await bench.client.post(
        "/v1/embeddings", json={"model": "vectors", "input": ["a" * 60] * 50}, headers=headers
    )
    begun = len(bench.encoder.steps)
    bench.encoder.let_go(100)
    await bench.canary.check()

    assert (response.status_code, response.json()["error"]["code"]) == (503, "deadline")
    assert len(bench.encoder.steps) <= begun + 1


async def test_the_card_and_the_figures_tell_of_vectors(bench: Bench) -> None:
    await bench.embed(["a", "bcd"])

    card = (await bench.client.get("/v1/models")).json()["data"][0]
    page = (await bench.client.get("/metrics")).text
    assert (card["id"], card["dimensions"], card["pooling"]) == ("vectors", 3, "mean")
    assert (card["abilities"], card["context_window"]) == (["embeddings"], 1000)
    for line in (
        "weighbridge_worker_prompt_tokens_total 4.0",
        "weighbridge_worker_texts_total 3.0",  # the canary's, too
        "weighbridge_worker_step_texts_sum 3.0",
        "weighbridge_worker_embedding_seconds_count 1.0",
        "weighbridge_worker_slots 64.0",
        'weighbridge_worker_queue_seconds_count{end="served",priority="1"} 1.0',
    ):
        assert line in page.splitlines()
