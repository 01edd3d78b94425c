"""HEAD, OPTIONS, wrong methods and wrong paths, the same on every route of both listeners."""

import asyncio
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.routes import ASGIRoute, HTTPRoute

from tests.fixtures.gateway import MakeGateway, RunningGateway
from tests.fixtures.raw_http import RawReply, connected, request

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


async def asked(url: str, method: str, path: str, **headers: str) -> RawReply:
    async with connected(url) as raw:
        raw.send(request(method, path, {name.replace("_", "-"): value for name, value in headers.items()}))
        return await raw.reply(to=method)


def routes(app: Litestar) -> dict[str, set[str]]:
    """A path of each route with the methods that it has."""
    found: dict[str, set[str]] = {}
    for route in app.routes:
        parts = (part if isinstance(part, str) else "x" for part in route.path_components)
        path = "/" + "/".join(parts)
        if isinstance(route, ASGIRoute):
            found[path] = {"POST"}
        elif isinstance(route, HTTPRoute):
            found[path] = set(route.methods) - {"OPTIONS"}
    return found


async def assert_methods(app: Litestar, url: str) -> None:
    for path, methods in routes(app).items():
        allowed = methods | ({"HEAD"} if "GET" in methods else set()) | {"OPTIONS"}
        options = await asked(url, "OPTIONS", path)
        assert (options.status, options.body) == (204, b""), path
        assert set(options.headers["allow"].split(", ")) == allowed
        assert options.headers["x-request-id"].startswith("req_")
        for method in METHODS - allowed:
            wrong = await asked(url, method, path)
            assert wrong.status == 405, (method, path)
            assert set(wrong.headers["allow"].split(", ")) == allowed
            assert wrong.headers["x-request-id"].startswith("req_")
            if method != "HEAD":
                assert b'"method_not_allowed"' in wrong.body


@pytest.mark.fault("C10")
async def test_every_route_of_the_apps_tells_its_methods_and_refuses_others(gateway: RunningGateway) -> None:
    await assert_methods(gateway.app.public, gateway.url)


@pytest.mark.fault("C10")
async def test_every_route_of_the_admins_tells_its_methods_and_refuses_others(
    gateway: RunningGateway,
) -> None:
    await assert_methods(gateway.app.admin, gateway.admin_url)


@pytest.mark.fault("C10")
async def test_head_tells_what_get_would(gateway: RunningGateway) -> None:
    for path in ("/v1/models", "/v1/models/small", "/v1/models/nope", "/healthz", "/docs"):
        got = await asked(gateway.url, "GET", path, authorization=f"Bearer {gateway.key}")
        head = await asked(gateway.url, "HEAD", path, authorization=f"Bearer {gateway.key}")

        assert head.status == got.status
        assert head.headers.keys() == got.headers.keys()
        assert head.headers["x-request-id"].startswith("req_")
        for name in head.headers.keys() - {"date", "x-request-id"}:
            assert head.headers[name] == got.headers[name], (path, name)


@pytest.mark.fault("C10")
async def test_any_method_of_an_unknown_path_gets_404(gateway: RunningGateway) -> None:
    for method in METHODS:
        reply = await asked(gateway.url, method, "/v1/nothing")

        assert reply.status == 404
        assert reply.headers["x-request-id"].startswith("req_")


VARIANTS = [
    "//admin/tenants",
    "/v1/../admin/tenants",
    "/v1/models/../../admin/tenants",
    "/v1/%2e%2e/admin/tenants",
    "/v1/..%2fadmin/tenants",
    "/%61dmin/tenants",
    "/admin/tenants;x",
    "/admin/tenants/.",
    "/admin/tenants.",
    "/admin/tenants%00",
    "/Admin/Tenants",
    "/admin//tenants",
    "/admin/tenants/",
    "/admin/tenants?x",
    "/admin\\tenants",
    "http://localhost/admin/tenants",
    "http://127.0.0.1:8081/admin/tenants",
    "http://admin@gateway/admin/tenants",
    "/healthz/../admin/tenants",
]


HOSTS = ["gateway", "localhost:8081", "127.0.0.1", "localhost/#@evil", "", "a b"]


@pytest.mark.fault("A5")
async def test_nothing_of_the_admins_answers_on_the_listener_of_the_apps(gateway: RunningGateway) -> None:
    for target, host in product(VARIANTS, HOSTS):
        reply = await asked(
            gateway.url,
            "GET",
            target,
            host=host,
            authorization=f"Bearer {gateway.admin_key}",
            x_forwarded_host="127.0.0.1:8081",
            x_original_url="/admin/tenants",
            x_rewrite_url="/admin/tenants",
        )

        assert reply.status in (400, 401, 404), (target, host)
        assert reply.error["code"] in ("invalid_value", "invalid_api_key", "not_found", "model_not_found")


