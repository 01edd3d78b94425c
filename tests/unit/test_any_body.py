"""Whatever a body holds, a decoder makes a request of it or names the field at fault."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.dialect import Dialect
from gateway.api.openai.completions import CompletionsDialect
from gateway.api.openai.embeddings import EmbeddingsDialect
from gateway.api.openai.moderations import ModerationsDialect
from gateway.errors import InvalidRequestError

FIELDS = (
    *("model", "prompt", "input", "suffix", "echo", "best_of", "n", "max_tokens", "logprobs", "stream"),
    *("stream_options", "stop", "temperature", "logit_bias", "seed", "encoding_format", "dimensions", "user"),
    *("messages", "tools", "max_completion_tokens", "response_format", "x"),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(("type", "text", "url")), inner)
    ),
    max_leaves=6,
)
GOOD = {
    "model": "m",
    "prompt": ["a", "b"],
    "input": "a",
}
CHANGES = st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=3)


@pytest.mark.fault("C7")
@pytest.mark.parametrize("dialect", [CompletionsDialect(), EmbeddingsDialect(), ModerationsDialect()])
@given(changes=CHANGES)
def test_a_body_becomes_a_request_that_can_be_weighed_or_is_refused(
    dialect: Dialect, changes: dict[str, Any]
) -> None:
    raw = msgspec.json.encode({**GOOD, **changes})

    try:
        request = dialect.decode(raw, {})
    except InvalidRequestError:
        return

    assert request.choices >= 1
    assert request.context_tokens >= 1
    assert request.input_tokens >= 1
    assert request.choices == 1 or request.choices_field in ("n", "best_of", "prompt")
    assert request.wishes >= request.needs
