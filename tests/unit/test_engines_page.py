"""The page about other engines: what it shows is accepted."""

import re
from pathlib import Path

import pytest

from gateway.cli.main import main
from gateway.config import parse
from gateway.errors import ConfigError
from policies import document

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "engines.md"
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
CONFIGS = [text for text in EXAMPLES if text.startswith("upstreams:")]
POLICIES = [text for text in EXAMPLES if text.startswith("name:")]


def test_it_has_examples_of_every_engine_and_of_a_policy():
    engines = {upstream.engine for text in CONFIGS for upstream in parse(text).upstreams.values()}

    assert engines == {"", "vllm", "sglang", "llamacpp", "tgi"}
    assert len(CONFIGS) + len(POLICIES) == len(EXAMPLES)
    assert len(POLICIES) == 1


@pytest.mark.parametrize("text", CONFIGS, ids=lambda text: text.split()[1])
def test_check_config_accepts_each(text, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VLLM_API_KEY", "sk-1")
    path = tmp_path / "weighbridge.yaml"
    path.write_text(f"data_dir: {tmp_path}\n{text}")

    assert main(["check-config", "--config", str(path)]) == 0
    assert "good" in capsys.readouterr().out


def test_the_policy_is_one():
    policy = document.parse(POLICIES[0], source="mine.yaml")

    assert (policy.guards.max_queued, policy.guards.max_kv_use) == (8, 0.95)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("base_url: {url}, metrics_url: '{page}'", "say in `engine` whose figures are there"),
        ("base_url: {url}, engine: vllm, metrics_url: metrics", "expected http\\(s\\)://host/path without credentials"),
        ("base_url: {url}, engine: vllm, metrics_url: 'http://a:b@h/m'", "expected http\\(s\\)://host/path"),
        ("base_urls: [{url}], engine: vllm, metrics_url: '{page}'", "is one page; with several servers each tells"),
    ],
)  # fmt: skip
def test_where_metrics_are_is_one_page_of_one_server(settings, message):
    settings = settings.format(url="http://127.0.0.1:1/v1", page="http://127.0.0.1:2/m?model=x")

    with pytest.raises(ConfigError, match=rf"upstreams\.a\.metrics_url: {message}"):
        parse(f"upstreams: {{a: {{{settings}, models: {{m: {{size: small, free: true}}}}}}}}")


def test_such_a_page_may_be_elsewhere_and_have_a_query():
    text = """
upstreams:
  a:
    base_url: http://127.0.0.1:1/v1
    engine: llamacpp
    metrics_url: http://127.0.0.1:1/metrics?model=x
    models: {m: {size: small, free: true}}
"""

    assert parse(text).upstreams["a"].metrics_url.endswith("?model=x")
