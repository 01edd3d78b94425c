"""Outcomes correct what the scorer predicts, for the tenant that told them, while the gateway serves."""

from tests.fixtures.gateway import MakeGateway, RunningGateway
from tests.fixtures.scripted_upstream import ScriptedUpstream

EASY = [{"role": "user", "content": "Hello there"}]


async def served_by(gateway: RunningGateway, key: str | None = None) -> tuple[str, str]:
    async with gateway.http(key) as http:
        reply = await http.post("/v1/chat/completions", json={"model": "auto", "messages": EASY})
    assert reply.status_code == 200, reply.text
    return reply.headers["x-request-id"], reply.headers["x-weighbridge-model"]


async def judge(gateway: RunningGateway, request_ids: list[str], value: float) -> None:
    """As an admin brings in what a judge said."""
    async with gateway.admin() as http:
        lines = [{"request_id": request_id, "value": value} for request_id in request_ids]
        assert (await http.post("/admin/outcomes", json=lines)).status_code in (200, 201)


async def test_a_model_that_fails_a_tenant_loses_that_tenants_prompts(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("no", output_tokens=1)
    other = await gateway.new_key("other", "paid")
    asked = [await served_by(gateway) for _ in range(30)]
    assert {model for _, model in asked} == {"small"}
    await gateway.app.catch_up()

    await judge(gateway, [request_id for request_id, _ in asked], 0.0)
    assert gateway.app.learning is not None
    await gateway.app.learning.refresh()

    assert gateway.app.learning.outcomes == 30
    assert (await served_by(gateway))[1] != "small"
    entry = (await gateway.entries())[0]
    assert entry.p_good is not None
    assert entry.p_good > 0.8, "the ledger keeps what the scorer itself said"
    assert (await served_by(gateway, other))[1] == "small", (
        "one tenant's judgements take no model from another"
    )


async def test_without_learning_outcomes_are_kept_and_change_nothing(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await make_gateway("scoring: {learn: false}")
    upstream.answers("no", output_tokens=1)
    asked = [await served_by(gateway) for _ in range(3)]
    await gateway.app.catch_up()

    await judge(gateway, [request_id for request_id, _ in asked], 0.0)

    assert gateway.app.learning is None
    assert (await served_by(gateway))[1] == "small"
