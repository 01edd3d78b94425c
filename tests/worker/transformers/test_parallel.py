"""One model in two processes: what it says is what one process says, and neither outlives the other. On CPUs, by gloo."""

import asyncio
import inspect
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from transformers.generation.continuous_batching.continuous_api import ContinuousBatchProcessor
from transformers.generation.continuous_batching.distributed import DistributedHelper

from tests.fixtures.tiny_model import END, Asker, running_engine, write_model, write_tokenizer
from tests.fixtures.worker import ROOT, Worker, running_worker
from workers.engines.transformers_engine import parallel
from workers.engines.transformers_engine.loading import Shape, read_shape
from workers.engines.transformers_engine.lockstep import Lockstep
from workers.engines.transformers_engine.memory import plan
from workers.engines.transformers_engine.ranks import Followers, Place, tensor_parallel, torchrun_place
from workers.errors import ConfigError

PROMPTS = ["The weight of a letter", "Numbers: 0 1 2", "winter", "über den großen", "signs: , . ; " * 12]
NEVER_ENDS = {"logit_bias": {str(END): -100}}
OPTIONS = ("--tensor-parallel", "2", "--slots", "16", "--context", "512", "--batch", "32")
SCARCE = ("--kv-gib", "0.00026", "--reuse-prompts")
"""Each rank has room for two whole windows, 34 blocks; so requests wait, are put back, and find each other's prompts."""
GONE_LIMIT_S = 30


