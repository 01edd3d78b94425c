"""Batches as an app meets them, through OpenAI's own SDK."""

import asyncio
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types import Batch

from gateway.clock import ManualClock
from tests.fixtures.batch_lines import CHAT, content, create, create_from, ended, jsonl, line
from tests.fixtures.gateway import MakeGateway, RunningGateway
from tests.fixtures.obliging_upstream import ObligingUpstream
from tests.fixtures.scripted_upstream import ScriptedUpstream

UPSTREAMS = """
upstreams:
  provider:
    base_url: {url}
    api_key_file: {key}
    models:
      gpt-4.1-mini: {{size: small, price: {{input: 1, output: 2}}}}
      text-embedding-3-small: {{size: small, kind: embedding, price: {{input: 1, output: 0}}}}
      omni-moderation-latest: {{size: small, kind: moderation, free: true}}
"""
QUICK = "batches: {poll_s: 0.02, lease_s: 30}\n"
HELLO = [{"role": "user", "content": "Hello there"}]


@pytest.fixture
async def gateway(make_gateway: MakeGateway) -> RunningGateway:
    return await make_gateway(QUICK)


async def test_each_line_is_answered_into_the_output_file(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Paris", output_tokens=1)
    client = gateway.client()

    created = await create(client, line("a"), line("b", temperature=0.5), metadata={"job": "7"})
    batch = await ended(client, created)

    assert (created.status, created.object, created.endpoint) == ("validating", "batch", CHAT)
    assert created.metadata == {"job": "7"}
    assert created.expires_at == created.created_at + 86_400
    assert (batch.status, batch.error_file_id, batch.model) == ("completed", None, "small")
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 2, "completed": 2, "failed": 0}
    assert batch.usage is not None
    assert (batch.usage.input_tokens, batch.usage.output_tokens, batch.usage.total_tokens) == (2, 2, 4)
    assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at
    assert batch.output_file_id is not None
    output = await client.files.retrieve(batch.output_file_id)
    assert (output.purpose, output.filename) == ("batch_output", f"{batch.id}_output.jsonl")
    rows = await content(client, batch.output_file_id)
    assert list(rows) == ["a", "b"]
    row = rows["a"]
    assert row["id"].startswith("batch_req_")
    assert (row["error"], row["response"]["status_code"]) == (None, 200)
    assert row["response"]["body"]["choices"][0]["message"]["content"] == "Paris"
    assert row["response"]["request_id"].startswith("req_")


