"""What a worker's model takes of GPU memory, before anything starts."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.cli.footprint import footprint, is_missing
from gateway.config import Worker

LLAMA_3_8B = {
    "model_type": "llama",
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_3_8B))
    return tmp_path


def worker(folder: Path, **settings: Any) -> Worker:
    return msgspec.convert({"model": str(folder), "serves": ["big"], "slots": 8, **settings}, Worker)


def test_weights_keys_and_values_of_a_known_model(folder: Path) -> None:
    found = footprint(worker(folder))

    assert found is not None
    assert found.weights_gib == 14.96
    assert found.kv_gib == 4.0  # 8 requests of 4,096 tokens, each 2 x 32 layers x 8 heads x 128 x 2 bytes
    assert str(found).startswith(
        "20.2 GiB of a GPU for each replica: 15.0 of weights (bf16), 4.0 of keys and values"
    )


def test_the_budget_of_the_file_counts(folder: Path) -> None:
    found = footprint(worker(folder, kv_gib=1.5, precision="int8"))

    assert found is not None
    assert found.kv_gib == 1.5
    assert found.weights_gib < 10


@pytest.mark.parametrize("settings", [{"device": "cpu"}, {"engine": "llamacpp"}, {"model": "small.gguf"}])
def test_what_does_not_run_on_a_gpu_takes_nothing_of_it(folder: Path, settings: dict[str, str]) -> None:
    assert footprint(worker(folder, **settings)) is None


def test_an_encoder_keeps_no_keys_and_values(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({**LLAMA_3_8B, "architectures": ["BertModel"]}))

    assert footprint(worker(folder)) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"model_type": "bert"}'])
def test_a_model_that_cannot_be_counted_is_left_to_the_worker(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)

    assert footprint(worker(folder)) is None


def test_a_path_that_is_not_there_is_said_and_a_name_is_no_path(folder: Path) -> None:
    assert not is_missing(worker(folder))
    assert is_missing(worker(folder / "none"))
    assert not is_missing(worker(folder, model="smollm2-135m-instruct"))
