"""kill -9 in the middle of a batch: what was answered by then is not asked again, and the rest is done."""

import asyncio
import signal
from collections.abc import AsyncIterator

import httpx
import openai
import pytest

from tests.fixtures.batch_lines import content, create, ended, line, until
from tests.fixtures.processes import GatewayProcess
from tests.fixtures.scripted_upstream import ScriptedUpstream

LINES = [line(f"line {number}") for number in range(6)]


@pytest.fixture
def process(gateway_process: GatewayProcess) -> GatewayProcess:
    settings = "batches: {lease_s: 1, poll_s: 0.05}\n"
    gateway_process.config_file.write_text(gateway_process.config_file.read_text() + settings)
    return gateway_process


@pytest.fixture
async def client(process: GatewayProcess) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{process.url}/v1", api_key=process.key, max_retries=0) as client:
        yield client


def asked(upstream: ScriptedUpstream) -> list[str]:
    return [attempt.body["messages"][0]["content"] for attempt in upstream.attempts]


@pytest.mark.fault("M3")
async def test_after_a_crash_only_the_lines_that_were_not_answered_run(
    process: GatewayProcess, client: openai.AsyncOpenAI, upstream: ScriptedUpstream
) -> None:
    gate = asyncio.Event()
    upstream.answers("Paris", times=3)
    upstream.answers("Paris", hold={0: gate})
    await process.start()
    batch = await create(client, *LINES)
    await upstream.attempt(4)  # a place is free once its line is recorded: three are, and two are running
    running = asked(upstream)[3:]

    assert process.process
    process.process.kill()
    assert await process.died() == -signal.SIGKILL
    gate.set()
    await process.start()
    batch = await ended(client, batch)

    assert batch.status == "completed"
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 6, "completed": 6, "failed": 0}
    assert sorted(await content(client, batch.output_file_id)) == [one["custom_id"] for one in LINES]
    assert sorted(asked(upstream)) == sorted([one["custom_id"] for one in LINES] + running)
    [row] = await process.spend()
    assert row["requests"] == 8  # those that were running are in the ledger, as what they may have cost


@pytest.mark.fault("S22")
async def test_a_process_told_to_stop_finishes_its_lines_and_begins_no_others(
    process: GatewayProcess, client: openai.AsyncOpenAI, upstream: ScriptedUpstream
) -> None:
    gate = asyncio.Event()
    upstream.answers("Paris", hold={0: gate})
    await process.start()
    batch = await create(client, *LINES)
    await upstream.attempt(1)

    assert process.process
    process.process.send_signal(signal.SIGTERM)
    await _stopping(process)
    gate.set()
    assert await process.died() == 0
    before = asked(upstream)
    await process.start()
    batch = await ended(client, batch)

    assert len(before) == 2
    assert sorted(asked(upstream)) == [one["custom_id"] for one in LINES]
    assert batch.request_counts is not None
    assert batch.request_counts.completed == 6
    assert [row["requests"] for row in await process.spend()] == [6]


async def _stopping(process: GatewayProcess) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        while True:
            try:
                if (await http.get(f"{process.url}/readyz")).status_code == 503:
                    return
            except httpx.TransportError:
                return


async def test_a_batch_waits_for_a_gateway_that_works_on_batches(
    process: GatewayProcess, client: openai.AsyncOpenAI, upstream: ScriptedUpstream
) -> None:
    text = process.config_file.read_text()
    process.config_file.write_text(text.replace("lease_s: 1", "lease_s: 1, concurrency: 0"))
    await process.start()
    batch = await create(client, *LINES)
    assert await process.stop() == 0
    process.config_file.write_text(text)

    await process.start()

    assert (await until(client, batch, "completed")).request_counts is not None
    assert len(upstream.attempts) == 6
