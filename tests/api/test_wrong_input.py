"""What a wrong request gets: the right status, OpenAI's shape, and never a 500."""

import json
from typing import Any

import pytest

from tests.fixtures.gateway import RunningGateway
from tests.fixtures.scripted_upstream import ScriptedUpstream

MESSAGES = [{"role": "user", "content": "Hello"}]


def body(**changes: Any) -> bytes:
    return json.dumps({"model": "small", "messages": MESSAGES, **changes}).encode()


WRONG = [
    ("C1", b'{"model": "small", "messages": NaN}', 400, "invalid_json", None),
    ("C1", b'{"model": "small", "messages": [], "temperature": Infinity}', 400, "invalid_json", None),
    ("C1", b'{"model": "small", "temperature": 1e999}', 400, "invalid_json", None),
    ("C2", b"[" * 1_000 + b"]" * 1_000, 400, "invalid_json", None),
    (
        "C2",
        b'{"model": "small", "messages": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
        400,
        "invalid_json",
        None,
    ),
    ("C4", b'{"model": "\\ud800", "messages": []}', 400, "invalid_json", None),
    ("C4", b"\xff\xfe{\x00}\x00", 400, "invalid_json", None),
    ("C4", b"\xef\xbb\xbf{}", 400, "invalid_json", None),
    ("C7", b"", 400, "invalid_json", None),
    ("C7", b"[]", 400, "invalid_json", None),
    ("C7", b'{"model": "small"', 400, "invalid_json", None),
    ("C7", body(n=0), 400, "invalid_value", "n"),
    ("C7", body(n=100), 400, "invalid_value", "n"),
    ("C7", body(max_tokens="5"), 400, "invalid_value", "max_tokens"),
    ("C7", body(max_tokens=1.5), 400, "invalid_value", "max_tokens"),
    ("C7", body(max_tokens=-1), 400, "invalid_value", "max_tokens"),
    ("C7", body(max_tokens=10**18), 400, "invalid_value", "max_tokens"),
    ("C7", body(max_tokens=100_000), 400, "invalid_value", "max_tokens"),
    ("C7", body(max_tokens=True), 400, "invalid_value", "max_tokens"),
    ("C7", b'{"model": "small", "messages": [], "seed": ' + b"9" * 5_000 + b"}", 400, "invalid_json", None),
    ("C7", body(messages=[]), 400, "invalid_value", "messages"),
    ("C7", body(messages="hi"), 400, "invalid_value", "messages"),
    ("C7", body(messages=[{"role": "king", "content": "x"}]), 400, "invalid_value", "messages[0].role"),
    ("C7", body(stream="yes"), 400, "invalid_value", "stream"),
    ("C7", body(temperature=9), 400, "invalid_value", "temperature"),
    ("C7", body(model=5), 400, "invalid_value", "model"),
    ("C7", b'{"messages": [{"role": "user", "content": "x"}]}', 400, "missing_required_parameter", "model"),
    ("C8", body(model="nope"), 404, "model_not_found", "model"),
    ("A11", body(model="../../admin"), 404, "model_not_found", "model"),
    (
        "C9",
        body(messages=[{"role": "user", "content": "x " * 20_000}]),
        400,
        "context_length_exceeded",
        "messages",
    ),
    ("A9", body(api_base="http://127.0.0.1:1"), 400, "unknown_parameter", "api_base"),
    ("A9", body(x={"y": [{"base_url": "http://127.0.0.1:1"}]}), 400, "unknown_parameter", "x.y.0.base_url"),
    ("A9", b'{"api\\u005fkey": 1, "model": "small", "messages": []}', 400, "unknown_parameter", "api_key"),
]


