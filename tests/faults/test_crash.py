"""kill -9 at every step between the upstream's reply and the ledger: the charge is there once, and nothing is held."""

import contextlib
import signal

import httpx
import pytest

from tests.fixtures.processes import GatewayProcess
from tests.fixtures.scripted_upstream import ScriptedUpstream

STEPS = ["after_intent", "after_reply", "after_journal", "after_counters", "after_ledger"]


@pytest.mark.fault("M3")
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("step", STEPS)
async def test_a_process_killed_before_the_ledger_knows_charges_once_when_it_is_back(
    gateway_process: GatewayProcess, upstream: ScriptedUpstream, step: str, stream: bool
) -> None:
    upstream.answers("Pa", "ris")
    await gateway_process.start(crash_at=step)
    with contextlib.suppress(httpx.TransportError):
        await gateway_process.ask(stream=stream)
    assert await gateway_process.died() == -signal.SIGKILL

    await gateway_process.start()

    [row] = await gateway_process.spend()
    assert row["requests"] == 1
    billed = sum(a.prompt_tokens * 1_000 + a.completion_tokens * 2_000 for a in upstream.invoice)
    cost, suspense = nano(row["cost_usd"]), nano(row["suspense_usd"])
    if step in ("after_intent", "after_reply"):
        assert cost + suspense >= billed  # what it cannot know is estimated, and carried by the house
        assert nano(row["estimated_cost_usd"]) == cost > 0
    else:
        assert (cost, suspense) == (billed, 0)
    # The tenant may have one request at a time: a hold left behind would refuse this one.
    assert (await gateway_process.ask()).status_code == 200
    await gateway_process.stop()
    await gateway_process.start()
    assert [r["requests"] for r in await gateway_process.spend()] == [2]  # replaying again adds nothing


def nano(usd: object) -> int:
    whole, _, decimals = str(usd).partition(".")
    return int(whole) * 10**9 + int(decimals)


@pytest.mark.fault("S22")
async def test_a_process_told_to_stop_lets_a_stream_finish_and_leaves_everything_in_the_ledger(
    gateway_process: GatewayProcess, upstream: ScriptedUpstream
) -> None:
    import asyncio

    gate = asyncio.Event()
    upstream.answers("Pa", "ris", hold={1: gate})
    await gateway_process.start()
    asking = asyncio.ensure_future(gateway_process.ask(stream=True))  # noqa: TID251 - awaited below
    await upstream.attempt(0)

    assert gateway_process.process
    gateway_process.process.send_signal(signal.SIGTERM)
    gate.set()
    reply = await asking

    assert reply.text.endswith("data: [DONE]\n\n")
    assert await gateway_process.died() == 0
    await gateway_process.start()
    assert [row["requests"] for row in await gateway_process.spend()] == [1]
