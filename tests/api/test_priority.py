"""What a worker of ours is told of who should go first, and what nobody else is told."""

import pytest

from gateway.config import parse
from gateway.errors import ConfigError
from tests.fixtures.batch_lines import create, ended, line
from tests.fixtures.gateway import MakeGateway
from tests.fixtures.scripted_upstream import ScriptedUpstream
from workers.server import PRIORITY_HEADER

HEADER = PRIORITY_HEADER.decode()
CONFIG = """
batches: {{poll_s: 0.02, lease_s: 30}}
tiers: {{trial: {{priority: -5}}, slow: {{priority: 9}}, gold: {{priority: 45}}, boundless: {{priority: 1000000}}}}
upstreams:
  local:
    base_url: {url}
    is_worker: true
    models: {{small: {{size: small, price: {{input: 1, output: 2}}}}}}
  provider:
    base_url: {url}
    models:
      cloud: {{size: cloud, price: {{input: 1, output: 2}}}}
  claude:
    base_url: {url}
    dialect: anthropic
    models: {{claude: {{size: cloud, price: {{input: 1, output: 2}}}}}}
"""
MESSAGES = [{"role": "user", "content": "Hello"}]


@pytest.mark.parametrize(
    ("tier", "told"),
    [
        ("free", "1"),
        ("paid", "2"),
        ("vip", "3"),
        ("trial", "1"),
        ("slow", "1"),
        ("gold", "5"),
        ("boundless", "9"),
    ],
)
@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_worker_is_told_the_class_of_the_callers_plan(
    make_gateway: MakeGateway, upstream: ScriptedUpstream, tier: str, told: str, is_stream: bool
) -> None:
    gateway = await make_gateway(CONFIG.format(url=upstream.url))
    key = await gateway.new_key("other", tier)

    async with gateway.http(key) as http:
        body = {"model": "small", "messages": MESSAGES, "stream": is_stream}
        reply = await http.post("/v1/chat/completions", json=body)

    assert reply.status_code == 200, reply.text
    assert [attempt.headers[HEADER] for attempt in upstream.attempts] == [told]


async def test_a_batchs_line_is_of_the_lowest_class_whatever_the_plan(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await make_gateway(CONFIG.format(url=upstream.url))
    client = gateway.client(await gateway.new_key("other", "vip"))

    batch = await ended(client, await create(client, line("a")))

    assert batch.status == "completed"
    assert [attempt.headers[HEADER] for attempt in upstream.attempts] == ["0"]


@pytest.mark.parametrize("model", ["cloud", "claude"])
async def test_no_other_server_is_told(
    make_gateway: MakeGateway, upstream: ScriptedUpstream, model: str
) -> None:
    gateway = await make_gateway(CONFIG.format(url=upstream.url))

    async with gateway.http() as http:
        reply = await http.post("/v1/chat/completions", json={"model": model, "messages": MESSAGES})

    assert reply.status_code == 200, reply.text
    assert [HEADER in attempt.headers for attempt in upstream.attempts] == [False]


async def test_what_a_caller_says_of_his_own_class_goes_nowhere(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await make_gateway(CONFIG.format(url=upstream.url))

    async with gateway.http() as http:
        for model in ("small", "cloud"):
            body = {"model": model, "messages": MESSAGES}
            await http.post("/v1/chat/completions", json=body, headers={HEADER: "9"})

    assert [attempt.headers.get(HEADER) for attempt in upstream.attempts] == ["2", None]


def test_a_worker_speaks_openais_dialect() -> None:
    with pytest.raises(ConfigError, match=r"upstreams\.claude\.is_worker"):
        parse(CONFIG.format(url="http://127.0.0.1:1/v1").replace("dialect:", "is_worker: true\n    dialect:"))


VLLM = """
upstreams:
  big:
    base_url: {url}
    engine: vllm
    sends_priority: {sends}
    models: {{small: {{size: small, price: {{input: 1, output: 2}}, abilities: [completions]}}}}
"""


@pytest.mark.parametrize(("tier", "told"), [("free", -1), ("paid", -2), ("vip", -3)])
async def test_vllm_is_told_the_class_as_its_priority_where_lower_goes_first(
    make_gateway: MakeGateway, upstream: ScriptedUpstream, tier: str, told: int
) -> None:
    gateway = await make_gateway(VLLM.format(url=upstream.url, sends="true"))

    async with gateway.http(await gateway.new_key("other", tier)) as http:
        chat = {"model": "small", "messages": MESSAGES, "priority": -1000}
        assert (await http.post("/v1/chat/completions", json=chat)).status_code == 200
        legacy = {"model": "small", "prompt": "Hello"}
        assert (await http.post("/v1/completions", json=legacy)).status_code == 200

    assert [attempt.body["priority"] for attempt in upstream.attempts] == [told, told]
    assert all(HEADER not in attempt.headers for attempt in upstream.attempts)


async def test_vllm_is_not_told_unless_the_file_says_that_it_wants_to_know(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    gateway = await make_gateway(VLLM.format(url=upstream.url, sends="false"))

    async with gateway.http() as http:
        await http.post("/v1/chat/completions", json={"model": "small", "messages": MESSAGES})

    assert "priority" not in upstream.attempts[0].body


@pytest.mark.parametrize("kind", ["engine: sglang", "is_worker: true", "engine: vllm, dialect: anthropic"])
def test_only_vllms_own_api_takes_a_priority(kind: str) -> None:
    text = f"upstreams: {{a: {{base_url: 'http://127.0.0.1:1/v1', {kind}, sends_priority: true, models: {{m: {{size: small, free: true}}}}}}}}"

    with pytest.raises(ConfigError, match=r"upstreams\.a\.sends_priority: only for `engine: vllm`"):
        parse(text)
