"""Layers on several GPUs. Here all are on the CPU, under the hooks that would move what goes from one to the next."""

import random
from collections.abc import Iterator
from pathlib import Path

import accelerate
import pytest
import torch
import transformers

from workers.assembly import service_of
from workers.engines.transformers_engine import attention, loading, splitting
from workers.engines.transformers_engine.loading import BY_SEQUENCE, GIB, Shape
from workers.engines.transformers_engine.loop import Loop, config_of
from workers.engines.transformers_engine.memory import Budget, plan
from workers.engines.transformers_engine.row import Inbox, Row, Sampling
from workers.errors import ConfigError
from workers.models import find
from workers.options import parser
from workers.timing import Clocks

SHAPE = Shape(layers=32, kv_heads=8, head_size=128, window=8192, vocabulary=128_256, width=4096)


@pytest.fixture
def split(tiny_folder: Path) -> Iterator[Loop]:
    attention.register()
    model = transformers.AutoModelForCausalLM.from_pretrained(
        tiny_folder, attn_implementation=BY_SEQUENCE
    ).eval()
    parts = ("embed_tokens", "rotary_emb", "layers.0", "layers.1", "norm")
    places = {**{f"model.{part}": "cpu" for part in parts}, "lm_head": "cpu"}
    accelerate.dispatch_model(model, places, force_hooks=True, skip_keys=model._skip_keys_device_placement)
    model.hf_device_map = {"model.layers.0": 0, "model.layers.1": 1}
    attention.install(model)
    budget = plan(
        loading.read_shape(tiny_folder), slots=4, context=256, kv_gib=None, is_flash=False, bytes_per_value=4
    )
    loop = Loop(model, config_of(budget, slots=4, batch=32, shares_prefixes=False))
    loop.start()
    yield loop
    loop.stop()


async def answer(loop: Loop, prompt: list[int], tokens: int) -> list[int]:
    inbox = Inbox()
    row = Row(
        id=f"row-{prompt[0]}",
        choice=0,
        prompt=prompt,
        limit=tokens,
        sampling=Sampling(temperature=0),
        randomness=random.Random(1),
        inbox=inbox,
    )
    loop.submit(row, [])
    picked = [(await inbox.steps.get()).token for _ in range(tokens)]
    loop.close(row)
    return picked


async def test_a_model_under_the_hooks_of_a_device_map_says_what_it_says_without(
    split: Loop, tiny_folder: Path
) -> None:
    prompt = list(range(10, 60))  # read in two pieces
    whole = transformers.AutoModelForCausalLM.from_pretrained(tiny_folder)
    ids = torch.tensor([prompt])
    expected = whole.generate(ids, max_new_tokens=8, do_sample=False, eos_token_id=None, pad_token_id=0)

    picked = await answer(split, prompt, 8)

    assert picked == expected[0, len(prompt) :].tolist()


def test_the_first_gpu_holds_what_keys_and_values_leave() -> None:
    budget = Budget(page=32, blocks=1, window=4096, kv_bytes=8 * GIB)

    places = splitting.room([20 * GIB, 24 * GIB], budget, SHAPE, bytes_per_value=2)

    assert places == {0: int(0.95 * 20 * GIB) - 8 * GIB, 1: int(0.95 * 24 * GIB)}


def test_a_first_gpu_that_cannot_hold_the_keys_of_all_is_refused_with_the_numbers() -> None:
    budget = Budget(page=32, blocks=1, window=4096, kv_bytes=19 * GIB)

    with pytest.raises(
        ConfigError, match=r"first GPU: 19\.0 GiB, beside 1\.0 GiB .* 20\.0 GiB are free there"
    ):
        splitting.room([20 * GIB, 24 * GIB], budget, SHAPE, bytes_per_value=2)


@pytest.mark.parametrize(
    ("kind", "count", "gpus", "reason"),
    [
        (BY_SEQUENCE, 2, 2, "take one"),
        (BY_SEQUENCE, 1, 1, "there are 1 GPUs"),
        ("paged|sdpa", 1, 2, "--attention sequence"),
    ],
)
def test_what_cannot_be_split_is_refused(kind: str, count: int, gpus: int, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        splitting.check(kind, tensor_parallel=count, gpus=gpus)


def test_without_a_gpu_there_is_nothing_to_split_over() -> None:
    with pytest.raises(ConfigError, match="there is no GPU"):
        loading.pick_device("split")


def test_an_encoder_stays_on_one_gpu(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["BertModel"]}')
    args = parser().parse_args(["--model", str(tmp_path), "--device", "split"])
    clocks = Clocks(unix_s=lambda: 0, monotonic_s=lambda: 0.0)

    with pytest.raises(ConfigError, match="--device split are not for encoders"):
        service_of(find(args.model), args, clocks)
