"""Clients that apps use, unchanged but for the base URL: every case of every suite passes, every token is booked, and the page
that says so is current."""

from pathlib import Path

import pytest

from gateway.app import StoreUrls
from tests.clients.environments import UnavailableError
from tests.clients.ours import billed, booked, our_gateway
from tests.clients.suites import SUITES, Suite, run
from tests.clients.table import committed
from tests.fixtures.obliging_upstream import ObligingUpstream


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

    assert report.failures == {}
    assert committed(report.client) == (report.version, len(report.results), report.passed)
    assert ledger == billed(obliging_upstream)
