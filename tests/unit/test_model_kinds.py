"""Which sorts of models a configuration may name, and what is known of one that is not asked how hard a prompt is."""

import pytest

from gateway.config import parse
from gateway.errors import ConfigError

UPSTREAM = """
upstreams:
  up:
    base_url: http://127.0.0.1:1/v1
    dialect: {dialect}
    models: {{m: {{size: cloud, free: true, kind: {kind}, abilities: [{abilities}]}}}}
"""


@pytest.mark.parametrize(
    ("dialect", "kind", "abilities", "at"),
    [
        ("anthropic", "embedding", "", "kind"),
        ("anthropic", "moderation", "", "kind"),
        ("anthropic", "chat", "completions", "abilities"),
        ("openai", "embedding", "completions", "abilities"),
    ],
)
def test_what_a_dialect_or_a_sort_of_model_does_not_have_is_refused_at_the_start(
    dialect: str, kind: str, abilities: str, at: str
) -> None:
    with pytest.raises(ConfigError, match=rf"upstreams\.up\.models\.m\.{at}"):
        parse(UPSTREAM.format(dialect=dialect, kind=kind, abilities=abilities))


@pytest.mark.parametrize("kind", ["chat", "embedding", "moderation"])
def test_openais_dialect_has_all_sorts(kind: str) -> None:
    parse(UPSTREAM.format(dialect="openai", kind=kind, abilities="vision"))