@pytest.mark.parametrize(
    ("raw", "status", "code", "param"),
    [
        pytest.param(*case[1:], id=f"{case[0]}-{index}", marks=pytest.mark.fault(case[0]))
        for index, case in enumerate(WRONG)
    ],
)
async def test_a_wrong_body_is_refused_in_openais_shape_before_anything_is_sent(
    gateway: RunningGateway, upstream: ScriptedUpstream, raw: bytes, status: int, code: str, param: str | None
) -> None:
    async with gateway.http() as http:
        reply = await http.post(
            "/v1/chat/completions", content=raw, headers={"content-type": "application/json"}
        )

    assert reply.status_code == status, reply.text
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["code"], error["param"]) == (code, param)
    assert reply.headers["x-should-retry"] == "false"
    assert reply.headers["x-request-id"].startswith("req_")
    assert upstream.attempts == []
    assert await gateway.entries() == []


@pytest.mark.fault("C5")
async def test_a_body_of_50_mb_gets_413(gateway: RunningGateway) -> None:
    async with gateway.http() as http:
        reply = await http.post("/v1/chat/completions", content=b"x" * 50_000_000)

    assert reply.status_code == 413
    assert reply.json()["error"]["code"] == "request_too_large"


@pytest.mark.fault("C5")
async def test_a_chunked_body_without_end_gets_413_at_the_limit(gateway: RunningGateway) -> None:
    async def endless() -> Any:
        for _ in range(200):
            yield b"x" * 100_000

    async with gateway.http() as http:
        reply = await http.post("/v1/chat/completions", content=endless())

    assert reply.status_code == 413


@pytest.mark.fault("C10")
@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("POST", "/v1/models", 405, "method_not_allowed"),
        ("GET", "/v1/nothing", 404, "not_found"),
        ("GET", "/admin/tenants", 404, "not_found"),
        ("GET", "/v1/../admin/tenants", 404, "not_found"),
    ],
)
async def test_wrong_methods_and_paths_get_the_same_shape(
    gateway: RunningGateway, method: str, path: str, status: int, code: str
) -> None:
    async with gateway.http() as http:
        reply = await http.request(method, path)

    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)


@pytest.mark.fault("C10")
@pytest.mark.parametrize(
    "headers",
    [{"content-type": "text/plain"}, {"content-encoding": "gzip", "content-type": "application/json"}],
)
async def test_another_media_type_or_encoding_gets_415(
    gateway: RunningGateway, headers: dict[str, str]
) -> None:
    async with gateway.http() as http:
        reply = await http.post("/v1/chat/completions", content=body(), headers=headers)

    assert reply.status_code == 415


@pytest.mark.fault("A1")
@pytest.mark.parametrize("second", ["authorization", "x-api-key"])
async def test_two_keys_get_400(gateway: RunningGateway, second: str) -> None:
    async with gateway.http() as http:
        headers = [("authorization", f"Bearer {gateway.key}"), (second, "Bearer other")]
        del http.headers["authorization"]
        reply = await http.post("/v1/chat/completions", content=body(), headers=headers)

    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_header")


async def test_a_key_may_come_as_x_api_key_alone_or_beside_the_same_bearer(gateway: RunningGateway) -> None:
    async with gateway.http() as http:
        both = await http.get("/v1/models", headers={"x-api-key": gateway.key})
        del http.headers["authorization"]
        alone = await http.get("/v1/models", headers={"x-api-key": gateway.key})

    assert (both.status_code, alone.status_code) == (200, 200)


@pytest.mark.fault("C6")
async def test_headers_beyond_the_limit_get_431(gateway: RunningGateway) -> None:
    async with gateway.http() as http:
        reply = await http.post("/v1/chat/completions", content=body(), headers={"x-long": "a" * 40_000})

    assert reply.status_code == 431


@pytest.mark.fault("C3")
async def test_of_two_equal_keys_the_one_that_was_judged_is_the_one_that_is_sent(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("ok")
    raw = b'{"model": "nope", "model": "small", "messages": [{"role": "user", "content": "x"}]}'

    async with gateway.http() as http:
        reply = await http.post(
            "/v1/chat/completions", content=raw, headers={"content-type": "application/json"}
        )

    assert reply.status_code == 200
    sent = (await upstream.attempt(0)).raw
    assert sent.count(b'"model"') == 1
    assert b"nope" not in sent
