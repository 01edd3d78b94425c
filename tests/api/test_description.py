"""What the gateway says of its own API: complete, true to the code, and readable without anything from elsewhere."""

import re
from typing import Any

import msgspec
import pytest

from gateway.api.description import operations
from gateway.api.description.document import document
from gateway.api.description.refusals import REFUSALS
from tests.fixtures.gateway import MakeGateway, RunningGateway


def described() -> dict[str, Any]:
    return document(operations.OPERATIONS, title="t", version="1")


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*[references(inner) for inner in value.values()])
    if isinstance(value, list):
        return set().union(*[references(inner) for inner in value])
    return set()


async def test_everybody_may_read_the_document(gateway: RunningGateway) -> None:
    async with gateway.http("nonsense") as http:
        reply = await http.get("/openapi.json")
        head = await http.head("/openapi.json")

    assert reply.headers["content-type"] == "application/json"
    assert reply.json()["openapi"] == "3.1.0"
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(reply.content))


async def test_the_routes_of_the_listener_are_those_that_are_described(make_gateway: MakeGateway) -> None:
    gateway = await make_gateway("server: {port: 0, admin_port: 0, public_metrics: true}")

    async with gateway.http() as http:
        paths = (await http.get("/openapi.json")).json()["paths"]

    routes = {re.sub(r"\{(\w+):\w+\}", r"{\1}", route.path) for route in gateway.app.public.routes}
    assert set(paths) == routes


def test_every_reference_leads_somewhere() -> None:
    made = described()

    for reference in references(made):
        place = made
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]


def test_the_request_is_described_by_the_struct_that_decodes_it() -> None:
    made = described()

    body = made["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"] == {"$ref": "#/components/schemas/ChatBody"}
    fields = made["components"]["schemas"]["ChatBody"]
    assert set(fields["properties"]) == {
        field.encode_name for field in msgspec.structs.fields(operations.ChatBody)
    }
    assert fields["required"] == ["model", "messages"]


def test_a_field_is_described_in_the_words_of_the_code() -> None:
    schemas = described()["components"]["schemas"]

    assert (
        schemas["ChatCompletionChunk"]["properties"]["id"]["description"]
        == "The same in all events of a stream."
    )


@pytest.mark.parametrize("operation", operations.OPERATIONS, ids=lambda each: f"{each.method} {each.path}")
def test_an_example_is_one_that_the_decoder_takes(operation: operations.Operation) -> None:
    for example in operation.examples:
        if operation.request is not None:
            msgspec.convert(example.body, operation.request)
    if operation.response_example is not None:
        msgspec.convert(operation.response_example, operation.response)


def test_every_code_that_the_gateway_answers_with_is_explained(request: pytest.FixtureRequest) -> None:
    source = "".join(
        path.read_text(encoding="utf-8") for path in (request.config.rootpath / "gateway").rglob("*.py")
    )
    used = set(re.findall(r'\bcode(?:: str)? ?= ?"([a-z_]+)"', source))

    explained = {refusal.code for refusals in REFUSALS.values() for refusal in refusals}

    assert used - explained == {
        "already_exists",
        "plots_unavailable",
        "scorer_unavailable",
    }  # only admins meet them


async def test_the_page_shows_every_operation_and_code_under_the_readers_own_address(
    gateway: RunningGateway,
) -> None:
    async with gateway.http("nonsense") as http:
        reply = await http.get("/docs", headers={"host": "llm.example.com:8443"})

    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    for operation in operations.OPERATIONS:
        assert f"<code>{operation.path}</code>" in reply.text
    for refusals in REFUSALS.values():
        assert all(f"<code>{refusal.code}</code>" in reply.text for refusal in refusals)
    assert "curl http://llm.example.com:8443/v1/chat/completions" in reply.text


@pytest.mark.parametrize("host", ['"><script>alert(1)</script>', "a b", "x" * 300])
async def test_a_hostile_host_is_not_repeated(gateway: RunningGateway, host: str) -> None:
    async with gateway.http() as http:
        page = await http.get("/docs", headers={"host": host})
        json = await http.get("/openapi.json", headers={"host": host})

    assert host not in page.text + json.text


async def test_the_page_needs_nothing_from_elsewhere_and_runs_nothing(gateway: RunningGateway) -> None:
    async with gateway.http() as http:
        reply = await http.get("/docs")

    assert reply.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert "<script" not in reply.text
    assert re.findall(r'(?:src|href)="(?!#|data:,|/openapi\.json)([^"]*)"', reply.text) == []
    anchors = set(re.findall(r' id="([^"]+)"', reply.text))
    assert set(re.findall(r'href="#([^"]+)"', reply.text)) <= anchors


async def test_the_admin_listener_has_such_a_page_too_and_none_that_asks_elsewhere(
    gateway: RunningGateway,
) -> None:
    async with gateway.admin() as admin:
        reply = await admin.get("/schema")
        others = [
            (await admin.get(f"/schema/{name}")).status_code for name in ("swagger", "redoc", "elements")
        ]

    assert reply.headers["content-type"].startswith("text/html")
    assert "<code>/admin/tenants</code>" in reply.text
    assert "<script" not in reply.text
    assert others == [404, 404, 404]
