"""No request may spend what is not there, and none may be lost, whoever hangs up and whatever dies."""

import asyncio
from collections import Counter

import openai
import pytest

from gateway.limits.contract import Ask, Scope
from gateway.upstreams.contract import Reply, UpstreamCall
from gateway.values import Limits, NanoUSD
from tests.fixtures.gateway import MakeGateway, RunningGateway
from tests.fixtures.scripted_upstream import ScriptedUpstream

HELLO = [{"role": "user", "content": "Hello there"}]


def invoice(upstream: ScriptedUpstream, *, input_nano: int, output_nano: int) -> NanoUSD:
    """The provider's own bill, at the price of one model in nano-dollars a token."""
    return sum(a.prompt_tokens * input_nano + a.completion_tokens * output_nano for a in upstream.invoice)


async def held(gateway: RunningGateway, tenant: str, budget: NanoUSD) -> NanoUSD:
    """What is neither free nor in the ledger: the largest amount that still fits tells it."""
    spent = sum(entry.cost for entry in await gateway.entries() if entry.tenant == tenant)
    free = budget - spent
    scope = Scope(kind="tenant", id=tenant, limits=Limits(budget_per_month=budget))
    ask = Ask(request_id="probe", tenant=tenant, scopes=(scope,), amounts=(free, 0), tokens=0, ttl_s=60)
    grant = await gateway.app.limiter.reserve(ask)
    return free - grant.amount  # type: ignore[union-attr]  # 0 always fits, so it is a grant


