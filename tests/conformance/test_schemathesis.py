"""Requests that our own descriptions allow, and some that they do not: nothing may be answered that they do not say.

A process of its own, as its authors meant it; the gateway stands in this one, and a provider that means well behind it.
"""

import asyncio
import sys
from pathlib import Path

from gateway.app import StoreUrls
from tests.clients.ours import our_gateway
from tests.fixtures.gateway import RunningGateway
from tests.fixtures.obliging_upstream import ObligingUpstream

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
    "response_headers_conformance,unsupported_method,allow_header_conformance,ignored_auth"
)
OPTIONS = f"""
    --checks {CHECKS} --phases examples,coverage,fuzzing --max-examples 5 --seed 1
    --generation-database none --warnings off --no-color
"""


async def fuzz(url: str, document: bytes, key: str, folder: Path) -> str:
    """What it complains of; empty if it is content."""
    described, config = folder / "openapi.json", folder / "schemathesis.toml"
    described.write_bytes(document)
    config.write_text(f'[auth.openapi]\nbearer = {{ bearer = "{key}" }}\napiKey = {{ api_key = "{key}" }}\n')
    own = ["--config-file", str(config), "run", str(described), "--url", url]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", *own, *OPTIONS.split()),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return "" if process.returncode == 0 else output.decode()


async def test_the_apps_listener_answers_what_it_describes(
    tmp_path: Path, gateway_stores: StoreUrls, obliging_upstream: ObligingUpstream
) -> None:
    async with our_gateway(tmp_path, gateway_stores, obliging_upstream) as (gateway, target):
        async with gateway.http() as http:
            document = (await http.get("/openapi.json")).content
        # What it asks for may be nonsense of which only a model's server knows, and comes back as it was asked for.
        with gateway.oracle.blind():
            complaints = await fuzz(gateway.url, document, target.api_key, tmp_path)

    assert not complaints, complaints


async def test_the_admin_listener_answers_what_it_describes(gateway: RunningGateway, tmp_path: Path) -> None:
    async with gateway.admin() as admin:
        document = (await admin.get("/schema/openapi.json")).content

    complaints = await fuzz(gateway.admin_url, document, gateway.admin_key, tmp_path)

    assert not complaints, complaints
