"""Every answer carries an id that leads to the log, whoever gives it."""

import pytest

from tests.fixtures.gateway import RunningGateway


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("HEAD", "/v1/models"),
        ("GET", "/v1/files"),
        ("GET", "/v1/nothing"),
        ("GET", "/docs"),
    ],
)
async def test_an_answer_has_a_request_id(gateway: RunningGateway, method: str, path: str) -> None:
    async with gateway.http() as http:
        first, second = [await http.request(method, path) for _ in range(2)]

    assert first.headers["x-request-id"].startswith("req_")
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


async def test_an_admins_answer_has_one_too(gateway: RunningGateway) -> None:
    async with gateway.admin() as http:
        reply = await http.get("/admin/tiers")

    assert reply.headers["x-request-id"].startswith("req_")