async def test_each_line_is_a_request_of_whoever_created_the_batch(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("Paris", output_tokens=1)
    client = gateway.client()

    batch = await ended(client, await create(client, line("a"), line("b")))

    entries = await gateway.entries()
    rows = await content(client, batch.output_file_id)
    assert {entry.request_id for entry in entries} == {r["response"]["request_id"] for r in rows.values()}
    assert {(e.tenant, e.user, e.model, e.cost) for e in entries} == {("acme", "ann", "small", 3_000)}
    lines = [one for one in await gateway.log_lines() if one["event"] == "request.done"]
    assert [one["background"] for one in lines] == [True, True]


async def test_lines_have_a_price_of_their_own(make_gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.answers("Paris", output_tokens=1)
    gateway = await make_gateway(
        QUICK
        + f"""
upstreams:
  local:
    base_url: {upstream.url}
    models: {{small: {{size: small, price: {{input: 1, output: 2}}, batch_price_factor: 0.5}}}}
"""
    )
    client = gateway.client()

    await ended(client, await create(client, line("a")))
    await client.chat.completions.create(model="small", messages=[{"role": "user", "content": "a"}])

    assert [entry.cost for entry in await gateway.entries()] == [1_500, 3_000]


async def test_lines_that_fail_stand_in_the_error_file(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    client = gateway.client()

    batch = await ended(
        client, await create(client, line("good"), line("unknown", model="nope"), line("bad", n=-1))
    )

    assert batch.status == "completed"
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 3, "completed": 1, "failed": 2}
    assert batch.model is None
    assert list(await content(client, batch.output_file_id)) == ["good"]
    errors = await content(client, batch.error_file_id)
    assert errors["unknown"]["response"]["status_code"] == 404
    assert errors["unknown"]["response"]["body"]["error"]["code"] == "model_not_found"
    assert errors["bad"]["response"]["status_code"] == 400
    assert errors["bad"]["response"]["body"]["error"]["param"] == "n"
    assert [row["error"] for row in errors.values()] == [None, None]
    figures = gateway.app.metrics.render().decode()
    assert 'weighbridge_batch_lines_total{outcome="answered"} 1.0' in figures
    assert 'weighbridge_batch_lines_total{outcome="refused"} 2.0' in figures


async def test_a_batch_of_nothing_but_failures_has_no_output_file(gateway: RunningGateway) -> None:
    client = gateway.client()

    batch = await ended(client, await create(client, line("a", model="nope")))

    assert (batch.status, batch.output_file_id) == ("completed", None)
    assert list(await content(client, batch.error_file_id)) == ["a"]


@pytest.mark.parametrize(
    ("written", "code", "number", "param"),
    [
        (b"", "empty_file", None, None),
        (b"\n \n", "empty_file", None, None),
        (b'{"custom_id": \n', "invalid_json_line", 2, None),
        (b"[]\n", "invalid_json_line", 2, None),
        (b"\xff\xfe\n", "invalid_json_line", 2, None),
        (jsonl({**line("b"), "custom_id": None}), "invalid_value", 2, "custom_id"),
        (jsonl({k: v for k, v in line("b").items() if k != "custom_id"}), "missing_required_parameter", 2, "custom_id"),
        (b"\n" + jsonl(line("a")), "duplicate_custom_id", 3, "custom_id"),
        (jsonl(line("b\x00")), "invalid_value", 2, "custom_id"),
        (jsonl(line("b", url="/v1/embeddings")), "invalid_url", 2, "url"),
        (jsonl({**line("b"), "method": "GET"}), "invalid_method", 2, "method"),
        (jsonl({**line("b"), "body": []}), "invalid_value", 2, "body"),
        (jsonl({k: v for k, v in line("b").items() if k != "body"}), "missing_required_parameter", 2, "body"),
        (jsonl(line("b", stream=True)), "unsupported_value", 2, "body.stream"),
        (jsonl(line("b"), line("c"), line("d"), line("e")), "too_many_lines", None, None),
        (jsonl(line("b", model="x" * 5000)), "line_too_long", 2, None),
    ],
)  # fmt: skip
async def test_an_input_that_will_not_do_says_which_line_and_why(
    make_gateway: MakeGateway,
    upstream: ScriptedUpstream,
    written: bytes,
    code: str,
    number: int | None,
    param: str | None,
) -> None:
    gateway = await make_gateway(
        "batches: {poll_s: 0.02, max_lines: 4}\nserver: {port: 0, admin_port: 0, max_body_bytes: 4096}"
    )
    client = gateway.client()
    first = b"" if code == "empty_file" else jsonl(line("a"))

    batch = await ended(client, await create_from(client, first + written or b"\n"))

    assert batch.status == "failed"
    assert batch.failed_at is not None
    assert batch.errors is not None
    assert batch.errors.object == "list"
    [error] = batch.errors.data or []
    assert (error.code, error.line, error.param) == (code, number, param)
    assert error.message
    assert upstream.attempts == []


async def test_all_that_is_wrong_with_an_input_is_said_at_once(gateway: RunningGateway) -> None:
    client = gateway.client()

    batch = await ended(client, await create_from(client, b"x\n" * 3 + jsonl(line("a")) + b"y\n"))

    assert batch.errors is not None
    assert [error.line for error in batch.errors.data or []] == [1, 2, 3, 5]


async def test_an_input_may_begin_with_a_mark_and_end_without_a_break(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    client = gateway.client()
    written = b"\xef\xbb\xbf" + jsonl(line("a"), line("b")).replace(b"\n", b"\r\n").rstrip()

    batch = await ended(client, await create_from(client, written))

    assert batch.status == "completed"
    assert sorted(await content(client, batch.output_file_id)) == ["a", "b"]


async def test_an_input_that_was_deleted_before_it_was_read_fails_the_batch(
    make_gateway: MakeGateway,
) -> None:
    idle = await make_gateway("batches: {concurrency: 0}")
    client = idle.client()
    batch = await create(client, line("a"))
    await client.files.delete(batch.input_file_id)

    await make_gateway(QUICK)

    batch = await ended(client, batch)
    assert batch.errors is not None
    assert [error.code for error in batch.errors.data or []] == ["file_not_found"]


@pytest.mark.parametrize(
    ("changes", "status", "param"),
    [
        ({"input_file_id": "file-unknown"}, 404, "input_file_id"),
        ({"input_file_id": "\x00"}, 404, "input_file_id"),
        ({"input_file_id": None}, 400, "input_file_id"),
        ({"endpoint": "/v1/images"}, 400, "endpoint"),
        ({"endpoint": ...}, 400, "endpoint"),
        ({"completion_window": "1h"}, 400, "completion_window"),
        ({"metadata": {"a": 1}}, 400, "metadata[...]"),
        ({"metadata": {str(n): "" for n in range(17)}}, 400, "metadata"),
        ({"metadata": {"a": "x" * 513}}, 400, "metadata[...]"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, 400, "output_expires_after.seconds"),
        ({"unknown": 1}, 400, None),
    ],
)  # fmt: skip
async def test_a_batch_that_cannot_be_is_refused_with_its_field(
    gateway: RunningGateway, changes: dict[str, Any], status: int, param: str | None
) -> None:
    client = gateway.client()
    file = await client.files.create(file=("in.jsonl", jsonl(line("a"))), purpose="batch")
    good = {"input_file_id": file.id, "endpoint": CHAT, "completion_window": "24h"}
    body = {name: value for name, value in {**good, **changes}.items() if value is not ...}

    async with gateway.http() as http:
        reply = await http.post("/v1/batches", json=body)

    assert (reply.status_code, reply.json()["error"]["param"]) == (status, param)
    assert (await client.batches.list()).data == []


async def test_what_is_no_json_object_is_no_batch(gateway: RunningGateway) -> None:
    async with gateway.http() as http:
        kind = {"content-type": "text/plain"}
        replies = [
            await http.post("/v1/batches", content=b"{", headers={"content-type": "application/json"}),
            await http.post("/v1/batches", content=b"[]", headers={"content-type": "application/json"}),
            await http.post("/v1/batches", content=b"{}", headers=kind),
            await http.post(
                "/v1/batches", content=b" " * 70_000, headers={"content-type": "application/json"}
            ),
        ]

    assert [reply.status_code for reply in replies] == [400, 400, 415, 413]


async def test_a_list_goes_on_where_its_page_ended(make_gateway: MakeGateway) -> None:
    gateway = await make_gateway("batches: {concurrency: 0}")
    client = gateway.client()
    made = [(await create(client, line("a"))).id for _ in range(3)]

    page = await client.batches.list(limit=2)
    every = [batch.id async for batch in client.batches.list(limit=2)]

    assert len(page.data) == 2
    assert page.has_more
    assert sorted(every) == sorted(made)


async def test_a_tenant_has_so_many_unfinished_batches(make_gateway: MakeGateway) -> None:
    gateway = await make_gateway("batches: {concurrency: 0, max_active: 1}")
    client = gateway.client()
    await create(client, line("a"))

    with pytest.raises(openai.RateLimitError, match="unfinished") as refused:
        await create(client, line("a"))

    assert refused.value.response.headers["x-should-retry"] == "false"
    await create(gateway.client(await gateway.new_key("rival", "paid")), line("a"))


@pytest.mark.fault("M10")
async def test_a_repeated_creation_with_the_same_key_makes_one_batch(gateway: RunningGateway) -> None:
    client = gateway.client()
    file = await client.files.create(file=("in.jsonl", jsonl(line("a"))), purpose="batch")
    body = {"input_file_id": file.id, "endpoint": CHAT, "completion_window": "24h"}

    async with gateway.http() as http:
        wrong = await http.post(
            "/v1/batches", json={**body, "endpoint": "x"}, headers={"idempotency-key": "k"}
        )
        first = await http.post("/v1/batches", json=body, headers={"idempotency-key": "k"})
        second = await http.post("/v1/batches", json=body, headers={"idempotency-key": "k"})

    assert wrong.status_code == 400
    assert second.content == first.content
    assert second.headers["x-weighbridge-idempotent-replay"] == "true"
    assert [batch.id async for batch in client.batches.list()] == [first.json()["id"]]


@pytest.mark.fault("A8")
async def test_another_tenants_batch_and_file_are_as_ones_that_do_not_exist(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    client = gateway.client()
    rival = gateway.client(await gateway.new_key("rival", "paid"))
    batch = await ended(client, await create(client, line("a")))
    assert batch.output_file_id is not None

    for act in (rival.batches.retrieve, rival.batches.cancel):
        with pytest.raises(openai.NotFoundError):
            await act(batch.id)
    for file_id in (batch.input_file_id, batch.output_file_id):
        with pytest.raises(openai.NotFoundError):
            await rival.files.content(file_id)
        with pytest.raises(openai.NotFoundError):
            await rival.batches.create(input_file_id=file_id, endpoint=CHAT, completion_window="24h")
    assert [found async for found in rival.batches.list()] == []


async def test_output_goes_when_its_owner_says(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    client = gateway.client()

    batch = await ended(
        client,
        await create(client, line("a"), output_expires_after={"anchor": "created_at", "seconds": 3600}),
    )

    assert batch.output_file_id is not None
    output = await client.files.retrieve(batch.output_file_id)
    assert output.expires_at == output.created_at + 3600


async def test_a_cancelled_batch_keeps_what_was_done_and_runs_no_more(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    gate = asyncio.Event()
    upstream.answers("Pa", hold={0: gate})
    client = gateway.client()
    batch = await create(client, *(line(str(n)) for n in range(5)))
    await upstream.attempt(1)  # two lines are running

    cancelling = await client.batches.cancel(batch.id)
    again = await client.batches.cancel(batch.id)
    gate.set()
    batch = await ended(client, batch)

    assert cancelling.status == again.status == "cancelling"
    assert cancelling.cancelling_at is not None
    assert batch.status == "cancelled"
    assert batch.cancelled_at is not None
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 5, "completed": 2, "failed": 0}
    assert len(await content(client, batch.output_file_id)) == 2
    errors = await content(client, batch.error_file_id)
    assert {row["error"]["code"] for row in errors.values()} == {"batch_cancelled"}
    assert {row["response"] for row in errors.values()} == {None}
    assert len(upstream.attempts) == 2


async def test_what_is_over_cannot_be_cancelled(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    client = gateway.client()
    batch = await ended(client, await create(client, line("a")))

    with pytest.raises(openai.BadRequestError, match="completed"):
        await client.batches.cancel(batch.id)
    with pytest.raises(openai.NotFoundError):
        await client.batches.cancel("batch_unknown")


async def ended_while_time_passes(client: openai.AsyncOpenAI, batch: Batch, clock: ManualClock) -> Batch:
    async with asyncio.timeout(60):
        while batch.status not in ("completed", "expired"):
            clock.advance(1)
            batch = await client.batches.retrieve(batch.id)
    return batch


async def test_when_its_time_is_over_a_batch_has_what_is_done(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    clock = ManualClock()
    gateway = await make_gateway(QUICK, clock=clock)
    client = gateway.client()
    upstream.answers("Paris", times=1)
    upstream.refuses(429)
    batch = await create(client, line("a"), line("b"))
    await upstream.attempt(1)

    clock.advance(86_400)
    batch = await ended_while_time_passes(client, batch, clock)

    assert batch.status == "expired"
    assert batch.expired_at is not None
    assert len(await content(client, batch.output_file_id)) == 1
    [unfinished] = (await content(client, batch.error_file_id)).values()
    assert (unfinished["response"], unfinished["error"]["code"]) == (None, "batch_expired")


@pytest.mark.parametrize("status", [429, 503])
async def test_a_line_whose_upstream_is_busy_is_tried_again_later(
    make_gateway: MakeGateway, upstream: ScriptedUpstream, status: int
) -> None:
    clock = ManualClock()
    gateway = await make_gateway(QUICK, clock=clock)
    client = gateway.client()
    upstream.refuses(status, times=1)
    upstream.answers("Paris")
    batch = await create(client, line("a"))
    await upstream.attempt(0)

    batch = await ended_while_time_passes(client, batch, clock)

    assert (await content(client, batch.output_file_id))["a"]["response"]["status_code"] == 200
    assert [entry.outcome for entry in await gateway.entries()] == ["ok"]


async def test_an_upstream_that_cannot_be_reached_is_not_asked_for_ever(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    clock = ManualClock()
    gateway = await make_gateway(
        QUICK
        + """
upstreams:
  local:
    base_url: http://127.0.0.1:1
    is_breaker_enabled: false
    models: {small: {size: small, free: true}}
""",
        clock=clock,
    )
    client = gateway.client()

    batch = await create(client, line("a"))
    batch = await ended_while_time_passes(client, batch, clock)

    row = (await content(client, batch.error_file_id))["a"]
    assert row["response"]["status_code"] == 502
    assert len([one for one in await gateway.log_lines() if one["event"] == "request.done"]) == 5


@pytest.mark.fault("M9")
async def test_a_line_that_may_have_been_charged_is_not_tried_again(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.refuses(500, prompt_tokens=3)
    client = gateway.client()

    batch = await ended(client, await create(client, line("a")))

    assert (await content(client, batch.error_file_id))["a"]["response"]["status_code"] == 502
    assert len(upstream.attempts) == 1


async def test_a_used_up_budget_fails_the_line_with_what_an_interactive_request_would_get(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    key = await gateway.new_key("poor", "paid", budget_per_month=1)
    client = gateway.client(key)

    batch = await ended(client, await create(client, line("a")))

    row = (await content(client, batch.error_file_id))["a"]
    assert row["response"]["status_code"] == 429
    assert row["response"]["body"]["error"]["code"] == "insufficient_quota"
    assert upstream.attempts == []


async def test_lines_do_not_use_up_the_rates_of_interactive_requests(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    client = gateway.client(await gateway.new_key("tiny", "free"))

    batch = await ended(client, await create(client, *(line(str(n), model="auto") for n in range(12))))

    assert batch.request_counts is not None
    assert batch.request_counts.completed == 12  # the plan allows ten requests a minute
    await client.chat.completions.create(model="auto", messages=HELLO)


@pytest.mark.parametrize("how", ["key", "tenant"])
async def test_a_key_that_counts_no_more_stops_its_batches(
    gateway: RunningGateway, upstream: ScriptedUpstream, how: str
) -> None:
    gate = asyncio.Event()
    upstream.answers("Paris", hold={0: gate})
    client = gateway.client()
    batch = await create(client, *(line(str(n)) for n in range(5)))
    await upstream.attempt(1)
    other = await gateway.new_key("acme", "paid")
    accounts = gateway.app.accounts

    if how == "key":
        key_id = gateway.key.split("-")[2]
        await asyncio.to_thread(accounts.revoke_key, key_id, actor="test")
    else:
        await asyncio.to_thread(accounts.update_tenant, "acme", is_active=False, actor="test")
    gate.set()
    await _no_longer_in_progress(gateway, batch.id)
    await asyncio.to_thread(accounts.update_tenant, "acme", is_active=True, actor="test")

    client = gateway.client(other)
    batch = await ended(client, await client.batches.retrieve(batch.id))
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 5, "completed": 2, "failed": 3}
    errors = await content(client, batch.error_file_id)
    assert {row["error"]["code"] for row in errors.values()} == {"invalid_api_key"}
    assert len(upstream.attempts) == 2


async def _no_longer_in_progress(gateway: RunningGateway, batch_id: str) -> None:
    import sqlalchemy as sa

    from gateway.ledger.schema import batches

    def status() -> str:
        with gateway.app.database.reading() as connection:
            return str(connection.scalar(sa.select(batches.c.status).where(batches.c.id == batch_id)))

    async with asyncio.timeout(60):
        while await asyncio.to_thread(status) in ("validating", "in_progress"):
            pass


async def test_no_line_begins_while_interactive_requests_need_the_machine(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await make_gateway("batches: {poll_s: 0.02, pauses_at: 1}")
    client = gateway.client()
    gate = asyncio.Event()
    upstream.model("medium").answers("slow", hold={0: gate})
    batch = await create(client, line("a"))
    await ended(client, batch)
    before = len(upstream.attempts)

    async with asyncio.TaskGroup() as asking:
        for _ in range(2):
            asking.create_task(client.chat.completions.create(model="medium", messages=HELLO))
        await upstream.attempt(before + 1)
        assert gateway.app.runner.is_yielding
        second = await create(client, line("b"))
        # Other requests come and go, and still nothing of the batch has begun.
        for _ in range(20):
            await client.chat.completions.create(model="small", messages=HELLO)
        assert (await client.batches.retrieve(second.id)).status == "validating"
        assert [a.model for a in upstream.attempts[before:]] == ["medium"] * 2 + ["small"] * 20
        gate.set()

    assert (await ended(client, second)).status == "completed"


async def test_at_most_so_many_lines_run_at_once_and_interactive_requests_pass_them(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    gate = asyncio.Event()
    upstream.answers("slow", hold={0: gate})
    upstream.model("medium").answers("quick")
    client = gateway.client()
    batch = await create(client, *(line(str(n)) for n in range(10)))
    await upstream.attempt(1)

    for _ in range(10):
        await client.chat.completions.create(model="medium", messages=HELLO)

    assert [a.model for a in upstream.attempts] == ["small"] * 2 + ["medium"] * 10
    gate.set()
    assert (await ended(client, batch)).status == "completed"


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def test_two_gateways_share_a_batch_and_run_each_line_once(
    make_gateway: MakeGateway, upstream: ScriptedUpstream, request: pytest.FixtureRequest, kind: str
) -> None:
    gate = asyncio.Event()
    upstream.answers("Paris", hold={0: gate})
    url = request.getfixturevalue("migrated_postgres_url") if kind == "postgres" else ""
    first, _second = await make_gateway(QUICK, database_url=url), await make_gateway(QUICK, database_url=url)
    client = first.client()

    batch = await create(client, *(line(f"line {n}") for n in range(20)))
    await upstream.attempt(3)  # two at each
    gate.set()
    batch = await ended(client, batch)

    assert batch.request_counts is not None
    assert batch.request_counts.completed == 20
    assert len(await content(client, batch.output_file_id)) == 20
    asked = [attempt.body["messages"][0]["content"] for attempt in upstream.attempts]
    assert sorted(asked) == sorted(f"line {n}" for n in range(20))


QUESTION = {"model": "gpt-4.1-mini", "messages": HELLO}


@pytest.mark.parametrize(
    ("endpoint", "body", "told"),
    [
        ("/v1/chat/completions", QUESTION, "chat.completion"),
        ("/v1/completions", {"model": "gpt-4.1-mini", "prompt": "Hello"}, "text_completion"),
        ("/v1/responses", {"model": "gpt-4.1-mini", "input": "Hello"}, "response"),
        ("/v1/embeddings", {"model": "text-embedding-3-small", "input": "Hello"}, "list"),
        ("/v1/moderations", {"model": "omni-moderation-latest", "input": "Hello"}, None),
    ],
)
async def test_lines_of_each_endpoint_are_answered_as_interactive_requests_are(
    make_gateway: MakeGateway,
    obliging_upstream: ObligingUpstream,
    tmp_path: Path,
    endpoint: str,
    body: dict[str, Any],
    told: str | None,
) -> None:
    key = tmp_path / "key"
    key.write_text(obliging_upstream.key)
    gateway = await make_gateway(QUICK + UPSTREAMS.format(url=obliging_upstream.url, key=key))
    client = gateway.client()
    good = {"custom_id": "good", "method": "POST", "url": endpoint, "body": body}
    bad = {**good, "custom_id": "bad", "body": {**body, "model": "nope"}}

    batch = await ended(client, await create(client, good, bad, endpoint=endpoint))
    async with gateway.http() as http:
        interactive = await http.post(endpoint, json=body)

    rows = await content(client, batch.output_file_id)
    answer = rows["good"]["response"]["body"]
    assert answer.get("object") == told
    assert set(answer) == set(interactive.json())
    errors = await content(client, batch.error_file_id)
    assert errors["bad"]["response"]["body"]["error"]["code"] == "model_not_found"
