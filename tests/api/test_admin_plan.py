"""The planning tools on the admin listener, over a real ledger."""

import json
import sys
from typing import Any

import httpx
import pytest

from gateway.cli import plan as command
from gateway.planning import tools
from gateway.planning.reading import inputs_of
from tests.fixtures.gateway import RunningGateway
from tests.fixtures.scripted_upstream import ScriptedUpstream

LLAMA = {"model": "llama-3-8b", "precision": "fp16", "ctx": 8192, "concurrency": 1}


async def post(gateway: RunningGateway, path: str, body: Any = None, **options: Any) -> httpx.Response:
    async with gateway.admin() as admin:
        return await admin.post(f"/admin/plan/{path}", json={} if body is None else body, **options)


async def test_the_tools_are_listed_with_all_that_their_inputs_say(gateway: RunningGateway) -> None:
    async with gateway.admin() as admin:
        listed = (await admin.get("/admin/plan")).json()

    assert [one["name"] for one in listed] == list(tools.NAMES)
    for one in listed:
        assert [each["name"] for each in one["inputs"]] == [
            each.name for each in inputs_of(tools.tool(one["name"]).inputs)
        ]
        assert all(each["meaning"] and each["type"] for each in one["inputs"])
    util = next(each for each in listed[0]["inputs"] if each["name"] == "util")
    assert (util["type"], util["default"], util["unit"]) == ("number", 0.9, "share")
    assert util["bounds"] == {"gt": 0, "le": 1}


async def test_a_plan_is_answered_as_the_command_answers_it(
    gateway: RunningGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    told = (await post(gateway, "size", LLAMA)).json()
    command.main(["size", *(f"--{name}={value}" for name, value in LLAMA.items()), "--json"])
    printed = json.loads(capsys.readouterr().out)

    assert told == printed
    assert told["total_gib"] == pytest.approx(17.224, abs=5e-4)


@pytest.mark.parametrize(
    ("form", "kind", "begins"),
    [
        ("json", "application/json", b'{"tool":"size"'),
        ("csv", "text/csv; charset=utf-8", b""),
        ("text", "text/plain; charset=utf-8", b""),
        ("svg", "image/svg+xml", b"<?xml"),
        ("png", "image/png", b"\x89PNG"),
    ],
)
async def test_an_answer_comes_in_the_form_that_is_asked_for(
    gateway: RunningGateway, form: str, kind: str, begins: bytes
) -> None:
    reply = await post(gateway, f"size?format={form}", LLAMA)

    assert (reply.status_code, reply.headers["content-type"]) == (200, kind)
    assert reply.content.startswith(begins)


async def test_formulas_and_changes_are_added_on_request(gateway: RunningGateway) -> None:
    before = (await post(gateway, "size?explain=true", LLAMA)).json()

    now = (await post(gateway, "size", {**LLAMA, "ctx": 16384, "compare": before})).json()

    assert before["formulas"]
    assert "formulas" not in now
    assert now["changes"][0] == {
        "what": "ctx",
        "unit": "tokens",
        "before": 8192,
        "now": 16384,
        "change": 8192,
        "change_percent": 100.0,
    }


async def test_finance_may_plan_and_an_apps_key_may_not(gateway: RunningGateway) -> None:
    finance = gateway.app.accounts.operators.create("finance", actor="test").text
    async with gateway.admin(finance) as client:
        allowed = await client.post("/admin/plan/roi", json={"cost": 28000, "saving_month": 14000})
    async with gateway.admin(gateway.key) as client:
        refused = await client.post("/admin/plan/roi", json={"cost": 28000, "saving_month": 14000})

    assert (allowed.status_code, refused.status_code) == (200, 401)


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("size", {"util": 1.5}, 400, "util"),
        ("size", {"util": "much"}, 400, "util"),
        ("size", {"utl": 0.5}, 400, "utl"),
        ("size", {"model": "llama-9-8b"}, 400, "model"),
        ("size", {"compare": {"tool": "tco", "assumptions": []}}, 400, "compare"),
        ("size", {"compare": 7}, 400, "compare"),
        ("size", [], 400, None),
        ("sise", {}, 404, "tool"),
        ("size?format=pdf", {}, 400, None),
    ],
)
async def test_what_is_wrong_is_named(
    gateway: RunningGateway, path: str, body: Any, status: int, param: str | None
) -> None:
    reply = await post(gateway, path, body)

    error = reply.json()["error"]
    assert (reply.status_code, error["type"], error["param"]) == (status, "invalid_request_error", param)


async def test_without_what_draws_the_rest_still_answers(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    drawn = await post(gateway, "size?format=svg", LLAMA)
    told = await post(gateway, "size", LLAMA)

    assert (drawn.status_code, drawn.json()["error"]["code"]) == (503, "plots_unavailable")
    assert told.status_code == 200


async def test_a_file_is_sent_as_its_text_or_as_its_json(gateway: RunningGateway) -> None:
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
        "torch_dtype": "bfloat16", "tie_word_embeddings": False,
    }  # fmt: skip
    sizing = {name: value for name, value in LLAMA.items() if name != "model"}

    as_json = (await post(gateway, "size", {**sizing, "config": config})).json()
    as_text = (await post(gateway, "size", {**sizing, "config": json.dumps(config)})).json()
    wrong = await post(gateway, "size", {**sizing, "config": 7})

    assert as_json == as_text
    assert as_json["total_gib"] == pytest.approx(17.224, abs=5e-4)
    assert {one["name"]: one["value"] for one in as_json["assumptions"]}["config"] == "as sent"
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "config")


async def test_a_body_that_is_too_large_is_refused(gateway: RunningGateway) -> None:
    refused = await post(gateway, "size", {"model": "x" * (8 * 2**20)})

    assert refused.status_code == 413


async def test_traffic_comes_from_the_ledger_with_what_was_answered_just_now(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("So it is.")
    await gateway.client().chat.completions.create(
        model="cloud", messages=[{"role": "user", "content": "Is it?"}]
    )

    told = (await post(gateway, "breakeven", {"from_ledger": True, "tenant": "acme"})).json()
    nobody = await post(gateway, "breakeven", {"from_ledger": True, "tenant": "globex"})
    dates = await post(gateway, "breakeven", {"from_ledger": True, "from": "yesterday"})

    assert "ledger" in {one["origin"] for one in told["assumptions"]}
    assert nobody.status_code == 400
    assert (dates.status_code, dates.json()["error"]["param"]) == (400, "from")


async def test_the_tools_are_described_with_their_inputs(gateway: RunningGateway) -> None:
    async with gateway.admin() as admin:
        document = (await admin.get("/schema/openapi.json")).json()
        page = (await admin.get("/schema")).text

    for name in tools.NAMES:
        operation = document["paths"][f"/admin/plan/{name}"]["post"]
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        described = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]["properties"]
        assert set(described) == {each.name for each in inputs_of(tools.tool(name).inputs)} | {"compare"}
        assert all(each.get("description") for each in described.values())
        assert f"/admin/plan/{name}" in page
        assert set(operation["responses"]["200"]["content"]) == {
            "application/json", "text/csv", "text/plain", "image/svg+xml", "image/png",
        }  # fmt: skip
    assert document["components"]["schemas"]["SizeInputs"]["properties"]["util"]["exclusiveMinimum"] == 0
