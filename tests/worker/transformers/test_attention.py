"""Attention by sequence: the same as over each sequence by itself, in every company, and what it leans on."""

import asyncio
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import transformers
from torch.nn.functional import scaled_dot_product_attention
from transformers.generation.continuous_batching import cache, input_outputs, utils
from transformers.generation.continuous_batching.cache_allocators import FullAttentionCacheAllocator

from tests.fixtures.tiny_model import Asker, running_engine, write_tokenizer
from workers.engines.transformers_engine import attention, loading
from workers.engines.transformers_engine.attention import PIECE
from workers.errors import ConfigError

SIZE = 16
PROMPTS = ["The weight of a letter", "winter", "über den großen", "signs: , . ; " * 30, "Numbers: 0 1 2 " * 5]


class Batch(NamedTuple):
    """Of each sequence how many keys are cached already, and how many tokens are new."""

    cached: list[int]
    new: list[int]


BATCHES = {
    "answers of similar lengths": Batch([40, 60, 41], [1, 1, 1]),
    "answers of one length": Batch([64, 64], [1, 1]),
    "answers of very different lengths": Batch([3, 700, 90, 5, 699], [1] * 5),
    "whole prompts, nothing cached": Batch([0, 0, 0], [5, 1, 30]),
    "a part of a prompt": Batch([100], [32]),
    "a long prompt": Batch([0], [2 * PIECE + 7]),
    "a long part of a prompt": Batch([50], [PIECE + 1]),
    "answers before, between and after prompts": Batch([9, 30, 400, 0, 12], [1, 16, 1, 20, 1]),
}


class Pages:
    """Keys and values of one layer, somewhere in a store, as the library's cache keeps them."""

    def __init__(self, tokens: int, heads: int, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.places = torch.randperm(2 * tokens)[:tokens]
        self.keys = torch.full((2 * tokens, heads, SIZE), torch.nan, dtype=dtype)
        self.values = self.keys.clone()

    def update(
        self, *, key_states: Any, value_states: Any, layer_idx: int, read_index: Any, write_index: Any
    ) -> Any:
        assert layer_idx == 3
        new_keys, new_values = key_states[0].transpose(0, 1), value_states[0].transpose(0, 1)
        self.keys[write_index[0]], self.values[write_index[0]] = new_keys, new_values
        if not read_index[0].numel():
            return new_keys, new_values
        return self.keys[read_index[0]], self.values[read_index[0]]


class Layer(torch.nn.Module):  # type: ignore[misc]  # torch has no types here
    layer_idx = 3

    def __init__(self, heads: int, shared: int) -> None:
        super().__init__()
        self.config = transformers.LlamaConfig(
            hidden_size=heads * SIZE, num_attention_heads=heads, num_key_value_heads=shared
        )

    def forward(self, **inputs: Any) -> Any:
        return attention.attend(self, attention_mask=None, scaling=0.3, **inputs)[0]


def borders(lengths: list[int]) -> torch.Tensor:
    return torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(("heads", "shared"), [(4, 4), (6, 2), (4, 1)])
@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
def test_each_sequence_meets_its_own_keys_up_to_each_query(
    batch: Batch, heads: int, shared: int, dtype: torch.dtype
) -> None:
    torch.manual_seed(1)
    layer = Layer(heads, shared)
    attention.install(layer)
    lengths = [old + new for old, new in zip(*batch, strict=True)]
    pages = Pages(sum(lengths), shared, dtype)
    places = pages.places.split(lengths)
    queries = torch.randn(1, heads, sum(batch.new), SIZE, dtype=dtype)
    keys, values = torch.randn(2, sum(lengths), shared, SIZE, dtype=dtype)
    for place, key, value, old in zip(
        places, keys.split(lengths), values.split(lengths), batch.cached, strict=True
    ):
        pages.keys[place[:old]], pages.values[place[:old]] = key[:old], value[:old]

    def new(all_states: torch.Tensor) -> torch.Tensor:
        parts = zip(all_states.split(lengths), batch.cached, strict=True)
        return torch.cat([part[old:] for part, old in parts]).transpose(0, 1)[None]

    found = layer(
        query=queries,
        key=new(keys),
        value=new(values),
        cache=pages,
        cu_seq_lens_q=borders(batch.new),
        cu_seq_lens_k=borders(lengths),
        read_index=[pages.places if any(batch.cached) else pages.places[:0]],
        write_index=[torch.cat([place[old:] for place, old in zip(places, batch.cached, strict=True)])],
    )

    expected = [
        scaled_dot_product_attention(
            query.float(),
            key.float().transpose(0, 1)[None],
            value.float().transpose(0, 1)[None],
            attn_mask=torch.ones(query.shape[2], len(key), dtype=torch.bool).tril(len(key) - query.shape[2]),
            scale=0.3,
            enable_gqa=True,
        )
        for query, key, value in zip(
            queries.split(batch.new, dim=2), keys.split(lengths), values.split(lengths), strict=True
        )
    ]
    tolerance = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 4e-2}[dtype]
    assert found.shape == (1, sum(batch.new), heads, SIZE)
    assert found.dtype == dtype
    torch.testing.assert_close(
        found.float(), torch.cat(expected, dim=2).transpose(1, 2), atol=tolerance, rtol=tolerance
    )


