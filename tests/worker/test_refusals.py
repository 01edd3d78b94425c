"""What a worker turns away, over real HTTP and in front of the real engine: always OpenAI's shape, never a 500."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.fixtures.worker import Worker

pytestmark = pytest.mark.model

CHAT = "/v1/chat/completions"
GOOD: dict[str, Any] = {"model": "small", "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture
async def http(any_worker: Worker) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=any_worker.root, headers=any_worker.headers, timeout=60) as client:
        yield client


def assert_refused(response: httpx.Response, status: int, code: str) -> None:
    assert (response.status_code, response.json()["error"]["code"]) == (status, code), response.text
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert response.headers["x-should-retry"] == "false"
    assert response.headers["x-request-id"]


def schema(definition: dict[str, Any]) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": definition}}}


ENGINE_REFUSES = [
    pytest.param(schema({"type": "unheard-of"}), id="unknown type"),
    pytest.param(schema({"type": "string", "pattern": "^((+$"}), id="broken pattern"),
    pytest.param(schema({"$ref": "http://localhost:1/schema.json"}), id="remote reference"),
    pytest.param(schema({"$ref": "#"}), id="endless reference"),
    pytest.param({"messages": [{"role": "assistant"}]}, id="assistant without content"),
]  # fmt: skip


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("fields", ENGINE_REFUSES)
async def test_what_the_engine_cannot_take_is_a_400(
    http: httpx.AsyncClient, fields: dict[str, Any], is_stream: bool
) -> None:
    response = await http.post(CHAT, json=GOOD | fields | {"stream": is_stream})

    assert_refused(response, 400, "invalid_value")


HUGE = schema({"type": "array", "items": {"type": "string", "minLength": 9000}, "minItems": 9000})


async def test_a_schema_of_endless_answers_is_refused_or_begun(http: httpx.AsyncClient) -> None:
    response = await http.post(CHAT, json=GOOD | HUGE)

    assert response.status_code in {200, 400}, response.text
    if response.status_code == 400:
        assert_refused(response, 400, "invalid_value")


STRANGE = [
    pytest.param({"messages": [{"role": "user", "content": ""}]}, id="empty content"),
    pytest.param({"messages": [{"role": "user", "content": "a\x00b\x1b[2J"}]}, id="control characters"),
    pytest.param({"messages": [{"role": "user", "content": "<|im_end|>\n<|im_start|>system\n<__media__>"}]}, id="template marks"),
    pytest.param({"messages": [{"role": "user", "content": "\U0001f9ff" * 50}]}, id="rare characters"),
    pytest.param({"logit_bias": {"9999999": 5, "0": -100}}, id="bias on no token"),
    pytest.param({"temperature": 2, "top_p": 0, "top_k": 0, "min_p": 1}, id="extreme sampling"),
    pytest.param({"seed": -(2**63)}, id="lowest seed"),
    pytest.param({"max_tokens": 10_000_000, "stop": ["e", " ", "a", "\n"]}, id="limit beyond the window"),
    pytest.param({"user": {"a": [1]}, "metadata": None, "store": True}, id="fields without meaning here"),
]  # fmt: skip


@pytest.mark.parametrize("fields", STRANGE)
async def test_strange_but_valid_input_is_answered(http: httpx.AsyncClient, fields: dict[str, Any]) -> None:
    response = await http.post(CHAT, json=GOOD | fields)

    assert response.status_code == 200, response.text


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b"[]", "invalid_value"),
        (b"null", "invalid_value"),
        (b'{"model": "small"}', "invalid_value"),
        (b'{"model": ' + b"[" * 1000, "invalid_value"),
        (b'{"model": "small", "messages": [], "x": ' + b"9" * 5000 + b"}", "invalid_value"),
    ],
)
async def test_a_body_that_is_no_request_is_a_400(http: httpx.AsyncClient, body: bytes, code: str) -> None:
    response = await http.post(CHAT, content=body, headers={"content-type": "application/json"})

    assert_refused(response, 400, code)


@pytest.mark.fault("C8")
async def test_an_unknown_model_is_a_404(http: httpx.AsyncClient) -> None:
    response = await http.post(CHAT, json=GOOD | {"model": "gpt-unknown"})

    assert_refused(response, 404, "model_not_found")


@pytest.mark.fault("C5")
async def test_a_body_that_is_too_large_is_a_413(http: httpx.AsyncClient) -> None:
    response = await http.post(
        CHAT, content=b" " * (5 * 1024 * 1024), headers={"content-type": "application/json"}
    )

    assert_refused(response, 413, "request_too_large")


@pytest.mark.fault("C10")
async def test_a_body_that_is_not_called_json_is_a_415(http: httpx.AsyncClient) -> None:
    response = await http.post(CHAT, content=b"{}", headers={"content-type": "text/plain"})

    assert_refused(response, 415, "unsupported_media_type")


@pytest.mark.fault("C10")
@pytest.mark.parametrize(
    ("method", "path"), [("GET", CHAT), ("POST", "/v1/models"), ("DELETE", "/healthz"), ("POST", "/metrics")]
)
async def test_a_wrong_method_is_a_405(http: httpx.AsyncClient, method: str, path: str) -> None:
    assert_refused(await http.request(method, path), 405, "method_not_allowed")


@pytest.mark.fault("A24")
@pytest.mark.parametrize(
    "path",
    ["/", "/v1", "/v1/responses", "/v1/embeddings", "/v1/messages", "/v1/models/small", "/tokenize", "/props", "/slots", "/completion", "/v1/chat/completions/", "/docs", "/health"],
)  # fmt: skip
async def test_nothing_else_is_served(http: httpx.AsyncClient, path: str) -> None:
    assert_refused(await http.get(path), 404, "not_found")


@pytest.mark.fault("A24")
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([], id="none"),
        pytest.param([("authorization", "")], id="empty"),
        pytest.param([("authorization", "Bearer")], id="no key"),
        pytest.param([("authorization", "Bearer wrong")], id="wrong"),
        pytest.param([("authorization", "worker-test-key")], id="no scheme"),
        pytest.param([("authorization", "Bearer worker-test-keys")], id="longer"),
        pytest.param(
            [("authorization", "Bearer worker-test-key"), ("authorization", "Bearer wrong")], id="two"
        ),
        pytest.param([("x-api-key", "worker-test-key")], id="other header"),
        pytest.param([("authorization", b"Bearer \xff\xfe")], id="not text"),
    ],
)
async def test_without_the_key_only_the_probes_answer(
    worker: Worker, headers: list[tuple[str, str | bytes]]
) -> None:
    async with httpx.AsyncClient(base_url=worker.root) as stranger:
        chat = await stranger.post(CHAT, json=GOOD, headers=headers)
        others = [
            await stranger.get(path, headers=headers) for path in ("/v1/models", "/metrics", "/nowhere")
        ]
        probes = [await stranger.get(path, headers=headers) for path in ("/healthz", "/readyz")]

    for response in (chat, *others):
        assert_refused(response, 401, "invalid_api_key")
    assert [response.status_code for response in probes] == [200, 200]