@pytest.mark.fault("A5")
async def test_no_spelling_of_a_path_gets_round_the_guard(gateway: RunningGateway) -> None:
    for target, key in product([*VARIANTS, "/admin/tenants"], ["", gateway.key]):
        sent = {"authorization": f"Bearer {key}"} if key else {}

        reply = await asked(gateway.admin_url, "GET", target, **sent)

        assert reply.status in (401, 404), (target, key)


@pytest.mark.fault("A5")
async def test_a_path_that_is_spelled_otherwise_is_another_path(gateway: RunningGateway) -> None:
    for target in (
        "/V1/models",
        "/v1/models;x",
        "/v1/models.",
        "/v1/%2e/models",
        "/v1/../v1/models",
        "/v1/%2e%2e/v1/models",
    ):
        reply = await asked(gateway.url, "GET", target, authorization=f"Bearer {gateway.key}")

        assert (reply.status, reply.error["code"]) == (404, "not_found"), target


@pytest.mark.fault("A5")
async def test_the_same_path_with_more_slashes_or_an_address_asks_for_the_same_key(
    gateway: RunningGateway,
) -> None:
    for target in ("//v1/models", "/v1/models/", "http://gateway/v1/models", "/v1/models?x=1"):
        refused = await asked(gateway.url, "GET", target)
        served = await asked(gateway.url, "GET", target, authorization=f"Bearer {gateway.key}")

        assert (refused.status, served.status) == (401, 200), target


@pytest.mark.fault("S8")
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/admin/tenants"])
@pytest.mark.parametrize("expect", [{}, {"expect": "100-continue"}])
async def test_a_body_that_does_not_arrive_in_time_gets_408(
    make_gateway: MakeGateway, path: str, expect: dict[str, str]
) -> None:
    gateway = await make_gateway("server: {port: 0, admin_port: 0, body_timeout_s: 0.2}")
    is_admin = path.startswith("/admin")
    key = gateway.admin_key if is_admin else gateway.key
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json", "content-length": "1000"}

    async with connected(gateway.admin_url if is_admin else gateway.url) as raw:
        raw.send(request("POST", path, {**headers, **expect}), b"" if expect else b'{"model":')
        if expect:
            assert (await raw.head())[0] == 100
            raw.send(b'{"model":')
        reply = await raw.reply()

        assert reply.status == 408
        assert reply.headers["connection"] == "close"
        assert reply.headers["x-request-id"].startswith("req_")
        assert await raw.rest() == b""


@pytest.mark.fault("S8")
async def test_a_body_that_goes_on_behind_its_answer_is_given_the_same_time(
    make_gateway: MakeGateway,
) -> None:
    gateway = await make_gateway("server: {port: 0, admin_port: 0, body_timeout_s: 0.2}")

    async with connected(gateway.url) as raw:
        raw.send(request("POST", "/v1/chat/completions", {"content-length": "1000"}), b"{")
        reply = await raw.reply()

        assert reply.status == 401
        assert await raw.rest() == b""


REFUSED_AT_THE_HEAD: list[tuple[dict[str, str], int, str]] = [
    ({"content-length": "50000000"}, 413, "request_too_large"),
    ({"content-length": "10", "content-encoding": "gzip"}, 415, "unsupported_content_encoding"),
    ({"content-length": "10", "content-type": "text/plain"}, 415, "unsupported_media_type"),
    ({"content-length": "10", "authorization": "Bearer nonsense"}, 401, "invalid_api_key"),
]


@pytest.mark.fault("C5")
@pytest.mark.parametrize(("changes", "status", "code"), REFUSED_AT_THE_HEAD)
async def test_who_waits_to_be_told_to_go_on_is_refused_before_the_body(
    gateway: RunningGateway, changes: dict[str, str], status: int, code: str
) -> None:
    headers = {
        "authorization": f"Bearer {gateway.key}",
        "content-type": "application/json",
        "expect": "100-continue",
    }

    async with connected(gateway.url) as raw:
        raw.send(request("POST", "/v1/chat/completions", {**headers, **changes}))
        reply = await raw.reply()

        assert (reply.status, reply.error["code"]) == (status, code)
        assert reply.headers["connection"] == "close"  # nobody knows whether the body follows
        assert await raw.rest() == b""


async def test_who_waits_to_be_told_to_go_on_is_told_and_keeps_the_connection(
    gateway: RunningGateway,
) -> None:
    body = b'{"model": "small", "messages": [{"role": "user", "content": "x"}]}'
    headers = {
        "authorization": f"Bearer {gateway.key}",
        "content-type": "application/json",
        "content-length": str(len(body)),
        "expect": "100-continue",
    }

    async with connected(gateway.url) as raw:
        raw.send(request("POST", "/v1/chat/completions", headers))
        go_on, _ = await raw.head()
        raw.send(body)
        first = await raw.reply()
        raw.send(request("GET", "/healthz"))
        second = await raw.reply()

    assert (go_on, first.status, second.status) == (100, 200, 200)
    assert "connection" not in first.headers


