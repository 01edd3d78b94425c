"""The whole way: OpenAI's SDK, the gateway, a worker's process with MiniLM in it, and the ledger."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest

from tests.fixtures.gateway import MakeGateway, RunningGateway
from tests.fixtures.tiny_encoder import minilm_folder
from tests.fixtures.worker import Worker, running_worker

pytestmark = pytest.mark.model

CONFIG = """
upstreams:
  own:
    base_url: {url}
    is_worker: true
    api_key_file: {key_file}
    models:
      vectors: {{kind: embedding, size: small, price: {{input: 2, output: 0}}, context_window: 256}}
"""


@pytest.fixture(scope="module")
def vectors_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("vectors-worker")
    with running_worker(folder, names=("vectors",), model=str(minilm_folder())) as worker:
        yield worker
        assert worker.stop() == 0


@pytest.fixture
async def gateway(make_gateway: MakeGateway, vectors_worker: Worker, tmp_path: Path) -> RunningGateway:
    key_file = tmp_path / "key"
    key_file.write_text(vectors_worker.key)
    return await make_gateway(CONFIG.format(url=vectors_worker.url, key_file=key_file))


async def test_an_apps_vectors_come_from_the_worker_and_its_tokens_are_in_the_ledger(
    gateway: RunningGateway,
) -> None:
    texts = ["A man is eating food.", "A man has a meal.", "It rains in Oslo."]

    reply = await gateway.client().embeddings.create(model="vectors", input=texts)

    eats, meal, weather = (np.array(item.embedding) for item in reply.data)
    assert len(eats) == 384
    assert eats @ meal > 0.7 > 0.2 > eats @ weather
    (entry,) = await gateway.entries()
    assert (entry.model, entry.input_tokens, entry.output_tokens) == ("vectors", 23, 0)
    assert (entry.cost, entry.usage_source) == (23 * 2_000, "reported")
    assert entry.engine_us > 0
    assert reply.usage.prompt_tokens == 23


async def test_floats_and_base64_are_the_same_vector(gateway: RunningGateway) -> None:
    client = gateway.client()

    packed = await client.embeddings.create(model="vectors", input="winter")
    floats = await client.embeddings.create(model="vectors", input="winter", encoding_format="float")

    assert np.array_equal(np.float32(packed.data[0].embedding), np.float32(floats.data[0].embedding))


async def test_the_workers_refusals_reach_the_app_and_cost_nothing(gateway: RunningGateway) -> None:
    client = gateway.client()

    with pytest.raises(openai.BadRequestError) as shorter:
        await client.embeddings.create(model="vectors", input="winter", dimensions=100)

    assert shorter.value.param == "dimensions"
    assert "384" in shorter.value.message
    assert sum(entry.cost for entry in await gateway.entries()) == 0


@pytest.mark.fault("S19")
async def test_what_a_caller_that_hangs_up_has_left_is_not_computed(vectors_worker: Worker) -> None:
    async with httpx.AsyncClient(headers=vectors_worker.headers, timeout=60) as http:

        async def figure(name: str) -> float:
            page = (await http.get(f"{vectors_worker.root}/metrics")).text
            return float(next(line for line in page.splitlines() if line.startswith(f"{name} ")).split()[1])

        before = await figure("weighbridge_worker_texts_total")
        body = {"model": "vectors", "input": ["word " * 200] * 1000}
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(http.post(f"{vectors_worker.url}/embeddings", json=body))
            while await figure("weighbridge_worker_running") == 0:
                pass
            asked.cancel()
        while await figure("weighbridge_worker_running") > 0:
            pass

        assert await figure("weighbridge_worker_texts_total") - before < 1000
        assert (
            await http.post(f"{vectors_worker.url}/embeddings", json={"model": "vectors", "input": "a"})
        ).status_code == 200
