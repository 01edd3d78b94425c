"""What a worker took of its engine's time: in the ledger, in reports and in the money; and what a worker is told."""

import asyncio
import csv
import io
from decimal import Decimal
from typing import Any

import openai
import pytest

from gateway.upstreams.contract import ENGINE_SECONDS
from gateway.values import Entry
from tests.fixtures.batch_lines import create, ended, line
from tests.fixtures.gateway import MakeGateway, RunningGateway
from tests.fixtures.scripted_upstream import ScriptedUpstream

CONFIG = """
batches: {{poll_s: 0.02, lease_s: 30}}
upstreams:
  local:
    base_url: {url}
    is_worker: true
    total_timeout_s: 40
    models:
      small: {{size: small, price: {{input: 0, output: 0, engine_hour: 3.6}}, tokens_per_s: 1000, batch_price_factor: 0.5}}
      medium: {{size: medium, price: {{input: 1, output: 2}}}}
      vectors: {{size: small, kind: embedding, price: {{input: 0, output: 0, engine_hour: 3.6}}, tokens_per_s: 1000}}
  provider:
    base_url: {url}
    models:
      cloud: {{size: cloud, price: {{input: 1, output: 2}}}}
  fleet:
    base_url: {url}
    engine: vllm
    models:
      large: {{size: large, price: {{input: 1, output: 2}}, abilities: [completions]}}
"""
MESSAGES: Any = [{"role": "user", "content": "Hello"}]
NANO_PER_US = 1
"""3.6 USD an hour."""


@pytest.fixture
async def gateway(make_gateway: MakeGateway, upstream: ScriptedUpstream) -> RunningGateway:
    return await make_gateway(CONFIG.format(url=upstream.url))


async def ask(gateway: RunningGateway, model: str = "small", *, is_stream: bool = False, **body: Any) -> None:
    async with gateway.http() as http:
        asked = {"model": model, "messages": MESSAGES, "stream": is_stream, **body}
        reply = await http.post("/v1/chat/completions", json=asked)
    assert reply.status_code == 200, reply.text


async def only(gateway: RunningGateway) -> Entry:
    (entry,) = await gateway.entries()
    return entry


@pytest.mark.parametrize("is_stream", [False, True])
async def test_an_answer_costs_its_share_of_the_engines_time(
    gateway: RunningGateway, upstream: ScriptedUpstream, is_stream: bool
) -> None:
    upstream.answers("Paris", engine_seconds="0.004321")

    await ask(gateway, is_stream=is_stream)

    entry = await only(gateway)
    assert (entry.engine_us, entry.cost) == (4321, 4321 * NANO_PER_US)
    assert (entry.usage_source, entry.is_suspect, entry.is_overrun, entry.suspense) == (
        "reported",
        False,
        False,
        0,
    )


