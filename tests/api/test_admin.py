"""The admin and finance listener, as admins and finance people use it."""

import csv
import io

import openai
import pytest

from tests.fixtures.gateway import RunningGateway
from tests.fixtures.scripted_upstream import ScriptedUpstream

HELLO = [{"role": "user", "content": "Hello there"}]
OPEN = {"/healthz", "/readyz", "/metrics"}


async def test_an_admin_makes_a_tenant_a_key_that_works_and_ends_it(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("ok")
    async with gateway.admin() as admin:
        made = await admin.post("/admin/tenants", json={"id": "globex", "tier": "paid"})
        issued = (await admin.post("/admin/keys", json={"tenant": "globex", "user": "hank"})).json()
        await gateway.client(issued["key"]).chat.completions.create(model="small", messages=HELLO)
        listed = (await admin.get("/admin/keys", params={"tenant": "globex"})).json()
        revoked = (await admin.delete(f"/admin/keys/{issued['id']}")).json()

    assert made.status_code == 201
    assert [row["id"] for row in listed] == [issued["id"]]
    assert "key" not in listed[0]
    assert revoked["revoked_at"] is not None
    client = gateway.client(issued["key"])
    with pytest.raises(openai.AuthenticationError):
        await _until_refused(client)


async def _until_refused(client: openai.AsyncOpenAI) -> None:
    """A revoked key counts until what is remembered of it is stale: 50 ms here."""
    for _ in range(500):
        await client.models.list()


async def test_a_plan_can_be_edited_and_holds_at_once(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("ok")
    async with gateway.admin() as admin:
        tier = (await admin.get("/admin/tiers/free")).json()
        assert tier["limits"]["requests_per_month"] == 1_000
        tier["limits"]["requests_per_minute"] = 2
        name = tier.pop("name")
        changed = await admin.put(f"/admin/tiers/{name}", json=tier)
    key = await gateway.new_key("tiny", "free")

    body = {"model": "auto", "messages": HELLO}
    async with gateway.http(key) as http:
        answers = [(await http.post("/v1/chat/completions", json=body)).status_code for _ in range(3)]

    assert changed.status_code == 200
    assert answers == [200, 200, 429]


async def test_a_tenants_budget_is_set_in_dollars_and_enforced_in_nano_dollars(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    key = await gateway.new_key("globex", "paid")
    async with gateway.admin() as admin:
        changed = await admin.patch(
            "/admin/tenants/globex", json={"limits": {"budget_usd_per_month": "0.000000001"}}
        )
        wrong = await admin.patch(
            "/admin/tenants/globex", json={"limits": {"budget_usd_per_month": "0.0000000001"}}
        )

    assert changed.json()["limits"] == {"budget_usd_per_month": "0.000000001"}
    assert wrong.status_code == 400
    with pytest.raises(openai.RateLimitError) as refused:
        await gateway.client(key).chat.completions.create(model="small", messages=HELLO)
    assert refused.value.code == "insufficient_quota"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/admin/tenants", {"id": "x y", "tier": "paid"}, 400, "invalid_value"),
        ("POST", "/admin/tenants", {"id": "new", "tier": "gold"}, 404, "not_found"),
        ("POST", "/admin/tenants", {"id": "acme", "tier": "paid"}, 409, "already_exists"),
        ("POST", "/admin/tenants", {"id": "new", "tier": "paid", "budget": 5}, 400, "invalid_value"),
        ("POST", "/admin/tenants", None, 400, "invalid_value"),
        ("GET", "/admin/tenants/nobody", None, 404, "not_found"),
        ("DELETE", "/admin/keys/nokey", None, 404, "not_found"),
        ("POST", "/admin/operators", {"role": "king"}, 400, "invalid_value"),
        ("GET", "/finance/spend?by=colour", None, 400, "invalid_value"),
        ("GET", "/finance/spend?from=yesterday", None, 400, "invalid_value"),
        ("GET", "/finance/spend?format=xml", None, 400, "invalid_value"),
        ("GET", "/finance/requests/req_none", None, 404, "not_found"),
        ("GET", "/admin/nothing", None, 404, "not_found"),
        ("DELETE", "/admin/tenants", None, 405, "method_not_allowed"),
    ],
)
async def test_a_wrong_admin_request_gets_a_clear_error(
    gateway: RunningGateway, method: str, path: str, body: object, status: int, code: str
) -> None:
    async with gateway.admin() as admin:
        reply = await admin.request(method, path, json=body)

    assert reply.status_code == status, reply.text
    assert reply.json()["error"]["code"] == code
    assert reply.headers["x-request-id"]


@pytest.mark.fault("A6")
async def test_every_admin_route_is_closed_without_a_key_and_to_apps_keys(gateway: RunningGateway) -> None:
    routes = [
        (path, method)
        for path, method in _routes(gateway)
        if path not in OPEN and not path.startswith("/schema")
    ]

    async with gateway.admin("") as nobody, gateway.admin(gateway.key) as app:
        for path in OPEN:
            assert (await app.get(path)).status_code == 200, path
        for path, method in routes:
            del nobody.headers["authorization"]
            assert (await nobody.request(method, path, json={})).status_code == 401, path
            nobody.headers["authorization"] = "x"
            assert (await app.request(method, path, json={})).status_code == 401, path

    assert len(routes) > 15


FOR_FINANCE = ("/finance", "/admin/plan")


async def test_a_finance_key_reads_spend_plans_and_changes_nothing(gateway: RunningGateway) -> None:
    finance = gateway.app.accounts.operators.create("finance", actor="test").text

    async with gateway.admin(finance) as http:
        for path, method in _routes(gateway):
            if path in OPEN or path.startswith("/schema"):
                continue
            status = (await http.request(method, path, json={})).status_code
            assert (status == 403) == (not path.startswith(FOR_FINANCE)), (path, status)


def _routes(gateway: RunningGateway) -> list[tuple[str, str]]:
    return [
        (route.path_format.replace("{", "").replace("}", ""), method)
        for route in gateway.app.admin.routes
        for method in sorted(route.methods - {"OPTIONS", "HEAD"})
    ]


async def test_the_report_adds_up_in_json_and_csv(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Paris", output_tokens=1)
    other = await gateway.new_key("globex", "paid")
    for key, model in [(gateway.key, "small"), (gateway.key, "cloud"), (other, "medium")]:
        await gateway.client(key).chat.completions.create(model=model, messages=HELLO)

    async with gateway.admin() as admin:
        report = (await admin.get("/finance/spend", params={"by": "tenant,user,model"})).json()
        text = (await admin.get("/finance/spend", params={"by": "tenant,user,model", "format": "csv"})).text
        one = (await admin.get("/finance/spend", params={"tenant": "globex"})).json()

    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(r["tenant"], r["model"], r["cost_usd"]) for r in report["rows"]] == [
        ("acme", "cloud", "0.000050000"),
        ("acme", "small", "0.000004000"),
        ("globex", "medium", "0.000012000"),
    ]
    assert report["total"]["cost_usd"] == "0.000066000"
    assert [row["cost_usd"] for row in rows] == [row["cost_usd"] for row in report["rows"]]
    assert [r["tenant"] for r in one["rows"]] == ["globex"]
    assert sum(entry.cost for entry in await gateway.entries()) == 66_000


async def test_one_request_can_be_followed_from_its_id_to_its_entries(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.model("small").refuses(500)
    upstream.model("medium").answers("ok", output_tokens=1)
    raw = await gateway.client().chat.completions.with_raw_response.create(model="auto", messages=HELLO)

    async with gateway.admin() as admin:
        entries = (await admin.get(f"/finance/requests/{raw.headers['x-request-id']}")).json()

    assert [(e["attempt"], e["model"], e["outcome"]) for e in entries] == [
        (1, "small", "failed"),
        (2, "medium", "ok"),
    ]
    assert entries[1]["cost"] == raw.headers["x-weighbridge-cost-usd"]


async def test_every_change_is_in_the_audit_and_no_secret_is(gateway: RunningGateway) -> None:
    async with gateway.admin() as admin:
        issued = (await admin.post("/admin/keys", json={"tenant": "acme"})).json()
        audit = await admin.get("/admin/audit", params={"limit": 5})

    assert audit.json()[0]["action"] == "key.create"
    assert audit.json()[0]["actor"].startswith("admin:")
    assert issued["key"] not in audit.text
    assert issued["key"].split("-")[-1] not in audit.text


async def test_metrics_name_models_and_no_tenant(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    upstream.answers("ok")
    await gateway.client().chat.completions.create(model="small", messages=HELLO)

    async with gateway.http() as http:
        text = (await http.get("/metrics")).text

    assert 'weighbridge_requests_total{cache="off",model="small",size="small",status="200"} 1.0' in text
    assert "weighbridge_cost_nano_usd_total" in text
    assert "acme" not in text
    assert "ann" not in text.replace("channel", "")


@pytest.mark.fault("C15")
async def test_readiness_tells_what_is_missing_and_takes_nobody_out(gateway: RunningGateway) -> None:
    async with gateway.http() as http:
        before = await http.get("/readyz")
        gateway.app.database.engine.dispose()
        alive = await http.get("/healthz")
        gateway.app.is_draining = True
        draining = await http.get("/readyz")
        refused = await http.post("/v1/chat/completions", json={"model": "small", "messages": HELLO})

    assert before.json() == {
        "status": "ready",
        "parts": {"database": "ok", "limits": "ok", "upstreams": "ok"},
    }
    assert alive.status_code == 200
    assert draining.status_code == 503
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")


async def test_the_admin_listener_describes_itself_to_operators(gateway: RunningGateway) -> None:
    async with gateway.admin() as admin, gateway.admin("x") as stranger:
        described = await admin.get("/schema/openapi.json")
        refused = await stranger.get("/schema/openapi.json")

    assert described.status_code == 200
    paths = described.json()["paths"]
    assert {"/admin/tenants", "/admin/keys/{key}", "/finance/spend"} <= set(paths)
    assert refused.status_code == 401
