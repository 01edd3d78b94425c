"""What our worker can do of OpenAI's API, held against what the shipped configurations say of it."""

from pathlib import Path

import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsBase as ChatParams
from openai.types.completion_create_params import CompletionCreateParamsBase as TextParams

from gateway.cli.demo import config_text
from gateway.config import Config, Upstream, parse
from workers.engines.llamacpp_engine import CHAT_FIELDS, SAMPLING_FIELDS
from workers.request import ChatRequest, CompletionRequest, Sampling

ROOT = Path(__file__).parents[2]

ABILITY_OF = {"tools": "tools", "functions": "tools", "audio": "audio_output"}
"""Fields that a request is kept away with by the ability that it needs."""
ONLY_AT_DEFAULT = {"echo", "suffix", "best_of"}
"""The worker takes them as long as they ask for nothing: clients send them unasked."""
ONE_ENGINE_ONLY = {"structured_outputs"}
"""Refused by llama.cpp, which the shipped configurations run."""
CHANGES_NO_ANSWER = {
    *("user", "metadata", "store", "service_tier", "safety_identifier"),
    *("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
}
OURS = {"model", "stream", "stream_options", "n", "max_tokens", "max_completion_tokens", "seed"}
"""What the worker answers for by itself, or hands to the engine under another name or in another shape."""


def shipped(tmp_path: Path) -> list[Config]:
    compose = (ROOT / "deploy" / "compose" / "config.yaml").read_text(encoding="utf-8")
    return [parse(config_text(tmp_path, port=8080, admin_port=8081)), parse(compose)]


@pytest.fixture
def upstreams(tmp_path: Path) -> list[Upstream]:
    return [upstream for config in shipped(tmp_path) for upstream in config.upstreams.values()]


def test_what_openais_clients_can_ask_for_is_honoured_by_the_worker_or_named_as_unsupported(
    upstreams: list[Upstream],
) -> None:
    for upstream in upstreams:
        named = set(upstream.unsupported)
        for model in upstream.models.values():
            kept_away = {field for field, ability in ABILITY_OF.items() if ability not in model.abilities}

            taken = set(ChatRequest.__struct_fields__) | named | kept_away
            assert set(ChatParams.__annotations__) - taken == set()
            assert set(TextParams.__annotations__) - set(CompletionRequest.__struct_fields__) == set()
            assert "completions" in model.abilities


def test_nothing_is_named_that_the_worker_honours(upstreams: list[Upstream]) -> None:
    taken = set(ChatRequest.__struct_fields__) | set(CompletionRequest.__struct_fields__)

    for upstream in upstreams:
        assert set(upstream.unsupported) & taken == ONLY_AT_DEFAULT | ONE_ENGINE_ONLY


def test_what_the_worker_takes_reaches_the_engine() -> None:
    sampling = {*SAMPLING_FIELDS, *CHANGES_NO_ANSWER, *OURS, *ONE_ENGINE_ONLY, "repetition_penalty"}

    assert set(Sampling.__struct_fields__) <= sampling
    assert set(ChatRequest.__struct_fields__) <= sampling | set(CHAT_FIELDS)
    assert set(CompletionRequest.__struct_fields__) <= sampling | ONLY_AT_DEFAULT | {"prompt", "logprobs"}
