"""What became of answers, as admins see it and bring it."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from gateway.ledger.outcome_import import MOST_LINES, OutcomeLine
from tests.fixtures.gateway import RunningGateway
from tests.fixtures.ledger import NOV_21, entry
from tests.fixtures.outcomes import outcome

PATH = "/admin/outcomes"


async def vote(gateway: RunningGateway, *votes: Any) -> None:
    for one in votes:
        await asyncio.to_thread(gateway.app.outcomes.vote, one)


async def bring(gateway: RunningGateway, content: str | bytes) -> httpx.Response:
    async with gateway.admin() as admin:
        return await admin.post(PATH, content=content, headers={"content-type": "application/x-ndjson"})


async def test_outcomes_are_listed_page_by_page(gateway: RunningGateway) -> None:
    await vote(gateway, outcome("req_1"), outcome("req_2", reason="wrong"), outcome("req_3", tenant="globex"))

    async with gateway.admin() as admin:
        [newest] = (await admin.get(PATH, params={"limit": 1})).json()
        [second] = (await admin.get(PATH, params={"limit": 1, "before": newest["id"]})).json()
        mine = (await admin.get(PATH, params={"tenant": "acme", "source": "feedback"})).json()

    assert newest["tenant"] == "globex"
    assert second == {
        "id": second["id"],
        "created_at": "2026-11-21T00:00:00.000Z",
        "tenant": "acme",
        "user": "alice",
        "request_id": "req_2",
        "item": None,
        "model": "small",
        "candidate": "local/small",
        "source": "feedback",
        "value": 1.0,
        "weight": 1.0,
        "reason": "wrong",
        "p_good": 0.7,
        "complexity": 0.25,
        "category": "code",
    }
    assert [one["request_id"] for one in mine] == ["req_2", "req_1"]


async def test_a_summary_shows_calibration_at_a_glance(gateway: RunningGateway) -> None:
    await vote(gateway, outcome("req_1", value=1.0), outcome("req_2", value=0.0, p_good=0.9))

    async with gateway.admin() as admin:
        rows = (await admin.get(f"{PATH}/summary", params={"model": "small", "since": "2026-11-21"})).json()
        none = (await admin.get(f"{PATH}/summary", params={"since": "2026-11-22"})).json()

    assert rows == [
        {"model": "small", "category": "code", "count": 2, "weight": 2.0, "value": 0.5, "p_good": 0.8}
    ]
    assert none == []


@pytest.mark.parametrize("is_array", [True, False])
async def test_judgements_come_as_an_array_or_line_by_line(gateway: RunningGateway, is_array: bool) -> None:
    await asyncio.to_thread(gateway.app.ledger.post, [entry("req_1", p_good=0.6)])
    lines = [
        {"request_id": "req_1", "value": 0.5},
        {"request_id": "req_9", "value": 0.5},
        {"model": "large", "value": 1, "item": "gsm8k/1", "complexity": 0.3},
    ]

    done = await bring(
        gateway, json.dumps(lines) if is_array else "\n".join(json.dumps(line) for line in lines) + "\n\n"
    )

    async with gateway.admin() as admin:
        measured, judged = (await admin.get(PATH)).json()
        [noted] = (await admin.get("/admin/audit", params={"limit": 1})).json()
    assert done.json() == {
        "recorded": 2,
        "refused": 1,
        "reasons": [{"line": 2, "reason": "the ledger has no request 'req_9'"}],
    }
    assert (judged["source"], judged["request_id"], judged["p_good"]) == ("judge", "req_1", 0.6)
    assert (measured["source"], measured["item"], measured["tenant"]) == ("evaluation", "gsm8k/1", None)
    assert (noted["action"], noted["after"]) == ("outcomes.import", {"recorded": 2, "refused": 1})
    assert noted["actor"].startswith("admin:")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "1 to 10000 lines"),
        ("[]", "1 to 10000 lines"),
        ('{"model": "m", "value": 1}\n' * (MOST_LINES + 1), "1 to 10000 lines"),
        ("[{]", "not a JSON array"),
        ('{"model": "m", "value": 1}\nnonsense', "line 2: "),
        ('{"model": "m", "value": 1}\n\n{"model": "m", "value": 2}', "line 3: "),
        ('{"model": "m"}', "line 1: "),
        ('{"value": 1}', "line 1: say `request_id`, or the `model`"),
        ('{"request_id": "req_1", "value": 1, "p_good": 0.5}', "line 1: `p_good`: the ledger knows"),
        ('{"model": "m", "value": 1, "item": "req_1"}', "line 1: `item`"),
        ('{"model": "m", "value": 1, "item": "a\\u0000"}', "line 1: "),
        ('{"model": "m", "value": 1, "source": "feedback"}', "line 1: "),
        ('{"model": "m", "value": 1, "prompt": "Who?"}', "line 1: "),
        (b'{"model": "\xff", "value": 1}', "line 1: "),
    ],
)
async def test_what_cannot_be_read_is_refused_whole_with_its_line(
    gateway: RunningGateway, content: str | bytes, said: str
) -> None:
    refused = await bring(gateway, content)

    async with gateway.admin() as admin:
        kept = (await admin.get(PATH)).json()
    assert refused.status_code == 400
    assert said in refused.json()["error"]["message"]
    assert kept == []


@pytest.mark.parametrize(
    "query", [{"source": "rumour"}, {"since": "yesterday"}, {"limit": 0}, {"before": "x"}, {"tenant": "a\0"}]
)
async def test_a_wrong_question_is_refused(gateway: RunningGateway, query: dict[str, Any]) -> None:
    async with gateway.admin() as admin:
        refused = await admin.get(PATH, params=query)

    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_value")


async def test_what_is_brought_is_described_by_the_struct_that_decodes_it(gateway: RunningGateway) -> None:
    async with gateway.admin() as admin:
        document = (await admin.get("/schema/openapi.json")).json()

    body = document["paths"][PATH]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["items"] == {"$ref": "#/components/schemas/OutcomeLine"}
    assert set(document["components"]["schemas"]["OutcomeLine"]["properties"]) == set(
        OutcomeLine.__struct_fields__
    )


async def test_a_time_may_name_its_zone(gateway: RunningGateway) -> None:
    await vote(gateway, outcome("req_1", created_ms=NOV_21 + 3_600_000))

    async with gateway.admin() as admin:
        found = [
            len((await admin.get(PATH, params={"since": f"2026-11-21T0{hour}:00:00Z"})).json())
            for hour in (1, 2)
        ]

    assert found == [1, 0]
