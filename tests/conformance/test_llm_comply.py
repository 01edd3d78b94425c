"""The compliance suite of the wheel `llm-comply`, against a gateway behind which answers a provider that means well."""

import asyncio
from pathlib import Path
from typing import Any

import llm_comply
import pytest
from llm_comply.tests import get_tests

from gateway.app import StoreUrls
from tests.clients.ours import our_gateway
from tests.fixtures.obliging_upstream import CHAT_MODEL, CLAUDE_MODEL, REASONING_MODEL, ObligingUpstream
from tests.fixtures.oracle_specs import Spec, document

# Its validator is deprecated by those who made it.
pytestmark = pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")

SPECS: dict[str, Spec] = {
    "openai-chat": "openai_chat",
    "open-responses": "openresponses",
    "anthropic": "anthropic",
}
EXCUSED = {
    # It sends `reasoning`, which belongs to another API: OpenAI refuses it at this endpoint too.
    ("openai-chat", REASONING_MODEL): {"chat-reasoning-summary"},
    # A `phase` cannot be told to Anthropic's models, and nothing is dropped in silence.
    ("open-responses", CLAUDE_MODEL): {"assistant-phase"},
}


def comply(form: str, url: str, key: str, model: str) -> dict[str, tuple[llm_comply.TestStatus, Any]]:
    spec = llm_comply.SpecLoader()
    spec._spec = {"components": document(SPECS[form])}
    spec._schemas = spec._spec["components"]["schemas"]
    config = llm_comply.ComplianceConfig(base_url=url, api_key=key, model=model)
    if form == "anthropic":
        version = {"anthropic-version": "2023-06-01"}
        config = llm_comply.ComplianceConfig(
            url, key, model, "x-api-key", use_bearer_prefix=False, extra_headers=version
        )
    suite = llm_comply.TestRunner(config, get_tests(form), spec).run_all()
    return {result.id: (result.status, result.errors) for result in suite.results}


@pytest.mark.parametrize(
    ("form", "model"),
    [
        ("openai-chat", CHAT_MODEL),
        ("openai-chat", REASONING_MODEL),
        ("openai-chat", CLAUDE_MODEL),
        ("open-responses", CHAT_MODEL),
        ("open-responses", CLAUDE_MODEL),
        ("anthropic", CLAUDE_MODEL),
        ("anthropic", CHAT_MODEL),
    ],
)
async def test_the_suite_finds_nothing_whatever_the_upstream_speaks(
    form: str, model: str, tmp_path: Path, gateway_stores: StoreUrls, obliging_upstream: ObligingUpstream
) -> None:
    async with our_gateway(tmp_path, gateway_stores, obliging_upstream) as (_, target):
        results = await asyncio.to_thread(comply, form, target.base_url, target.api_key, model)

    failed = {
        name: errors for name, (status, errors) in results.items() if status is llm_comply.TestStatus.FAILED
    }
    passed = [name for name, (status, _) in results.items() if status is llm_comply.TestStatus.PASSED]
    assert set(failed) == EXCUSED.get((form, model), set()), failed
    assert len(passed) >= 8
