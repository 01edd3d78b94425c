"""An upstream that is a gateway, in the end this one: nothing goes round in circles, and nothing is charged."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gateway.hops import HEADER
from tests.fixtures.gateway import MakeGateway, RunningGateway
from tests.fixtures.scripted_upstream import ScriptedUpstream

ITSELF = """
upstreams:
  loop:
    base_url: {url}/v1
    dialect: {dialect}
    api_key_file: {key_file}
    models: {{round: {{size: small, price: {{input: 1, output: 2}}, upstream_model: round}}}}
"""
MESSAGES = [{"role": "user", "content": "Hello"}]
ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "round", "messages": MESSAGES},
    "/v1/completions": {"model": "round", "prompt": "Hello"},
    "/v1/responses": {"model": "round", "input": "Hello"},
    "/v1/messages": {"model": "round", "max_tokens": 5, "messages": MESSAGES},
}


class _Relayed:
    """Stands where the gateway will be, before it is known where that is: passes calls on, and counts them."""

    def __init__(self, upstream: ScriptedUpstream) -> None:
        self.calls: Counter[str] = Counter()
        self.gateway: RunningGateway | None = None
        upstream.does(self._pass_on)

    async def _pass_on(self, attempt: Any, wire: Any) -> None:
        assert self.gateway is not None
        hops = attempt.headers[HEADER]
        self.calls[hops] += 1
        headers = {"content-type": "application/json", HEADER: hops}
        async with self.gateway.http() as http:
            reply = await http.post(attempt.path, content=attempt.raw, headers=headers)
        await wire.reply(reply.status_code, reply.content)


@pytest.mark.fault("M34")
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("path", ASKED)
async def test_a_gateway_that_is_its_own_upstream_says_so_and_charges_nothing(
    make_gateway: MakeGateway,
    upstream: ScriptedUpstream,
    tmp_path: Path,
    path: str,
    is_stream: bool,
    dialect: str,
) -> None:
    relayed = _Relayed(upstream)
    key_file = tmp_path / "key"
    key_file.write_text("any")
    url = upstream.url.removesuffix("/v1")
    gateway = relayed.gateway = await make_gateway(ITSELF.format(url=url, dialect=dialect, key_file=key_file))

    async with gateway.http() as http:
        reply = await http.post(path, json={**ASKED[path], "stream": is_stream})

    assert reply.status_code == 400, reply.text
    assert "has passed 2 gateways before" in reply.json()["error"]["message"]
    assert relayed.calls == {"1": 1, "2": 1, "3": 1}
    assert await gateway.entries() == []


@pytest.mark.fault("M34")
@pytest.mark.parametrize("hops", ["3", "9", "-1", "x", "", "1" * 5000])
async def test_whoever_has_passed_too_many_or_says_nonsense_is_refused_before_anything_else(
    gateway: RunningGateway, upstream: ScriptedUpstream, hops: str
) -> None:
    async with gateway.http() as http:
        reply = await http.post(
            "/v1/chat/completions", json={"model": "small", "messages": MESSAGES}, headers={HEADER: hops}
        )

    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "request_loop_detected")
    assert upstream.attempts == []


@pytest.mark.fault("M34")
async def test_a_gateway_behind_a_gateway_works(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    async with gateway.http() as http:
        reply = await http.post(
            "/v1/chat/completions", json={"model": "small", "messages": MESSAGES}, headers={HEADER: "2"}
        )

    assert reply.status_code == 200
    assert upstream.attempts[0].headers[HEADER] == "3"