async def test_beside_tokens_the_time_is_told_and_costs_nothing(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Paris", prompt_tokens=1, output_tokens=1, engine_seconds="0.004321")

    await ask(gateway, "medium")

    entry = await only(gateway)
    assert (entry.engine_us, entry.cost) == (4321, 3000)


async def test_a_server_that_is_no_worker_of_ours_is_not_listened_to(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Paris", engine_seconds="0.004321")

    await ask(gateway, "cloud")
    await ask(gateway, "cloud", is_stream=True)

    assert [(entry.engine_us, entry.is_suspect) for entry in await gateway.entries()] == [(0, False)] * 2


@pytest.mark.fault("M22")
@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("told", ["3600.000000", "-1.0", "9" * 200])
async def test_a_time_that_cannot_be_is_marked_and_estimated_by_the_tokens(
    gateway: RunningGateway, upstream: ScriptedUpstream, told: str, is_stream: bool
) -> None:
    upstream.answers("Paris", prompt_tokens=10, output_tokens=1, engine_seconds=told)

    await ask(gateway, is_stream=is_stream)

    entry = await only(gateway)
    assert (entry.usage_source, entry.is_suspect) == ("estimated", True)
    assert 0 < entry.engine_us <= 2000  # 2 tokens at 1,000 a second, or the time that went by
    assert entry.cost == entry.engine_us * NANO_PER_US


@pytest.mark.fault("M5")
@pytest.mark.parametrize("seen", [0, 3])
async def test_a_client_that_hangs_up_pays_for_what_the_engine_may_have_worked(
    gateway: RunningGateway, upstream: ScriptedUpstream, seen: int
) -> None:
    upstream.answers(*["word "] * 8, hold={4: asyncio.Event()}, engine_seconds="0.004321")

    stream = await gateway.client().chat.completions.create(model="small", messages=MESSAGES, stream=True)
    events = aiter(stream)
    for _ in range(seen):
        await anext(events)
    await stream.close()

    attempt = await upstream.attempt(0)
    await asyncio.wait_for(attempt.client_closed.wait(), timeout=5)
    entry = await only(gateway)
    assert (entry.outcome, entry.usage_source) == ("client_gone", "estimated")
    assert entry.cost == entry.engine_us * NANO_PER_US
    assert entry.engine_us >= seen * 1000 or entry.engine_us >= (entry.duration_ms - 1) * 1000
    assert entry.engine_us <= (entry.duration_ms + 1) * 1000
    assert entry.cost + entry.suspense <= (entry.duration_ms + 1) * 1000 * NANO_PER_US


async def test_the_hold_covers_the_longest_time_that_an_attempt_may_take(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Paris", engine_seconds="0.004321")
    poor = await gateway.new_key("poor", "paid", budget_per_month=39_999_999)
    fair = await gateway.new_key("fair", "paid", budget_per_month=40_000_000)

    with pytest.raises(openai.RateLimitError):
        await gateway.client(poor).chat.completions.create(model="small", messages=MESSAGES)
    await gateway.client(fair).chat.completions.create(model="small", messages=MESSAGES)

    assert [entry.tenant for entry in await gateway.entries()] == ["fair"]


async def test_a_batchs_line_pays_its_share_for_the_same_time(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Paris", engine_seconds="0.004321")
    client = gateway.client()

    await ended(client, await create(client, line("a")))

    entry = await only(gateway)
    assert (entry.engine_us, entry.cost) == (4321, 2161)


async def test_a_reply_from_the_cache_took_no_engine(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Paris", engine_seconds="0.004321")

    await ask(gateway, temperature=0)
    await gateway.app.catch_up()
    await ask(gateway, temperature=0)

    first, second = await gateway.entries()
    assert second.is_cache_hit
    assert (first.engine_us, second.engine_us, second.cost) == (4321, 0, 0)


async def test_vectors_take_time_too(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    async with gateway.http() as http:
        reply = await http.post("/v1/embeddings", json={"model": "vectors", "input": "Hello"})

    assert reply.status_code == 200, reply.text
    entry = await only(gateway)
    assert entry.usage_source == "estimated"
    assert 0 < entry.engine_us <= 1000 * entry.input_tokens


async def test_ledger_report_export_and_metrics_tell_the_same_sum(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    for told, model, is_stream in (
        ("0.001001", "small", False),
        ("0.002002", "small", True),
        ("0.0040", "medium", False),
    ):
        upstream.answers("Paris", engine_seconds=told)
        await ask(gateway, model, is_stream=is_stream)
    booked = sum(entry.engine_us for entry in await gateway.entries())

    async with gateway.admin() as http:
        report = (await http.get("/finance/spend?by=model")).json()
        export = (await http.get("/finance/spend?by=tenant,model&format=csv")).text
        metrics = (await http.get("/metrics")).text
        prices = (await http.get("/admin/prices?candidate=local/small")).json()

    assert booked == 7003
    assert report["total"]["engine_seconds"] == "0.007003"
    assert [row["engine_seconds"] for row in report["rows"]] == ["0.004000", "0.003003"]
    rows = csv.DictReader(io.StringIO(export))
    assert sum(Decimal(row["engine_seconds"]) for row in rows) == Decimal("0.007003")
    assert 'weighbridge_engine_seconds_total{model="small"} 0.003003' in metrics
    assert [price["engine_hour"] for price in prices] == [3_600_000_000]


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_worker_is_told_how_long_it_may_take_and_whose_prompt_it_is(
    gateway: RunningGateway, upstream: ScriptedUpstream, is_stream: bool
) -> None:
    other = await gateway.new_key("other", "paid")
    for key in (gateway.key, await gateway.new_key("acme", "paid", user="bob"), other):
        async with gateway.http(key) as http:
            body = {"model": "small", "messages": MESSAGES, "stream": is_stream}
            await http.post("/v1/chat/completions", json=body, headers={"x-weighbridge-salt": "f" * 16})

    left_ms = [int(attempt.headers["x-weighbridge-time-left-ms"]) for attempt in upstream.attempts]
    ann, bob, stranger = (attempt.headers["x-weighbridge-salt"] for attempt in upstream.attempts)
    assert all(30_000 < each <= 40_000 for each in left_ms)
    assert ann == bob != stranger
    assert len(ann) == len(stranger) == 16
    assert "f" * 16 not in (ann, stranger)
    assert int(ann, 16) >= 0


async def test_the_salt_stays_the_same_in_another_gateway_of_the_installation(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    for _ in range(2):
        await ask(await make_gateway(CONFIG.format(url=upstream.url)))

    assert len({attempt.headers["x-weighbridge-salt"] for attempt in upstream.attempts}) == 1


async def test_no_other_server_is_told(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    await ask(gateway, "cloud")
    await ask(gateway, "large")

    told = {
        name for attempt in upstream.attempts for name in attempt.headers if name.startswith("x-weighbridge")
    }
    assert told <= {"x-weighbridge-hops"}
    assert ["cache_salt" in attempt.body for attempt in upstream.attempts] == [False, True]


async def test_vllm_keeps_each_tenants_prompts_apart_and_within_them_what_a_caller_divides(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    await ask(gateway, "large")
    await ask(gateway, "large", cache_salt="mine", is_stream=True)
    async with gateway.http() as http:
        await http.post("/v1/completions", json={"model": "large", "prompt": "Hello"})
    async with gateway.http(await gateway.new_key("other", "paid")) as http:
        await http.post("/v1/chat/completions", json={"model": "large", "messages": MESSAGES})

    plain, divided, legacy, stranger = (attempt.body["cache_salt"] for attempt in upstream.attempts)
    assert plain == legacy != stranger
    assert divided == f"{plain}.mine"
    assert len(plain) == len(stranger) == 64
    assert ENGINE_SECONDS not in upstream.attempts[0].headers
