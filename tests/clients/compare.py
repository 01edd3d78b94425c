"""Runs every client suite against our gateway and against LiteLLM's proxy, each before a provider of its own that answers
alike, and writes docs/reference/compatibility.md: `python -m tests.clients.compare`. It installs what is missing.

Suites can be named, to see their failures; the page is written only when all of them ran against both.
"""

import argparse
import asyncio
import contextlib
import datetime
import io
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

from gateway import __version__
from gateway.app import StoreUrls
from gateway.limits.embedded import EmbeddedStore
from tests.clients import table
from tests.clients.litellm_proxy.server import litellm_proxy, version
from tests.clients.ours import our_gateway
from tests.clients.suites import SUITES, Report, Suite, Target, run
from tests.fixtures.obliging_upstream import ObligingUpstream

OURS = "Weighbridge"
PEER = "LiteLLM proxy"


@asynccontextmanager
async def ours(folder: Path, upstream: ObligingUpstream) -> AsyncIterator[Target]:
    stores = [EmbeddedStore(folder / purpose, purpose=purpose) for purpose in ("limits", "cache")]
    async with AsyncExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))  # its log, for tests that fail
        for store in stores:
            await asyncio.to_thread(store.start)
            stack.callback(store.stop)
        urls = StoreUrls(limits=stores[0].url, cache=stores[1].url)
        _, target = await stack.enter_async_context(our_gateway(folder, urls, upstream))
        yield target


async def reports(server: str, suites: Sequence[Suite]) -> list[Report]:
    with tempfile.TemporaryDirectory() as folder:
        async with ObligingUpstream() as upstream, _serving(server, Path(folder), upstream) as target:
            return [await _told(server, suite, target) for suite in suites]


def _serving(server: str, folder: Path, upstream: ObligingUpstream) -> AbstractAsyncContextManager[Target]:
    if server == OURS:
        return ours(folder, upstream)
    return litellm_proxy(folder, upstream)


async def _told(server: str, suite: Suite, target: Target) -> Report:
    report = await run(suite, target)
    print(f"{server}: {report.client}: {report.passed} of {len(report.results)}", file=sys.stderr)
    return report


async def main(names: Sequence[str], servers: Sequence[str]) -> None:
    suites = [suite for suite in SUITES if not names or suite.name in names]
    columns = {server: await reports(server, suites) for server in servers}
    versions = {OURS: __version__, PEER: version()}
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    page = table.page(columns, versions, today)
    if len(suites) == len(SUITES) and len(servers) == 2:
        table.PAGE.write_text(page, encoding="utf-8")
    else:
        print(page)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(prog="python -m tests.clients.compare", description=__doc__)
    arguments.add_argument("suite", nargs="*", help=", ".join(suite.name for suite in SUITES))
    arguments.add_argument("--only", choices=("ours", "peer"), help="leave the other server out")
    chosen = arguments.parse_args()
    asyncio.run(main(chosen.suite, {"ours": [OURS], "peer": [PEER], None: [OURS, PEER]}[chosen.only]))
