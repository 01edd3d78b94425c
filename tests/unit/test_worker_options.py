"""From `workers.NAME` in the configuration to the command line of a worker."""

import pytest

from gateway.cli.launch import worker_options
from gateway.config import parse
from gateway.errors import ConfigError
from workers.options import parser

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


def test_steps_line_and_reuse_are_the_files() -> None:
    given = options(
        "batch: 1024, attention: sdpa, reuse_prompts: never, max_queue: 9, queue_wait_s: 2.5, queue_age_s: 1"
    )

    assert given["--batch"] == "1024"
    assert given["--attention"] == "sdpa"
    assert given["--reuse-prompts"] == "never"
    assert given["--max-queue"] == "9"
    assert float(given["--queue-wait"]) == 2.5
    assert float(given["--queue-age"]) == 1


def test_what_the_worker_takes_unless_it_is_told_is_the_files_default() -> None:
    """Both are run by the same command in the end."""
    words = worker_options(parse(CONFIG.format(more="")).workers["own"])
    ours = parser().parse_args([word for word in words if word != "--die-with-parent"])
    theirs = parser().parse_args(["--model", "/models/Qwen3-8B"])

    for name in ("batch", "attention", "reuse_prompts", "matryoshka", "max_queue", "queue_wait", "queue_age"):
        assert getattr(ours, name) == getattr(theirs, name)


@pytest.mark.parametrize(
    "more", ["engine: vllm", "precision: int3", "device: gpu", "device: 'cuda:x'", "kv_gib: 0"]
)
def test_what_no_worker_knows_is_refused_with_its_place(more: str) -> None:
    with pytest.raises(ConfigError, match=rf"workers\.own\.{more.partition(':')[0]}"):
        parse(CONFIG.format(more=more))
