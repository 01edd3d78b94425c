"""kill -9 in the middle of a cascade: every answer that was paid for is charged once, and nothing is held."""

import asyncio
import contextlib
import signal

import httpx
import pytest

from tests.fixtures.processes import GatewayProcess
from tests.fixtures.scripted_upstream import ScriptedUpstream

SMALL = "small: {size: small, price: {input: 1, output: 2}}"
MEDIUM = "medium: {size: medium, price: {input: 3, output: 6}}"


@pytest.fixture
def process(gateway_process: GatewayProcess) -> GatewayProcess:
    """Its small model answers nothing at all, which no judge lets pass."""
    file = gateway_process.config_file
    file.write_text(file.read_text().replace(SMALL, f"{SMALL}\n      {MEDIUM}"))
    return gateway_process


async def ask(process: GatewayProcess, *, stream: bool = False) -> httpx.Response:
    return await process.ask(model="auto:cascade", stream=stream, max_tokens=50)


def nano(usd: object) -> int:
    return round(float(str(usd)) * 10**9)


@pytest.mark.fault("M3")
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("step", ["after_reply", "after_deferral", "after_journal", "after_counters"])
async def test_a_process_killed_between_two_answers_charges_each_once_when_it_is_back(
    process: GatewayProcess, upstream: ScriptedUpstream, step: str, stream: bool
) -> None:
    upstream.model("small").answers("", output_tokens=5)
    upstream.model("medium").answers("Paris", output_tokens=1)
    await process.start(crash_at=step)
    with contextlib.suppress(httpx.TransportError):
        await ask(process, stream=stream)
    assert await process.died() == -signal.SIGKILL

    await process.start()

    rows = {row["model"]: row for row in await process.spend()}
    price = {"small": (1_000, 2_000), "medium": (3_000, 6_000)}
    billed = {
        a.model: a.prompt_tokens * price[a.model][0] + a.completion_tokens * price[a.model][1]
        for a in upstream.invoice
    }
    assert rows.keys() == billed.keys()
    for model, row in rows.items():
        assert row["requests"] == 1
        cost, suspense = nano(row["cost_usd"]), nano(row["suspense_usd"])
        if step in ("after_reply", "after_deferral"):
            assert cost + suspense >= billed[model]
        else:
            assert (cost, suspense) == (billed[model], 0)
    # The tenant may have one request at a time: a hold left behind would refuse this one.
    assert (await ask(process)).status_code == 200


@pytest.mark.fault("M3")
async def test_a_process_killed_during_the_second_answer_still_charges_what_the_first_one_wrote(
    process: GatewayProcess, upstream: ScriptedUpstream
) -> None:
    upstream.model("small").answers("", output_tokens=40)
    upstream.model("medium").hangs()
    await process.start()
    asking = asyncio.ensure_future(ask(process))  # noqa: TID251 - awaited below
    await upstream.attempt(1)

    await process.stop(signal.SIGKILL)
    with contextlib.suppress(httpx.TransportError):
        await asking
    await process.start()

    rows = {row["model"]: row for row in await process.spend()}
    assert nano(rows["small"]["cost_usd"]) >= 40 * 2_000
    assert nano(rows["medium"]["estimated_cost_usd"]) == nano(rows["medium"]["cost_usd"]) > 0
