"""Idempotency-Key, as an app that retries sees it: one call of the upstream, one charge, one answer."""

import asyncio
from typing import Any

import openai
import pytest

from tests.fixtures.gateway import RunningGateway
from tests.fixtures.scripted_upstream import ScriptedUpstream

BODY: dict[str, Any] = {"model": "small", "messages": [{"role": "user", "content": "Hello"}]}
KEY = {"idempotency-key": "order-66"}


@pytest.mark.fault("M10")
async def test_a_retry_gets_the_same_answer_without_a_second_charge(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers("first", times=1)
    upstream.answers("second")

    async with gateway.http() as http:
        first = await http.post("/v1/chat/completions", json=BODY, headers=KEY)
        second = await http.post("/v1/chat/completions", json=BODY, headers=KEY)

    assert first.status_code == second.status_code == 200
    assert first.content == second.content
    assert second.headers["x-weighbridge-idempotent-replay"] == "true"
    assert len(upstream.attempts) == len(await gateway.entries()) == 1


@pytest.mark.fault("M10")
async def test_a_stream_is_replayed_as_a_stream(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    upstream.answers("Pa", "ris")

    async with gateway.http() as http:
        first = await http.post("/v1/chat/completions", json={**BODY, "stream": True}, headers=KEY)
        second = await http.post("/v1/chat/completions", json={**BODY, "stream": True}, headers=KEY)

    assert first.content == second.content
    assert second.headers["content-type"].startswith("text/event-stream")
    assert len(upstream.attempts) == 1


@pytest.mark.fault("M11")
async def test_of_parallel_requests_under_one_key_one_runs_and_the_others_are_told(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    gate = asyncio.Event()
    upstream.answers("Paris", hold={0: gate})

    async with gateway.http() as http, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(http.post("/v1/chat/completions", json=BODY, headers=KEY))
        await upstream.attempt(0)
        others = await asyncio.gather(
            *(http.post("/v1/chat/completions", json=BODY, headers=KEY) for _ in range(5))
        )
        gate.set()
        first = await running

    assert first.status_code == 200
    assert {other.status_code for other in others} == {409}
    assert others[0].json()["error"]["code"] == "idempotency_request_in_progress"
    assert others[0].headers["retry-after"] == "1"
    assert len(upstream.attempts) == 1


@pytest.mark.fault("M11")
async def test_another_body_under_the_same_key_is_refused_and_another_tenants_is_its_own(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    other = {**BODY, "messages": [{"role": "user", "content": "Bye"}]}
    rival = await gateway.new_key("rival", "paid")

    async with gateway.http() as http, gateway.http(rival) as rivals:
        await http.post("/v1/chat/completions", json=BODY, headers=KEY)
        mismatch = await http.post("/v1/chat/completions", json=other, headers=KEY)
        theirs = await rivals.post("/v1/chat/completions", json=other, headers=KEY)

    assert (mismatch.status_code, mismatch.json()["error"]["code"]) == (400, "idempotency_key_mismatch")
    assert theirs.status_code == 200
    assert len(upstream.attempts) == 2


async def test_a_request_that_failed_unbilled_may_be_repeated_under_its_key(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.refuses(503, times=1)
    upstream.answers("Paris")

    async with gateway.http() as http:
        failed = await http.post("/v1/chat/completions", json=BODY, headers=KEY)
        repeated = await http.post("/v1/chat/completions", json=BODY, headers=KEY)

    assert (failed.status_code, repeated.status_code) == (503, 200)


async def test_a_stream_that_broke_off_after_it_was_billed_is_not_run_again(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.breaks_off("reset", after=2)

    async with gateway.http() as http:
        await http.post("/v1/chat/completions", json={**BODY, "stream": True}, headers=KEY)
        repeated = await http.post("/v1/chat/completions", json={**BODY, "stream": True}, headers=KEY)

    assert repeated.status_code == 400
    assert repeated.json()["error"]["code"] == "idempotency_replay_unavailable"
    assert len(upstream.attempts) == 1


@pytest.mark.fault("M6")
async def test_an_answer_whose_client_had_left_waits_for_its_retry(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    gate = asyncio.Event()
    upstream.answers("Paris", hold={0: gate})
    body = {**BODY, "model": "cloud"}  # this upstream is drained when a client leaves

    async with gateway.http() as http:
        async with asyncio.TaskGroup() as tasks:
            left = tasks.create_task(http.post("/v1/chat/completions", json=body, headers=KEY))
            attempt = await upstream.attempt(0)
            left.cancel()
        gate.set()
        await attempt.ended.wait()
        await gateway.app.catch_up()
        retried = await http.post("/v1/chat/completions", json=body, headers=KEY)
        while retried.status_code == 409:  # the first has its answer, and has not put it away yet
            retried = await http.post("/v1/chat/completions", json=body, headers=KEY)

    assert retried.json()["choices"][0]["message"]["content"] == "Paris"
    assert len(upstream.attempts) == len(await gateway.entries()) == 1


async def test_the_sdk_raises_its_usual_error_for_a_key_that_was_used(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    client = gateway.client()

    reply = await client.chat.completions.create(**BODY, extra_headers=KEY)
    with pytest.raises(openai.BadRequestError) as refused:
        await client.chat.completions.create(**BODY, seed=1, extra_headers=KEY)

    assert reply.choices[0].message.content == "Paris"
    assert refused.value.code == "idempotency_key_mismatch"
    assert len(upstream.attempts) == 1
