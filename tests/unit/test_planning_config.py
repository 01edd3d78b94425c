"""`planning:` in the config file."""

import pytest

from gateway.config import parse
from gateway.errors import ConfigError

SITE = """
upstreams:
  far:
    base_url: https://api.example.com/v1
    models:
      large: {size: large, price: {input: 2.50, output: 10, source: list}, context_window: 4096}
      vectors: {size: small, kind: embedding, price: {input: 0.02, output: 0, source: list}, context_window: 4096}
"""


@pytest.mark.parametrize("reference", ["large", "far/large", "''"])
def test_the_reference_is_a_chat_model_of_the_site_or_nothing(reference):
    config = parse(f"{SITE}\nplanning: {{reference: {reference}}}")

    assert config.planning.reference == reference.strip("'")


@pytest.mark.parametrize("reference", ["larger", "near/large", "vectors"])
def test_another_reference_is_refused_with_those_that_would_do(reference):
    with pytest.raises(
        ConfigError, match=rf"planning.reference: '{reference}' is no chat model here; there are far/large"
    ):
        parse(f"{SITE}\nplanning: {{reference: {reference}}}")
