"""The scorer as admins meet it: what is loaded, what it says of prompts, and why."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.clock import SystemClock
from gateway.scoring.artefact import NEIGHBOURS, SHIPPED
from gateway.scoring.evaluate_entry import needs_strong
from tests.fixtures.encoders import WORDS, write_encoder, write_head
from tests.fixtures.gateway import MakeGateway, RunningGateway
from tests.fixtures.outcomes import outcome
from tests.fixtures.scripted_upstream import ScriptedUpstream

SCORE = "/v1/weighbridge/score"
EXPLAIN = "/admin/scorer/explain"
PROOF = "Prove that every group of prime order is cyclic."
TALK: dict[str, Any] = {
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": PROOF}]
}
LEXICAL = "scoring: {engine: lexical}"


async def post(gateway: RunningGateway, path: str, body: Any, **options: Any) -> httpx.Response:
    async with gateway.admin() as admin:
        return await admin.post(path, json=body, **options)


async def test_prompts_are_scored_as_evaluators_expect(gateway: RunningGateway) -> None:
    prompts = ["Hi!", PROOF, "", "证明素数有无穷多个"]

    told = (await post(gateway, SCORE, {"prompts": prompts})).json()

    assert told["scores"] == needs_strong(prompts)
    assert told["scores"][1] > told["scores"][0]
    assert all(0 <= one <= 1 for one in told["complexity"])
    assert told["version"] == gateway.app.scorer.version


async def test_a_conversation_is_scored_for_every_model_as_routing_does_it(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("So it is.")

    told = (await post(gateway, SCORE, {**TALK, "model": "auto"})).json()
    one = (await post(gateway, SCORE, {**TALK, "model": "small"})).json()
    await gateway.client().chat.completions.create(model="small", **TALK)

    [entry] = await gateway.entries()
    assert set(told["p_good"]) == {"local/small", "local/medium", "cloud/cloud"}
    assert told["p_good"] == told["raw"]
    assert one["p_good"] == {"local/small": told["p_good"]["local/small"]}
    assert (entry.complexity, entry.category) == (told["complexity"], told["category"])
    assert entry.p_good == pytest.approx(told["raw"]["local/small"])


async def test_a_tenants_outcomes_adjust_what_is_told_of_it(make_gateway: MakeGateway) -> None:
    gateway = await make_gateway("scoring: {refresh_s: 600}")
    learning = gateway.app.learning
    assert learning is not None
    for number in range(60):
        failed = outcome(f"req_{number}", value=0.0, p_good=0.9, created_ms=SystemClock().now_ms())
        await asyncio.to_thread(gateway.app.outcomes.vote, failed)
    await learning.refresh()

    plain = (await post(gateway, SCORE, TALK)).json()
    mine = (await post(gateway, SCORE, {**TALK, "tenant": "acme"})).json()
    explained = (await post(gateway, EXPLAIN, {**TALK, "tenant": "acme"})).json()
    unknown = await post(gateway, SCORE, {**TALK, "tenant": "globex"})

    assert mine["raw"] == plain["raw"] == plain["p_good"]
    assert mine["p_good"]["local/small"] < plain["p_good"]["local/small"] - 0.1
    assert explained["p_good"] == pytest.approx(mine["p_good"])
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "not_found")


async def test_a_score_is_explained_with_parts_that_sum_to_it(gateway: RunningGateway) -> None:
    told = (await post(gateway, EXPLAIN, {**TALK, "tenant": "acme"})).json()
    single = (await post(gateway, EXPLAIN, {"prompt": PROOF, "model": "cloud/cloud"})).json()

    moved = sum(part["contribution"] for part in told["features"] + told["by_hand"])
    summed = told["spread"] * (told["base"] + told["meaning"] + moved - told["taken_off"])
    assert summed == pytest.approx(told["need"], abs=1e-3)
    assert set(told["p_good"]) == {one["id"] for one in told["candidates"]}
    assert len(told["neighbours"]) == 5
    assert [one["id"] for one in single["candidates"]] == ["cloud/cloud"]
    assert single["tenant"] is None


async def test_what_is_loaded_is_told(make_gateway: MakeGateway) -> None:
    gateway = await make_gateway()
    async with gateway.admin() as admin:
        told = (await admin.get("/admin/scorer")).json()

    assert (told["engine"], told["version"]) == ("model", gateway.app.scorer.version)
    assert told["providers"][-1] == "CPUExecutionProvider"
    assert {"name", "position", "shift", "prompts", "accuracy"} == set(told["models"][0])
    assert next(one for one in told["candidates"] if one["model"] == "small") == {
        "id": "local/small",
        "model": "small",
        "size": "small",
        "known_by": "size",
    }
    assert told["deep"] is False
    assert told["learning"].keys() == {"refreshed_at", "outcomes"}
    assert told["cascades"] == ["cascade"]


async def test_without_the_model_words_and_length_score_and_there_is_nothing_to_explain(
    make_gateway: MakeGateway,
) -> None:
    gateway = await make_gateway(LEXICAL)

    scored = (await post(gateway, SCORE, {"prompts": ["Hi!", PROOF]})).json()
    one = (await post(gateway, SCORE, TALK)).json()
    refused = await post(gateway, EXPLAIN, TALK)
    async with gateway.admin() as admin:
        loaded = (await admin.get("/admin/scorer")).json()

    assert scored["version"] == "lexical"
    assert scored["scores"] == scored["complexity"]
    assert one["need"] == one["complexity"]
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "scorer_unavailable")
    assert "onnx-cpu" in refused.json()["error"]["message"]
    assert (loaded["engine"], loaded["candidates"][0]["known_by"]) == ("lexical", "size")
    assert "models" not in loaded


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (SCORE, {}, "prompts"),
        (SCORE, {"prompts": []}, "prompts"),
        (SCORE, {"prompts": ["x"] * 257}, "prompts"),
        (SCORE, {"prompts": ["x", 1]}, "prompts[1]"),
        (SCORE, {"prompts": "x"}, "prompts"),
        (SCORE, {"prompts": ["x"], **TALK}, "messages"),
        (SCORE, {"messages": []}, "messages"),
        (SCORE, {"messages": ["x"]}, "messages[0]"),
        (SCORE, {**TALK, "tenant": ""}, "tenant"),
        (EXPLAIN, {}, "prompt"),
        (EXPLAIN, {"prompt": ""}, "prompt"),
        (EXPLAIN, {"prompt": "x", **TALK}, "messages"),
    ],
)
async def test_a_wrong_field_is_named(gateway: RunningGateway, path: str, body: Any, param: str) -> None:
    refused = await post(gateway, path, body)

    error = refused.json()["error"]
    assert (refused.status_code, error["type"]) == (400, "invalid_request_error")
    assert error["param"] == param


@pytest.mark.parametrize("path", [SCORE, EXPLAIN])
async def test_a_model_that_is_not_configured_is_not_found(gateway: RunningGateway, path: str) -> None:
    refused = await post(gateway, path, {**TALK, "model": "gpt-9"})

    assert refused.status_code == 404
    assert (refused.json()["error"]["code"], refused.json()["error"]["param"]) == ("model_not_found", "model")


@pytest.mark.parametrize("path", [SCORE, EXPLAIN])
async def test_a_body_of_more_than_a_mebibyte_is_refused(gateway: RunningGateway, path: str) -> None:
    refused = await post(gateway, path, {"prompts": ["x" * 2**20]})

    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "request_too_large")


async def test_only_admins_may_ask(gateway: RunningGateway) -> None:
    finance = await asyncio.to_thread(gateway.app.accounts.operators.create, "finance", actor="test")

    async with (
        gateway.admin(finance.text) as books,
        gateway.admin(gateway.key) as app,
        gateway.http() as http,
    ):
        statuses = [
            (await client.post(path, json=TALK)).status_code
            for client in (books, app)
            for path in (SCORE, EXPLAIN)
        ]
        statuses.append((await books.get("/admin/scorer")).status_code)
        statuses.append((await http.post(SCORE, json=TALK)).status_code)

    assert statuses == [403, 403, 401, 401, 403, 404]


async def test_what_is_scored_or_explained_is_not_logged(gateway: RunningGateway) -> None:
    await post(gateway, SCORE, {"prompts": ["xylophonist"]})
    await post(gateway, EXPLAIN, {"prompt": "xylophonist"})

    assert "xylophonist" not in str(await gateway.log_lines())


async def test_the_description_says_what_to_send(gateway: RunningGateway) -> None:
    async with gateway.admin() as admin:
        document = (await admin.get("/schema/openapi.json")).json()

    for path, body in ((SCORE, "ScoreBody"), (EXPLAIN, "ExplainBody")):
        content = document["paths"][path]["post"]["requestBody"]["content"]
        assert content == {"application/json": {"schema": {"$ref": f"#/components/schemas/{body}"}}}
        assert "messages" in document["components"]["schemas"][body]["properties"]
    assert document["paths"]["/admin/scorer"]["get"]["summary"] == "Show the scorer"


async def test_a_prompt_near_the_decision_is_looked_at_again_as_in_routing(
    gateway: RunningGateway, make_gateway: MakeGateway, tmp_path: Path
) -> None:
    folder = write_encoder(tmp_path / "encoder", words=WORDS.index("unheard"))
    write_head(folder, adds=1.0)
    deep = await make_gateway(f"scoring: {{deep: {{folder: {folder}, band: [0, 1], timeout_ms: 10000}}}}")

    first = (await post(gateway, SCORE, TALK)).json()
    second = (await post(deep, SCORE, TALK)).json()

    assert (first["looked_again"], second["looked_again"]) == (False, True)
    assert second["complexity"] > first["complexity"]


async def test_a_damaged_artefact_still_scores_and_says_that_it_cannot_explain(
    make_gateway: MakeGateway, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(SHIPPED, tmp_path / "artefact"))
    (folder / NEIGHBOURS).unlink()
    gateway = await make_gateway(f"scoring: {{artefact: {folder}}}")

    scored = await post(gateway, SCORE, TALK)
    refused = await post(gateway, EXPLAIN, TALK)

    assert scored.status_code == 200
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "scorer_unavailable")
    assert str(folder) not in refused.text
