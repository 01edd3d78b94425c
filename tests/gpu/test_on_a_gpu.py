"""What only a GPU can show. Where torch sees none, each is skipped and says so."""

import asyncio
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import transformers

from tests.fixtures.tiny_encoder import loaded, minilm_folder, vectors
from tests.fixtures.tiny_model import Asker, running_engine, write_model, write_tokenizer
from workers.gpu import Nvml

pytestmark = pytest.mark.gpu

needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"
)
needs_flash = pytest.mark.skipif(
    importlib.util.find_spec("flash_attn") is None, reason="flash-attn is not installed"
)
ATTENTIONS = ["sequence", "sdpa", pytest.param("flash", marks=needs_flash)]
PROMPTS = ["The weight of a letter", "Numbers: 0 1 2 3", "winter"]


@pytest.fixture(scope="session")
def gpu() -> str:
    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    return "cuda"


@pytest.fixture(scope="session")
def wide_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its matrices are large enough for flash attention's heads and for blocks of quantised weights."""
    folder = tmp_path_factory.mktemp("wide")
    write_model(folder, write_tokenizer(folder), width=512)
    return folder


@pytest.fixture(scope="module", params=ATTENTIONS)
def asker(request: pytest.FixtureRequest, wide_folder: Path, gpu: str) -> Iterator[Asker]:
    precision = "bf16" if request.param == "flash" else "fp32"
    options = {"attention": request.param, "precision": precision, "slots": 32}
    with running_engine(wide_folder, device=gpu, **options) as asker:
        yield asker


async def test_greedy_answers_are_those_of_generate(asker: Asker, wide_folder: Path, gpu: str) -> None:
    dtype = getattr(torch, asker.engine.card.dtype)
    tokenizer = transformers.AutoTokenizer.from_pretrained(wide_folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(wide_folder, dtype=dtype).to(gpu)

    replies = await asyncio.gather(*(asker.ask(prompt=p, temperature=0, max_tokens=12) for p in PROMPTS))

    for prompt, reply in zip(PROMPTS, replies, strict=True):
        ids = tokenizer(prompt, return_tensors="pt").to(gpu)
        out = model.generate(**ids, max_new_tokens=12, do_sample=False, pad_token_id=2)
        new = out[0][ids["input_ids"].shape[1] :]
        assert reply.text == tokenizer.decode(new, skip_special_tokens=True)


async def test_32_at_once_are_answered_and_leave_no_block_in_use(asker: Asker) -> None:
    replies = await asyncio.gather(
        *(asker.ask(content=f"Count to {n}.", max_tokens=40, temperature=0.8, seed=n) for n in range(32))
    )

    assert all(reply.tokens for reply in replies)
    assert await asker.blocks_used() == 0


async def test_the_same_seed_gives_the_same_words(asker: Asker) -> None:
    first = await asker.ask(content="Go on.", seed=7, max_tokens=30)
    again = await asker.ask(content="Go on.", seed=7, max_tokens=30)

    assert first.text == again.text


@pytest.mark.parametrize(
    "precision",
    [
        "bf16",
        "fp16",
        pytest.param("int8", marks=needs_bitsandbytes),
        pytest.param("nf4", marks=needs_bitsandbytes),
    ],
)
def test_every_precision_answers_and_says_what_it_is(precision: str, wide_folder: Path, gpu: str) -> None:
    with running_engine(wide_folder, device=gpu, precision=precision) as asker:
        reply = asyncio.run(asker.ask(content="Count.", max_tokens=20, temperature=0, logprobs=True))
        card = asker.engine.card

    assert reply.tokens
    assert all(line["logprob"] <= 0 for line in reply.logprobs)
    assert precision in (card.quantisation, {"bfloat16": "bf16", "float16": "fp16"}[card.dtype])


def test_an_encoder_says_in_bf16_nearly_what_it_says_on_a_cpu(gpu: str) -> None:
    texts = ["a cat sat on a mat", "winter is long", "the price of a letter"]

    on_cpu = vectors(loaded(minilm_folder()), texts)
    on_gpu = vectors(loaded(minilm_folder(), device=gpu, precision="bf16"), texts)

    for ours, theirs in zip(on_gpu, on_cpu, strict=True):
        assert torch.nn.functional.cosine_similarity(torch.tensor(ours), torch.tensor(theirs), dim=0) > 0.99


def test_the_driver_tells_of_this_gpu(gpu: str) -> None:
    source = Nvml(None)
    source.read()

    [reading, *_] = source.read()

    assert reading.memory_total_bytes
    assert reading.memory_total_bytes > (reading.memory_used_bytes or 0) > 0
    assert reading.power_watts
