"""What every surface asks of a body, of any size and however it is written."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest

from gateway.api.anthropic.decode import MessagesDecoder
from gateway.api.bodies import MAX_DEPTH, read_object
from gateway.api.openai.completions import CompletionsDialect
from gateway.api.openai.decode import ChatDecoder
from gateway.api.openai.embeddings import EmbeddingsDialect
from gateway.api.openai.moderations import ModerationsDialect
from gateway.api.openai.responses.decode import ResponsesDecoder
from gateway.errors import InvalidRequestError
from gateway.ticket import Request

Decode = Callable[[bytes, Mapping[bytes, bytes]], Request]

HELLO = [{"role": "user", "content": "Hello"}]
SURFACES: dict[str, tuple[Decode, dict[str, Any]]] = {
    "chat": (ChatDecoder(), {"model": "m", "messages": HELLO}),
    "completions": (CompletionsDialect().decode, {"model": "m", "prompt": "Hello"}),
    "responses": (ResponsesDecoder(), {"model": "m", "input": "Hello"}),
    "messages": (MessagesDecoder(), {"model": "m", "max_tokens": 5, "messages": HELLO}),
    "embeddings": (EmbeddingsDialect().decode, {"model": "m", "input": "Hello"}),
    "moderations": (ModerationsDialect().decode, {"model": "m", "input": "Hello"}),
}


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


def decoded(surface: str, **changes: Any) -> Request:
    decode, good = SURFACES[surface]
    return decode(msgspec.json.encode({**good, **changes}), {})


@pytest.mark.fault("A9")
@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize(
    "field",
    [
        *("api_base", "base_url", "api_key", "extra_headers", "organization", "tenant", "tier", "budget"),
        *("fallbacks", "models", "route", "provider", "plugins", "kv_transfer_params", "data_sources"),
    ],
)
@pytest.mark.parametrize("place", ["", "x", "x.0.y"])
def test_no_surface_takes_a_field_that_redirects_a_call_or_says_who_calls(
    surface: str, field: str, place: str
) -> None:
    changes: dict[str, Any] = {field: "http://127.0.0.1:1"}
    if place:
        changes = {"x": [{"y": changes}] if place == "x.0.y" else changes}

    with pytest.raises(InvalidRequestError) as refused:
        decoded(surface, **changes)

    at = f"{place}.{field}" if place else field
    assert (refused.value.code, refused.value.param) == ("unknown_parameter", at)


@pytest.mark.fault("C7")
@pytest.mark.parametrize("kind", [{}, [], 5, None])
def test_a_part_of_no_type_asks_for_nothing(kind: object) -> None:
    request = decoded("chat", messages=[{"role": "user", "content": [{"type": kind, "text": "x"}]}])

    assert request.needs == frozenset()


@pytest.mark.fault("M31")
@pytest.mark.parametrize("surface", ["chat", "completions", "responses"])
@pytest.mark.parametrize("tier", ["priority", "scale", "fast"])
def test_tokens_of_a_dearer_service_tier_are_not_sold_at_the_usual_price(surface: str, tier: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        decoded(surface, service_tier=tier)

    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "service_tier")


@pytest.mark.fault("M31")
def test_every_answer_that_a_server_may_write_counts() -> None:
    request = decoded("chat", n=2, best_of=5)

    assert (request.choices, request.choices_field) == (5, "best_of")


@pytest.mark.fault("M31")
@pytest.mark.parametrize("field", ["n", "best_of"])
def test_a_response_is_one_answer(field: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        decoded("responses", **{field: 5})

    assert refused.value.param == field


@pytest.mark.fault("M31")
@pytest.mark.parametrize(
    ("surface", "changes"),
    [
        ("chat", {"web_search_options": {}}),
        ("chat", {"tools": [{"type": "web_search"}]}),
        ("messages", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
        ("messages", {"tools": [{"type": "advisor_20260301", "name": "advisor"}]}),
        ("messages", {"tools": [{"type": "mcp_toolset", "mcp_server_name": "x"}]}),
        ("messages", {"mcp_servers": [{"type": "url", "url": "https://a.example", "name": "x"}]}),
        ("messages", {"container": "container_1"}),
        ("messages", {"context_management": {"edits": [{"type": "compact_20260112"}]}}),
    ],
)
def test_what_is_billed_by_use_needs_an_admins_word(surface: str, changes: dict[str, Any]) -> None:
    assert "unpriced_tools" in decoded(surface, **changes).needs


@pytest.mark.parametrize(
    ("surface", "changes"),
    [
        ("chat", {"tools": [{"type": "function", "function": {"name": "f"}}, {"type": "custom"}, {}]}),
        ("messages", {"tools": [{"type": "bash_20250124", "name": "bash"}]}),
        ("messages", {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}),
        ("messages", {"mcp_servers": [], "container": None}),
    ],
)
def test_what_the_caller_runs_himself_needs_none(surface: str, changes: dict[str, Any]) -> None:
    assert "unpriced_tools" not in decoded(surface, **changes).needs