@pytest.mark.fault("M1")
async def test_of_200_parallel_requests_with_room_for_one_exactly_one_is_served(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    gate = asyncio.Event()
    upstream.answers("Paris", output_tokens=1, hold={0: gate})
    body = {"model": "small", "messages": HELLO, "max_tokens": 100}
    worst = len(openai_bytes(body)) * 1_000 + 100 * 2_000
    budget = worst + worst // 2
    key = await gateway.new_key("poor", "vip", budget_per_month=budget)

    async with gateway.http(key) as http:

        async def ask() -> tuple[int, str | None]:
            reply = await http.post("/v1/chat/completions", content=openai_bytes(body), headers=JSON)
            return reply.status_code, (reply.json().get("error") or {}).get("code")

        asking = [asyncio.ensure_future(ask()) for _ in range(200)]  # noqa: TID251 - gathered below
        while sum(task.done() for task in asking) < 199:
            await asyncio.sleep(0)
        gate.set()
        answers = Counter(await asyncio.gather(*asking))

    assert answers == {(200, None): 1, (429, "insufficient_quota"): 199}
    [entry] = await gateway.entries()
    assert entry.cost == invoice(upstream, input_nano=1_000, output_nano=2_000)
    assert await held(gateway, "poor", budget) == 0


JSON = {"content-type": "application/json"}


def openai_bytes(body: dict[str, object]) -> bytes:
    import msgspec

    return msgspec.json.encode(body)


async def test_a_budget_without_room_for_the_dear_model_still_buys_the_cheap_one(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("ok")
    hard = [
        {"role": "user", "content": "Prove step by step that there are infinitely many primes, then " * 8}
    ]
    key = await gateway.new_key("thrifty", "vip", budget_per_month=10_000_000)

    raw = await gateway.client(key).chat.completions.with_raw_response.create(
        model="auto:threshold", messages=hard, max_tokens=2_000
    )

    assert raw.headers["x-weighbridge-model"] == "small"
    with pytest.raises(openai.RateLimitError) as refused:
        await gateway.client(key).chat.completions.create(model="cloud", messages=hard, max_tokens=2_000)
    assert refused.value.code == "insufficient_quota"


@pytest.mark.fault("M5")
@pytest.mark.parametrize("seen", [0, 1, 5])
async def test_a_client_that_hangs_up_mid_stream_stops_a_local_upstream_and_is_charged(
    gateway: RunningGateway, upstream: ScriptedUpstream, seen: int
) -> None:
    upstream.answers(*["word "] * 8, hold={6: asyncio.Event()})

    stream = await gateway.client().chat.completions.create(model="small", messages=HELLO, stream=True)
    events = aiter(stream)
    for _ in range(seen):
        await anext(events)
    await stream.close()

    attempt = await upstream.attempt(0)
    await asyncio.wait_for(attempt.client_closed.wait(), timeout=5)
    entry = await one_entry(gateway)
    assert entry.outcome == "client_gone"
    assert entry.usage_source == "estimated"
    assert entry.cost > 0
    assert entry.cost + entry.suspense >= invoice(upstream, input_nano=1_000, output_nano=2_000)


@pytest.mark.fault("M5")
async def test_a_cloud_upstream_is_drained_to_its_own_count_when_the_client_hangs_up(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    gate = asyncio.Event()
    upstream.answers(*["word "] * 8, hold={4: gate}, bills_whole=True)

    stream = await gateway.client().chat.completions.create(model="cloud", messages=HELLO, stream=True)
    await anext(aiter(stream))
    await stream.close()
    gate.set()

    entry = await one_entry(gateway)
    assert (entry.outcome, entry.usage_source) == ("client_gone", "reported")
    assert entry.cost == invoice(upstream, input_nano=10_000, output_nano=30_000)
    assert entry.suspense == 0


@pytest.mark.fault("M6")
async def test_a_client_that_hangs_up_before_a_whole_reply_is_noticed(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.hangs()
    client = gateway.client()
    asking = asyncio.ensure_future(client.chat.completions.create(model="small", messages=HELLO))  # noqa: TID251 - cancelled below
    attempt = await upstream.attempt(0)

    asking.cancel()

    await asyncio.wait_for(attempt.client_closed.wait(), timeout=5)
    entry = await one_entry(gateway)
    assert (entry.outcome, entry.usage_source) == ("client_gone", "estimated")
    lines = [line for line in await gateway.log_lines() if line["event"] == "request.done"]
    assert lines[-1]["status"] == 499


async def one_entry(gateway: RunningGateway):  # type: ignore[no-untyped-def]  # -> Entry
    while not (entries := await gateway.entries()):
        await asyncio.sleep(0.01)
    [entry] = entries
    return entry


@pytest.mark.fault("M9")
async def test_an_attempt_that_failed_after_it_was_billed_is_on_the_house_and_in_view(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.model("small").refuses(500, prompt_tokens=2, output_tokens=3)
    upstream.model("medium").answers("Paris", output_tokens=1)

    await gateway.client().chat.completions.create(model="auto", messages=HELLO)

    failed, served = await gateway.entries()
    assert (failed.attempt, failed.model, failed.outcome, failed.cost) == (1, "small", "failed", 0)
    assert failed.suspense >= 2 * 1_000 + 3 * 2_000
    assert (served.attempt, served.model, served.cost) == (2, "medium", 2 * 3_000 + 6_000)


@pytest.mark.fault("M16")
async def test_without_the_limits_store_money_waits_and_what_is_free_goes_on(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("ok")
    gateway = await make_gateway(
        f"""
upstreams:
  local:
    base_url: {upstream.url}
    models:
      small: {{size: small, price: {{input: 1, output: 2}}}}
      gift: {{size: small, free: true}}
""",
        limits_url="unix:///nowhere/socket",
    )
    key = await gateway.new_key("budgeted", "vip")
    client = gateway.client(key)

    with pytest.raises(openai.InternalServerError) as refused:
        await client.chat.completions.create(model="small", messages=HELLO)
    raw = await client.chat.completions.with_raw_response.create(model="gift", messages=HELLO)
    metered = await gateway.client().chat.completions.create(model="small", messages=HELLO)

    assert (refused.value.status_code, refused.value.code) == (503, "budget_unavailable")
    assert raw.headers["x-weighbridge-cost-usd"] == "0.000000000"
    assert metered.choices  # a plan without a money budget has nothing that could be overspent
    assert {entry.model for entry in await gateway.entries()} == {"gift", "small"}


@pytest.mark.fault("M2")
async def test_counters_that_are_lost_come_back_from_the_ledger(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Paris", output_tokens=1)
    budget = 600_000
    key = await gateway.new_key("loser", "vip", budget_per_month=budget)
    await gateway.client(key).chat.completions.create(model="small", messages=HELLO, max_tokens=100)

    await gateway.app.limits_client.execute("FLUSHALL")

    assert await held(gateway, "loser", budget) == 0


class _Faulty:
    """An upstream's adapter with a bug."""

    name = "local"

    async def complete(self, call: UpstreamCall) -> Reply:
        raise KeyError("no such form")

    async def close(self) -> None:
        pass


async def test_a_fault_of_ours_is_an_error_with_an_id_and_never_on_the_callers_bill(
    gateway: RunningGateway,
) -> None:
    gateway.app.pool.member("local").endpoints[0].client = _Faulty()  # type: ignore[assignment]

    async with gateway.http() as http:
        reply = await http.post("/v1/chat/completions", json={"model": "small", "messages": HELLO})

    assert (reply.status_code, reply.json()["error"]["code"]) == (500, "internal_error")
    assert "no such form" not in reply.text
    [entry] = await gateway.entries()
    assert (entry.cost, entry.outcome) == (0, "failed")