def test_what_is_padded_is_a_quarter_and_the_slack_at_most() -> None:
    lengths = [1, 40, 100, 900, 1000, 5000, 5100, 7000]
    sequences = [attention._Sequence(at, 1, 0, keys) for at, keys in enumerate(lengths)]

    groups = [[sequence.keys for sequence in group] for group in attention._alike(sequences)]

    assert groups == [[7000], [5100, 5000], [1000, 900], [100, 40], [1]]


@pytest.fixture(scope="module", params=["sequence", "sdpa"])
def either(request: pytest.FixtureRequest, tiny_folder: Path) -> Iterator[Asker]:
    with running_engine(tiny_folder, attention=request.param, batch=24, reuse_prompts="always") as asker:
        yield asker


async def test_greedy_answers_are_those_of_generate_whatever_is_beside_them(
    either: Asker, tiny_folder: Path
) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_folder, attn_implementation="sdpa")

    def generated(prompt: str) -> str:
        ids = tokenizer(prompt, return_tensors="pt")
        out = model.generate(**ids, max_new_tokens=30, do_sample=False, pad_token_id=0)
        return str(tokenizer.decode(out[0][ids["input_ids"].shape[1] :], skip_special_tokens=True))

    for _ in range(2):  # the second time with what the first left in the cache
        replies = await asyncio.gather(
            *(either.ask(prompt=prompt, temperature=0, max_tokens=30) for prompt in PROMPTS)
        )

        assert [reply.text for reply in replies] == [generated(prompt) for prompt in PROMPTS]
    assert replies[3].usage is not None
    assert replies[3].usage.cached > 0


@pytest.fixture(scope="module", params=["bf16", "fp16", "int8"])
def precise(request: pytest.FixtureRequest, tiny_folder: Path) -> Iterator[Asker]:
    with running_engine(tiny_folder, attention="sequence", precision=request.param, batch=24) as asker:
        yield asker


async def test_it_runs_in_every_precision(precise: Asker) -> None:
    replies = await asyncio.gather(*(precise.ask(prompt=prompt, max_tokens=8) for prompt in PROMPTS))

    assert all(reply.tokens > 0 for reply in replies)


@pytest.fixture(scope="module")
def sliding_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sliding")
    size = write_tokenizer(folder)
    config = transformers.MistralConfig(
        vocab_size=size,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=32,
        eos_token_id=2,
        bos_token_id=0,
    )
    transformers.MistralForCausalLM(config).save_pretrained(folder)
    return folder


def test_a_sliding_window_is_left_to_the_library(sliding_folder: Path, tiny_folder: Path) -> None:
    slides = loading.read_shape(sliding_folder).slides

    assert slides
    assert not loading.read_shape(tiny_folder).slides
    assert loading.pick_attention("auto", "cpu", slides=slides) == "paged|sdpa"
    with pytest.raises(ConfigError, match="--attention sequence is for models without a sliding window"):
        loading.pick_attention("sequence", "cpu", slides=slides)


def test_every_other_model_is_read_by_sequence_unless_it_was_said() -> None:
    found = [loading.pick_attention(asked, "cpu") for asked in ("auto", "sequence", "sdpa")]

    assert found == [loading.BY_SEQUENCE, loading.BY_SEQUENCE, "paged|sdpa"]


def test_the_library_makes_no_mask_for_a_name_that_it_does_not_know() -> None:
    config = transformers.LlamaConfig()
    config._attn_implementation = loading.BY_SEQUENCE

    assert not utils.attn_mask_is_needed(config)


def test_the_library_says_the_borders_of_the_sequences_and_the_places_of_their_keys() -> None:
    said = set(input_outputs.PagedAttentionArgs.__annotations__)
    taken = inspect.signature(cache.PagedAttentionCache.update).parameters

    assert {"cu_seq_lens_q", "cu_seq_lens_k", "read_index", "write_index", "cache"} <= said
    assert list(taken) == ["self", "key_states", "value_states", "layer_idx", "read_index", "write_index"]


def test_the_cache_reads_any_order_of_places_and_gives_back_what_is_new_where_there_is_none() -> None:
    source = inspect.getsource(FullAttentionCacheAllocator.update)
    order = [
        "k_cache.index_copy_(0, write_index, key_states)",
        "if read_index.numel() == 0:",
        "return key_states, value_states",
        "torch.index_select(k_cache, 0, read_index)",
    ]

    places = [source.index(line) for line in order]

    assert places == sorted(places)
