"""What every surface asks of a body, of any size and however it is written."""

import msgspec
import pytest

from gateway.api.anthropic.decode import MessagesDecoder
from gateway.api.bodies import MAX_DEPTH, read_object
from gateway.api.openai.decode import ChatDecoder
from gateway.api.openai.responses.decode import ResponsesDecoder
from gateway.errors import InvalidRequestError


@pytest.mark.fault("C2")
@pytest.mark.parametrize("piece", [rb"\"", rb"\"x", b"\\\\", b"\\\n", b'"'])
def test_a_string_without_an_end_is_looked_at_once(piece: bytes) -> None:
    raw = b"[" * (MAX_DEPTH + 1) + b'"' + piece * 1_000_000

    with pytest.raises(InvalidRequestError) as refused:
        read_object(raw)

    assert refused.value.code == "invalid_json"


@pytest.mark.fault("C2")
def test_what_stands_in_strings_nests_nothing() -> None:
    text = '[{"' * 1_000

    assert read_object(msgspec.json.encode({"a": [text, "\\", text]}))["a"][0] == text


@pytest.mark.fault("M31")
@pytest.mark.parametrize(
    ("decode", "raw"),
    [
        (
            ChatDecoder(),
            rb'{"model": "m", "messages": [{"role": "user", "content": "x", "cache\u005fcontrol": {"ttl": "1h"}}]}',
        ),
        (
            MessagesDecoder(),
            rb'{"model": "m", "max_tokens": 1, "cache\u005fcontrol": {}, "messages": [{"role": "user", "content": "x"}]}',
        ),
        (
            ResponsesDecoder(),
            rb'{"model": "m", "input": "x", "prompt\u005fcache_breakpoint": {}}',
        ),
    ],
)
def test_a_field_that_makes_a_prompt_dearer_is_seen_however_it_is_written(
    decode: ChatDecoder | MessagesDecoder | ResponsesDecoder, raw: bytes
) -> None:
    assert decode(raw, {}).writes_prompt_cache
