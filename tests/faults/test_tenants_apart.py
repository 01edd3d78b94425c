"""Nothing of one tenant's is found by another who knows what it is called, and no secret is told or kept."""

import sqlite3
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fixtures.batch_lines import content, create, ended, line
from tests.fixtures.gateway import MakeGateway, RunningGateway
from tests.fixtures.scripted_upstream import ScriptedUpstream

BATCHES = "batches: {poll_s: 0.05}"
ASKED: dict[str, Any] = {
    "model": "small",
    "messages": [{"role": "user", "content": "Hello"}],
    "temperature": 0,
}


@pytest.mark.fault("A8")
async def test_what_one_tenant_has_is_not_there_for_another(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await make_gateway(BATCHES)
    client = gateway.client()
    batch = await ended(client, await create(client, line("one")))
    files = [batch.input_file_id, str(batch.output_file_id)]
    other = await gateway.new_key("other", "paid", user="bob")

    async with gateway.http(other) as http:
        tried = [await http.get(f"/v1/batches/{batch.id}"), await http.post(f"/v1/batches/{batch.id}/cancel")]
        for name in files:
            tried += [await http.get(f"/v1/files/{name}"), await http.get(f"/v1/files/{name}/content")]
            tried += [await http.delete(f"/v1/files/{name}")]
            wanted = {"input_file_id": name, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
            tried += [await http.post("/v1/batches", json=wanted)]
        lists = [await http.get(f"/v1/{kind}?after={batch.id}&order=asc") for kind in ("files", "batches")]

    assert {reply.status_code for reply in tried} == {404}
    assert [reply.json()["data"] for reply in lists] == [[], []]
    assert set(await content(client, batch.output_file_id)) == {"one"}


@pytest.mark.fault("A8")
async def test_neither_the_cache_nor_an_idempotency_key_answers_another_tenant(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    other = await gateway.new_key("other", "paid", user="bob")
    once = {"idempotency-key": "the same"}

    async def asked(key: str) -> httpx.Response:
        async with gateway.http(key) as http:
            return await http.post("/v1/chat/completions", json=ASKED, headers=once)

    first, again, theirs = await asked(gateway.key), await asked(gateway.key), await asked(other)

    assert again.headers["x-weighbridge-idempotent-replay"] == "true"
    assert "x-weighbridge-idempotent-replay" not in theirs.headers
    assert [first.headers["x-weighbridge-cache"], theirs.headers["x-weighbridge-cache"]] == ["miss", "miss"]
    assert len(upstream.attempts) == 2


def kept(folder: Path) -> str:
    """All that the database and the journal hold."""
    with sqlite3.connect(folder / "weighbridge.db") as database:
        rows = "".join(map(str, database.iterdump()))
    journal = [path for path in folder.rglob("*") if path.is_file() and "journal" in str(path)]
    return rows + "".join(str(path.read_bytes()) for path in journal)


@pytest.mark.fault("A17")
async def test_no_key_is_written_or_told_anywhere(
    make_gateway: MakeGateway, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    secrets = {"upstream": "sk-CANARY-upstream-0001", "idempotency": "CANARY-idempotency-0002"}
    key_file = tmp_path / "upstream.key"
    key_file.write_text(secrets["upstream"])
    model = "{size: small, price: {input: 1, output: 2}}"
    gateway = await make_gateway(
        f"upstreams: {{local: {{base_url: '{upstream.url}', api_key_file: {key_file}, models: {{small: {model}}}}}}}"
    )
    secrets["gateway"], secrets["admin"] = gateway.key, gateway.admin_key
    told = []

    async with gateway.http() as http, gateway.admin() as admin:
        for number, status in enumerate([200, 400, 401, 500]):
            if status != 200:
                upstream.refuses(status, message=f"wrong key {secrets['upstream']} {gateway.key}")
            for is_stream in (False, True):
                once = {"idempotency-key": f"{secrets['idempotency']}-{number}-{is_stream}"}
                body = {**ASKED, "stream": is_stream, "seed": number}
                told.append(await http.post("/v1/chat/completions", json=body, headers=once))
        told += [await http.get("/metrics"), await http.get("/readyz"), await admin.get("/admin/keys")]

    await gateway.entries()
    seen = "".join(f"{reply.headers}{reply.text}" for reply in told) + str(await gateway.log_lines())
    seen += kept(tmp_path)
    for whose, secret in secrets.items():
        assert secret not in seen, whose
    assert all(gateway.key not in str(attempt.headers) for attempt in upstream.attempts)
    assert all("idempotency" not in str(attempt.headers) for attempt in upstream.attempts)
