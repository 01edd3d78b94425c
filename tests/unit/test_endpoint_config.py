"""What the configuration may say of where an upstream's servers are."""

import re
from pathlib import Path

import pytest

from gateway.config import parse
from gateway.errors import ConfigError

CONFIG = """
workers:
  big: {{model: big.gguf, serves: [medium, large]}}
upstreams:
  up: {{{keys}, models: {{medium: {{size: medium, free: true}}}}}}
"""


@pytest.mark.parametrize(
    "keys",
    [
        "base_url: 'http://10.0.0.1:8000/v1'",
        "base_url: 'unix:/run/big.sock'",
        "base_urls: ['http://10.0.0.1:8000/v1', 'unix:/run/big.sock']",
        "base_url: 'https://models.example/v1', resolves: true",
        "worker: big",
        "worker: big, affinity: prefix",
    ],
)
def test_each_way_to_say_it_is_good_by_itself(keys: str) -> None:
    assert parse(CONFIG.format(keys=keys)).upstreams["up"]


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ("keyless: true", "up: say where it is by one of `base_url`, `base_urls` and `worker`$"),
        ("base_url: 'http://a/v1', worker: big", "`worker`, not by base_url and worker$"),
        ("base_urls: ['http://a/v1'], base_url: 'http://a/v1'", "not by base_url and base_urls$"),
        ("base_urls: ['http://a/v1', 'http://u:p@a/v1']", r"up\.base_urls: expected http\(s\)"),
        ("base_urls: ['http://a/v1', 'http://a/v1']", r"up\.base_urls: names a server twice"),
        ("base_url: 'ftp://a/v1'", r"up\.base_url: expected http\(s\)://host/path .* or unix:PATH"),
        ("base_url: 'unix:'", r"up\.base_url: expected"),
        (f"base_url: 'unix:/{'x' * 107}'", r"up\.base_url: a socket's path has 107 bytes at most"),
        ("base_urls: ['http://a/v1'], resolves: true", r"up\.resolves: needs a `base_url`"),
        ("base_url: 'unix:/run/x', resolves: true", r"up\.resolves: needs a `base_url`"),
        ("worker: big, resolves: true", r"up\.resolves: needs a `base_url`"),
        ("worker: bog", r"up\.worker: 'bog' is not under `workers:`; there are big$"),
        ("worker: big, dialect: anthropic", r"up\.worker: workers of ours speak OpenAI's dialect"),
        ("worker: big, api_key_env: KEY", r"up: a `worker` is called with its own key.*workers\.big$"),
        ("base_url: 'http://a/v1', autoscale: {min: 3, max: 2}", r"up\.autoscale.*3.*2"),
    ],
)
def test_what_contradicts_itself_is_refused_in_one_line(keys: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        parse(CONFIG.format(keys=keys))

    assert "\n" not in str(caught.value)


def test_a_model_that_the_worker_does_not_serve_is_refused() -> None:
    text = CONFIG.format(keys="worker: big").replace("medium: {size", "small: {size")

    with pytest.raises(
        ConfigError, match=r"up\.models\.small: the worker 'big' serves medium, large, not small$"
    ):
        parse(text)


def test_a_worker_by_its_name_is_one_of_ours() -> None:
    assert parse(CONFIG.format(keys="worker: big")).upstreams["up"].is_ours
    assert not parse(CONFIG.format(keys="base_url: 'http://a/v1'")).upstreams["up"].is_ours


def test_the_example_in_the_documentation_is_accepted() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/endpoints.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)

    assert set(parse(example).upstreams) == {"socket", "pair", "pods", "local"}
