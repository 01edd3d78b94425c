"""From `workers.NAME` in the configuration to the command line of a worker."""

import pytest

from gateway.cli.launch import worker_options
from gateway.config import parse
from gateway.errors import ConfigError

CONFIG = """
upstreams:
  own: {{base_url: "http://127.0.0.1:8101/v1", models: {{own: {{size: small, free: true}}}}}}
workers:
  own: {{model: /models/Qwen3-8B, serves: [own], port: 8101, {more}}}
"""


def options(more: str) -> dict[str, str]:
    words = worker_options(parse(CONFIG.format(more=more)).workers["own"])
    words.remove("--die-with-parent")
    return dict(zip(words[::2], words[1::2], strict=True))


def test_the_transformers_engine_is_set_up_in_the_file() -> None:
    given = options("engine: transformers, precision: nf4, device: 'cuda:1', kv_gib: 40, slots: 32")

    assert given["--engine"] == "transformers"
    assert given["--precision"] == "nf4"
    assert given["--device"] == "cuda:1"
    assert float(given["--kv-gib"]) == 40
    assert given["--slots"] == "32"


def test_what_is_left_out_is_left_to_the_worker() -> None:
    given = options("")

    assert given["--engine"] == given["--precision"] == given["--device"] == "auto"
    assert "--kv-gib" not in given


@pytest.mark.parametrize(
    "more", ["engine: vllm", "precision: int3", "device: gpu", "device: 'cuda:x'", "kv_gib: 0"]
)
def test_what_no_worker_knows_is_refused_with_its_place(more: str) -> None:
    with pytest.raises(ConfigError, match=rf"workers\.own\.{more.partition(':')[0]}"):
        parse(CONFIG.format(more=more))
