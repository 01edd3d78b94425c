"""Whatever bytes come as a request, every surface makes a request of them or refuses them in its own shape; nothing else."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.anthropic.dialect import MessagesDialect
from gateway.api.description.operations import OPERATIONS
from gateway.api.dialect import Dialect
from gateway.api.openai.chat import ChatDialect
from gateway.api.openai.completions import CompletionsDialect
from gateway.api.openai.embeddings import EmbeddingsDialect
from gateway.api.openai.moderations import ModerationsDialect
from gateway.api.openai.responses.dialect import ResponsesDialect
from gateway.clock import SystemClock
from gateway.errors import InvalidRequestError
from gateway.ticket import Request

DIALECTS: dict[str, Dialect] = {
    "/v1/chat/completions": ChatDialect(),
    "/v1/completions": CompletionsDialect(),
    "/v1/embeddings": EmbeddingsDialect(),
    "/v1/moderations": ModerationsDialect(),
    "/v1/responses": ResponsesDialect(SystemClock()),
    "/v1/messages": MessagesDialect.of_messages(SystemClock()),
    "/v1/messages/count_tokens": MessagesDialect.of_counting(SystemClock()),
}
BODIES = [
    pytest.param(operation.path, example.body, id=f"{operation.path} {example.summary}")
    for operation in OPERATIONS
    for example in operation.examples
    if operation.path in DIALECTS
]
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands inside a body."""
    inner: Any = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    return [path, *(place for key, item in inner for place in places(item, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[path[0]] = replaced(value[path[0]], path[1:], new)
    return changed


def judge(path: str, raw: bytes) -> Request | None:
    dialect = DIALECTS[path]
    try:
        return dialect.decode(raw, {})
    except InvalidRequestError as refusal:
        status, _, body = dialect.render(refusal, "req_1")
    assert 400 <= status < 500
    error = json.loads(body)["error"]
    if path.startswith("/v1/messages"):
        assert {"type", "message"} <= set(error)
    else:
        assert set(error) == {"message", "type", "param", "code"}
    return None


def test_every_surface_with_a_body_is_tried() -> None:
    billable = {operation.path for operation in OPERATIONS if operation.is_billable}

    assert billable <= set(DIALECTS)


@pytest.mark.parametrize(("path", "body"), BODIES)
def test_an_example_becomes_a_request(path: str, body: dict[str, Any]) -> None:
    assert judge(path, msgspec.json.encode(body)) is not None


@pytest.mark.fault("C4")
@pytest.mark.parametrize("path", DIALECTS)
@given(raw=st.binary(max_size=64))
def test_any_bytes_are_refused(path: str, raw: bytes) -> None:
    assert judge(path, raw) is None


@pytest.mark.fault("C7")
@pytest.mark.parametrize(("path", "body"), BODIES)
@given(data=st.data())
def test_any_value_at_any_place_is_taken_or_refused(
    path: str, body: dict[str, Any], data: st.DataObject
) -> None:
    place = data.draw(st.sampled_from(places(body)))

    judge(path, json.dumps(replaced(body, place, data.draw(ANY))).encode())


@pytest.mark.fault("C4")
@pytest.mark.parametrize(("path", "body"), BODIES)
@given(data=st.data())
def test_a_body_that_was_damaged_on_its_way_is_taken_or_refused(
    path: str, body: dict[str, Any], data: st.DataObject
) -> None:
    raw = json.dumps(body).encode()
    start = data.draw(st.integers(0, len(raw)))
    end = data.draw(st.integers(start, min(len(raw), start + 8)))

    judge(path, raw[:start] + data.draw(st.binary(max_size=4)) + raw[end:])