@pytest.mark.fault("C5")
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/admin/tenants"])
async def test_a_body_without_end_is_not_kept(gateway: RunningGateway, path: str) -> None:
    is_admin = path.startswith("/admin")
    key = gateway.admin_key if is_admin else gateway.key
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    piece = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    before = resident_mb()

    async with connected(gateway.admin_url if is_admin else gateway.url) as raw:
        raw.send(request("POST", path, {**headers, "transfer-encoding": "chunked"}))

        async def upload() -> None:
            while True:
                raw.send(piece)
                await raw.drain()

        uploading = asyncio.get_running_loop().create_task(upload())
        reply = await raw.reply()
        uploading.cancel()

    assert (reply.status, reply.error["code"]) == (413, "request_too_large")
    assert resident_mb() - before < 60


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


@pytest.mark.fault("C5")
@pytest.mark.parametrize("sent", [10, 1_990])
async def test_a_length_that_lies_harms_nobody(gateway: RunningGateway, sent: int) -> None:
    headers = {"authorization": f"Bearer {gateway.key}", "content-type": "application/json"}

    async with connected(gateway.url) as raw:
        raw.send(request("POST", "/v1/chat/completions", {**headers, "content-length": "1000"}), b"x" * sent)
        raw.half_close()
        answers = await raw.rest()

    assert answers.count(b"HTTP/1.1 ") <= 1
    assert await gateway.entries() == []


def replied(reply: RawReply, *names: str) -> list[Any]:
    return [reply.headers.get(f"access-control-{name}") for name in names]


PREFLIGHT = {
    "access_control_request_method": "POST",
    "access_control_request_headers": "authorization,content-type,x-stainless-lang,anthropic-version",
}
PAGES = "server: {port: 0, admin_port: 0, cors_origins: ['https://chat.example.com']}"
ANYWHERE = "server: {port: 0, admin_port: 0, cors_origins: ['*']}"


async def test_a_page_may_send_every_header_that_browser_clients_do(make_gateway: MakeGateway) -> None:
    gateway = await make_gateway(PAGES)

    reply = await asked(
        gateway.url, "OPTIONS", "/v1/chat/completions", origin="https://chat.example.com", **PREFLIGHT
    )

    assert reply.status == 204
    assert reply.headers["access-control-allow-origin"] == "https://chat.example.com"
    assert reply.headers["access-control-allow-headers"] == PREFLIGHT["access_control_request_headers"]
    assert "POST" in reply.headers["access-control-allow-methods"].split(", ")
    assert reply.headers["access-control-max-age"] == "7200"
    assert reply.headers["x-request-id"].startswith("req_")


async def test_another_page_is_told_nothing(make_gateway: MakeGateway) -> None:
    gateway = await make_gateway(PAGES)

    preflight = await asked(
        gateway.url, "OPTIONS", "/v1/chat/completions", origin="https://evil.example.com", **PREFLIGHT
    )
    served = await asked(gateway.url, "GET", "/healthz", origin="https://evil.example.com")

    assert preflight.status == 204
    assert served.status == 200
    assert replied(preflight, "allow-origin", "allow-headers") == [None, None]
    assert replied(served, "allow-origin") == [None]


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_page_may_read_answers_streams_and_their_headers(
    make_gateway: MakeGateway, is_stream: bool
) -> None:
    gateway = await make_gateway(ANYWHERE)

    async with gateway.http() as http:
        reply = await http.post(
            "/v1/chat/completions",
            json={"model": "small", "stream": is_stream, "messages": [{"role": "user", "content": "x"}]},
            headers={"origin": "https://anywhere.example.com"},
        )

    assert reply.status_code == 200
    assert reply.headers["access-control-allow-origin"] == "*"
    assert reply.headers["access-control-expose-headers"] == "*"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/models", 401), ("GET", "/nothing", 404), ("GET", "/v1/chat/completions", 405)],
)
async def test_a_page_may_read_errors(make_gateway: MakeGateway, method: str, path: str, status: int) -> None:
    gateway = await make_gateway(PAGES)

    reply = await asked(gateway.url, method, path, origin="https://chat.example.com")

    assert reply.status == status
    assert replied(reply, "allow-origin", "expose-headers") == ["https://chat.example.com", "*"]
    assert reply.headers["vary"] == "Origin"


async def test_pages_are_no_matter_of_the_admins_listener_nor_of_a_gateway_without_origins(
    make_gateway: MakeGateway, gateway: RunningGateway
) -> None:
    with_pages = await make_gateway(ANYWHERE)

    for url in (with_pages.admin_url, gateway.url, gateway.admin_url):
        reply = await asked(url, "GET", "/healthz", origin="https://chat.example.com")
        assert reply.status == 200
        assert replied(reply, "allow-origin") == [None]
