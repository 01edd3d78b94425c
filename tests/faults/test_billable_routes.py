"""Every route that can cost money, taken from the application itself: a new one without a case here fails."""

from typing import Any

import pytest

from tests.fixtures.gateway import MakeGateway, RunningGateway
from tests.fixtures.scripted_upstream import ScriptedUpstream

UPSTREAMS = """
upstreams:
  local:
    base_url: {url}
    models:
      chat: {{size: small, price: {{input: 1, output: 2}}, abilities: [completions]}}
      vectors: {{kind: embedding, size: small, price: {{input: 1, output: 0}}}}
      verdicts: {{kind: moderation, size: small, price: {{input: 1, output: 0}}}}
"""
MESSAGES = [{"role": "user", "content": "Hello"}]
BILLABLE: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "chat", "messages": MESSAGES},
    "/v1/completions": {"model": "chat", "prompt": "Hello"},
    "/v1/embeddings": {"model": "vectors", "input": "Hello"},
    "/v1/messages": {"model": "chat", "max_tokens": 5, "messages": MESSAGES},
    "/v1/moderations": {"input": "Hello"},
    "/v1/responses": {"model": "chat", "input": "Hello"},
}
FREE = {
    "/v1/messages/count_tokens": "counts with our own tokenizer",
    "/v1/files": "stores what a batch will do",
    "/v1/batches": "its lines are charged one by one when they run",
    "/v1/batches/{batch_id:str}/cancel": "only ends what runs",
    "/v1/responses/{response_id:str}": "none is stored",
    "/v1/weighbridge/feedback": "writes down a vote",
}
"""Why they cost nothing."""


def posted(gateway: RunningGateway) -> set[str]:
    """Every path that takes a POST: a route over raw ASGI takes whatever comes, and sorts it out by itself."""
    return {
        route.path
        for route in gateway.app.public.routes
        if not hasattr(route, "methods") or "POST" in route.methods
    }


@pytest.mark.fault("M32")
async def test_with_nothing_left_to_spend_every_billable_route_refuses_and_calls_nobody(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await make_gateway(UPSTREAMS.format(url=upstream.url))
    key = await gateway.new_key("broke", "paid", budget_per_month=0)
    routes = posted(gateway) - FREE.keys()

    async with gateway.http(key) as http:
        for path in routes:
            reply = await http.post(path, json=BILLABLE[path])

            error = reply.json()["error"]
            assert (reply.status_code, error["type"]) == (429, "insufficient_quota"), (path, reply.text)

    assert upstream.attempts == []
    assert await gateway.entries() == []


@pytest.mark.fault("M32")
async def test_each_of_these_requests_is_a_good_one_and_is_billed(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await make_gateway(UPSTREAMS.format(url=upstream.url))
    routes = sorted(posted(gateway) - FREE.keys())

    async with gateway.http() as http:
        statuses = [(await http.post(path, json=BILLABLE[path])).status_code for path in routes]

    assert statuses == [200] * len(routes)
    entries = await gateway.entries()
    assert len(entries) == len(upstream.invoice) == len(routes)
    assert all(entry.cost > 0 for entry in entries)