@pytest.fixture(scope="module")
def even_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its tokens can be shared out between two: the last layer is."""
    folder = tmp_path_factory.mktemp("even")
    size = write_tokenizer(folder)
    write_model(folder, size + size % 2)
    return folder


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, even_folder: Path) -> Iterator[Worker]:
    """Two ranks. That they end well when they are told to is claimed at the end."""
    with running_worker(tmp_path_factory.mktemp("pair"), *OPTIONS, *SCARCE, model=str(even_folder)) as worker:
        (follower,) = followers_of(worker)
        yield worker
        code = worker.stop()
        psutil.wait_procs([follower], GONE_LIMIT_S)

        assert code == 0
        assert not follower.is_running()


@pytest.fixture(scope="module")
def alone(even_folder: Path) -> Iterator[Asker]:
    """The same model in one process."""
    with running_engine(even_folder, slots=16, batch=32) as asker:
        yield asker


def followers_of(worker: Worker) -> list[psutil.Process]:
    return list(psutil.Process(worker.process.pid).children())


def client(worker: Worker) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=worker.url, headers=worker.headers, timeout=120)


async def complete(worker: Worker, **body: Any) -> list[str]:
    """The text of each answer."""
    async with client(worker) as http:
        reply = await http.post("/completions", json={"model": "small", **body})
    reply.raise_for_status()
    return [choice["text"] for choice in reply.json()["choices"]]


async def metric(worker: Worker, name: str) -> float:
    async with client(worker) as http:
        page = (await http.get(f"{worker.root}/metrics")).text
    (line,) = (line for line in page.splitlines() if line.startswith(f"weighbridge_worker_{name} "))
    return float(line.split()[1])


async def test_two_ranks_say_what_one_process_says(pair: Worker, alone: Asker) -> None:
    expected = [(await alone.ask(prompt=prompt, temperature=0, max_tokens=24)).text for prompt in PROMPTS]

    one_by_one = [await complete(pair, prompt=prompt, temperature=0, max_tokens=24) for prompt in PROMPTS]
    at_once = await asyncio.gather(
        *(complete(pair, prompt=prompt, temperature=0, max_tokens=24) for prompt in PROMPTS * 4)
    )

    assert one_by_one == [[text] for text in expected]
    assert at_once == [[text] for text in expected] * 4


@pytest.mark.parametrize(
    "body",
    [
        {"seed": 11, "temperature": 1.2, "n": 3},
        {"seed": 5, "top_p": 0.9, "presence_penalty": 0.5, "frequency_penalty": 0.5},
        {"seed": 3, "structured_outputs": {"regex": "[a-f]{3}-[0-9]{4}"}, "max_tokens": 40},
    ],
    ids=["several", "penalties", "grammar"],
)
async def test_draws_and_grammars_are_those_of_one_process(
    pair: Worker, alone: Asker, body: dict[str, Any]
) -> None:
    body = {"prompt": "The road", "max_tokens": 16} | body
    expected = await alone.ask(**body)

    texts = await complete(pair, **body)

    assert texts == [expected.texts[choice] for choice in sorted(expected.texts)]


async def test_clients_that_hang_up_leave_nothing_behind_and_the_ranks_in_step(
    pair: Worker, alone: Asker
) -> None:
    expected = await alone.ask(prompt="winter", temperature=0, max_tokens=24)
    body = {"model": "small", "prompt": "The weight " * 20, "max_tokens": 400, "stream": True, **NEVER_ENDS}

    async def hang_up(http: httpx.AsyncClient, after: int) -> None:
        async with http.stream("POST", "/completions", json=body) as stream:
            lines = stream.aiter_lines()
            for _ in range(after):
                await anext(lines)

    async with client(pair) as http:
        await asyncio.gather(*(hang_up(http, after) for after in range(24)))
    while await metric(pair, "engine_kv_blocks_used"):
        await asyncio.sleep(0.05)

    assert await complete(pair, prompt="winter", temperature=0, max_tokens=24) == [expected.text]


async def test_the_ranks_put_the_same_answers_back(pair: Worker, alone: Asker) -> None:
    prompts = [f"{number} winter" for number in range(8)]
    body: dict[str, Any] = {"temperature": 0, "max_tokens": 160, **NEVER_ENDS}
    expected = await asyncio.gather(*(alone.ask(prompt=prompt, **body) for prompt in prompts))

    texts = await asyncio.gather(*(complete(pair, prompt=prompt, **body) for prompt in prompts))

    assert texts == [[reply.text] for reply in expected]
    assert await metric(pair, "engine_put_back_total") > 0


async def test_what_is_loaded_tells_on_how_many(pair: Worker) -> None:
    async with client(pair) as http:
        card = (await http.get("/models")).json()["data"][0]
        figures = (await http.get(f"{pair.root}/metrics")).text

    assert card["tensor_parallel"] == 2
    assert 'tensor_parallel="2"} 1.0' in figures


@pytest.mark.fault("S19")
async def test_when_a_rank_dies_its_worker_fails_what_runs_and_ends(
    tiny_folder: Path, tmp_path: Path
) -> None:
    """Of a model whose vocabulary is odd, so that each rank has the last layer whole."""
    body = {"model": "small", "prompt": "winter", "max_tokens": 400, "stream": True, **NEVER_ENDS}
    with running_worker(tmp_path, *OPTIONS, model=str(tiny_folder)) as worker:
        (follower,) = followers_of(worker)
        async with client(worker) as http, http.stream("POST", "/completions", json=body) as stream:
            lines = stream.aiter_lines()
            await anext(lines)
            follower.send_signal(signal.SIGKILL)
            rest = [line async for line in lines if line.startswith("data: ")]
        code = worker.process.wait(GONE_LIMIT_S)

    assert json.loads(rest[-1].removeprefix("data: "))["error"]["type"] == "server_error"
    assert code == 1
    assert '"event": "ranks.lost"' in worker.log.read_text()


@pytest.mark.fault("S19")
def test_when_the_first_rank_is_killed_no_other_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where it leaves what it cannot take away any more
    script = (
        "import sys, time\n"
        "from workers.engines.transformers_engine.ranks import Followers\n"
        "followers = Followers()\n"
        "followers.start(2, {'model': 'none', 'options': {'slots': 1, 'context': 64, 'threads': 1}})\n"
        "print(followers._processes[0].pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT, text=True
    ) as first:
        assert first.stdout is not None
        follower = psutil.Process(int(first.stdout.readline()))
        first.kill()

    gone, _ = psutil.wait_procs([follower], GONE_LIMIT_S)

    assert gone == [follower]


def test_a_rank_that_ends_before_it_is_ready_is_named() -> None:
    followers = Followers()
    place = followers.start(2, {"model": "none", "options": {}})  # options that it cannot read
    followers._processes[0].wait(GONE_LIMIT_S)

    with pytest.raises(ConfigError, match="rank 1 ended with exit code"):
        followers.check()
    followers.kill()
    assert not Path(place.meeting).parent.exists()


LLAMA = Shape(layers=2, kv_heads=64, head_size=64, window=4096, vocabulary=1000, width=512)


@pytest.mark.parametrize(
    ("count", "precision", "device", "reason"),
    [
        (3, "fp32", "cpu", "64 heads of keys and values cannot be shared out evenly"),
        (2, "int8", "cpu", "quantised weights stay on one GPU"),
        (2, "bf16", "cuda:1", "CUDA_VISIBLE_DEVICES"),
        (64, "bf16", "cuda", "there are [0-9]+ GPUs"),
    ],
)
def test_what_cannot_be_spread_is_refused_with_the_reason(
    count: int, precision: str, device: str, reason: str
) -> None:
    with pytest.raises(ConfigError, match=f"--tensor-parallel {count}.*{reason}"):
        parallel.check(count, LLAMA, precision=precision, device=device)


def test_each_of_two_keeps_half_the_keys_and_half_of_all_weights_but_the_table_of_tokens() -> None:
    whole, half = (
        plan(shape, slots=4, context=4096, kv_gib=None, is_flash=False, bytes_per_value=2)
        for shape in (LLAMA, parallel.share_of(LLAMA, 2))
    )

    assert half.blocks == whole.blocks
    assert half.kv_bytes * 2 == whole.kv_bytes
    assert parallel.parameters_each(10_000_000, 1, LLAMA) == 10_000_000
    assert parallel.parameters_each(10_000_000, 2, LLAMA) == 512_000 + (10_000_000 - 512_000) // 2


def test_an_uneven_vocabulary_stays_whole_on_every_rank(tiny_folder: Path, even_folder: Path) -> None:
    uneven = parallel.distributed_config(tiny_folder, 2)
    even = parallel.distributed_config(even_folder, 2)

    assert read_shape(tiny_folder).vocabulary % 2 == 1
    assert "lm_head" not in uneven.tp_plan
    assert "model.layers.*.self_attn.k_proj" in uneven.tp_plan
    assert even.tp_plan is None


def test_the_library_asks_for_what_is_answered_in_its_place() -> None:
    asked, answered = (
        list(inspect.signature(method).parameters)
        for method in (DistributedHelper.tp_all_reduce_state, Lockstep.state)
    )

    assert asked == answered
    assert "self.distributed_helper.tp_all_reduce_state(" in inspect.getsource(
        ContinuousBatchProcessor._update_tp_group_state
    )


TORCHRUN = {
    "RANK": "1",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "2",
    "MASTER_ADDR": "localhost",
    "MASTER_PORT": "29500",
}


def test_torchrun_says_who_is_who() -> None:
    assert torchrun_place(TORCHRUN) == Place(rank=1, local=1, size=2)
    assert torchrun_place(TORCHRUN | {"WORLD_SIZE": "1", "RANK": "0"}) is None
    assert torchrun_place({"RANK": "1", "WORLD_SIZE": "2"}) is None


def test_as_many_as_torchrun_has_started_and_no_other_number() -> None:
    place = torchrun_place(TORCHRUN)

    assert (tensor_parallel(None, None), tensor_parallel(4, None), tensor_parallel(None, place)) == (1, 4, 2)
    with pytest.raises(ConfigError, match="torchrun has started 2"):
        tensor_parallel(4, place)
