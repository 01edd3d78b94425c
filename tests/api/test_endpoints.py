"""A gateway before upstreams of several servers: what callers, the ledger and the admins see of them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.fleet.contract import Endpoint, Roster
from gateway.fleet.roster import roster_path, write
from tests.fixtures.gateway import MakeGateway, RunningGateway
from tests.fixtures.scripted_upstream import Attempt, ScriptedUpstream, Wire

MakeUpstream = Callable[..., Awaitable[ScriptedUpstream]]
CONFIG = """
policies: {{default: cheapest}}
upstreams:
  local:
    base_urls: [{urls}]
    {settings}
    models: {{small: {{size: small, price: {{input: 1, output: 2}}}}}}
  cloud:
    base_url: {cloud}
    models: {{cloud: {{size: cloud, price: {{input: 10, output: 30}}}}}}
"""
MESSAGES = [{"role": "user", "content": "Capital of France?"}]


class Fleet:
    def __init__(
        self, gateway: RunningGateway, local: list[ScriptedUpstream], cloud: ScriptedUpstream
    ) -> None:
        self.gateway = gateway
        self.local = local
        self.cloud = cloud
        self.http = gateway.http()

    async def ask(self, model: str = "small", *, is_stream: bool = False, **body: Any) -> httpx.Response:
        asked = {"model": model, "messages": MESSAGES, "stream": is_stream, **body}
        return await self.http.post("/v1/chat/completions", json=asked)

    async def counted(self, name: str) -> list[str]:
        page = (await self.http.get("/metrics")).text
        start = f"{name}_total"
        return [line.removeprefix(start) for line in page.splitlines() if line.startswith(start)]


MakeFleet = Callable[..., Awaitable[Fleet]]


@pytest.fixture
async def make_fleet(make_gateway: MakeGateway, make_upstream: MakeUpstream) -> AsyncIterator[MakeFleet]:
    fleets: list[Fleet] = []

    async def make(settings: str = "is_worker: true", count: int = 2) -> Fleet:
        local = [await make_upstream() for _ in range(count)]
        for number, upstream in enumerate(local):
            upstream.answers(f"from {number}", prompt_tokens=5, output_tokens=7)
        cloud = await make_upstream()
        urls = ", ".join(upstream.url for upstream in local)
        gateway = await make_gateway(CONFIG.format(urls=urls, settings=settings, cloud=cloud.url))
        fleets.append(Fleet(gateway, local, cloud))
        return fleets[-1]

    yield make
    for fleet in fleets:
        await fleet.http.aclose()


@pytest.mark.fault("S3")
@pytest.mark.parametrize("is_stream", [False, True])
async def test_another_server_is_tried_before_a_dearer_model(make_fleet: MakeFleet, is_stream: bool) -> None:
    fleet = await make_fleet("")
    fleet.local[0].refuses(503)

    replies = [await fleet.ask("auto", is_stream=is_stream, seed=number) for number in range(4)]

    assert ["from 1" in reply.text for reply in replies] == [True] * 4
    assert fleet.cloud.attempts == []
    entries = await fleet.gateway.entries()
    assert [(entry.upstream, entry.attempt, entry.outcome) for entry in entries] == [("local", 1, "ok")] * 4
    assert sum(entry.cost for entry in entries) == 4 * (5 * 1_000 + 7 * 2_000)
    assert await fleet.counted("weighbridge_upstream_attempts") == ['{outcome="ok",upstream="local"} 4.0']
    assert await fleet.counted("weighbridge_endpoint_failures") == ['{reason="busy",upstream="local"} 2.0']


@pytest.mark.fault("S3")
async def test_when_all_its_servers_are_away_an_upstream_has_failed_once(make_fleet: MakeFleet) -> None:
    fleet = await make_fleet("")
    for upstream in fleet.local:
        await upstream.stop()

    reply = await fleet.ask("auto")

    assert reply.headers["x-weighbridge-model"] == "cloud"
    [entry] = await fleet.gateway.entries()
    assert (entry.upstream, entry.attempt) == ("cloud", 2)
    lines = await fleet.gateway.log_lines()
    assert [line["event"] for line in lines if line["event"].endswith("_failed")] == [
        "upstream.endpoint_failed",
        "upstream.endpoint_failed",
        "dispatch.attempt_failed",
    ]


@pytest.mark.fault("S3")
async def test_the_caller_is_not_told_where_servers_stand(make_fleet: MakeFleet) -> None:
    fleet = await make_fleet("")
    for upstream in fleet.local:
        upstream.refuses(503)

    reply = await fleet.ask()

    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "server_is_overloaded")
    assert "127.0.0.1" not in reply.text


async def breaks(_attempt: Attempt, wire: Wire) -> None:
    wire.reset()


@pytest.mark.fault("S19")
@pytest.mark.parametrize("is_stream", [False, True])
async def test_what_a_dying_worker_did_not_answer_is_billed_once(
    make_fleet: MakeFleet, is_stream: bool
) -> None:
    fleet = await make_fleet()
    fleet.local[0].does(breaks)

    replies = [await fleet.ask(is_stream=is_stream, seed=number) for number in range(2)]

    assert ["from 1" in reply.text for reply in replies] == [True, True]
    assert len(fleet.local[0].attempts) == 1
    entries = await fleet.gateway.entries()
    assert [(entry.outcome, entry.cost, entry.suspense) for entry in entries] == [("ok", 19_000, 0)] * 2


@pytest.mark.fault("S19")
async def test_what_two_workers_lost_is_in_the_ledger_and_on_nobodys_bill(make_fleet: MakeFleet) -> None:
    fleet = await make_fleet(count=3)
    for upstream in fleet.local:
        upstream.does(breaks)

    reply = await fleet.ask()

    assert reply.status_code == 502
    assert sum(len(upstream.attempts) for upstream in fleet.local) == 2
    [entry] = await fleet.gateway.entries()
    assert (entry.outcome, entry.cost) == ("failed", 0)
    assert entry.suspense > 0


@pytest.mark.fault("S19")
async def test_work_that_was_lost_before_the_others_were_busy_is_in_the_ledger_too(
    make_fleet: MakeFleet,
) -> None:
    fleet = await make_fleet()
    for upstream in fleet.local:
        upstream.refuses(503)
    fleet.local[0].does(breaks)

    replies = [await fleet.ask(seed=number) for number in range(2)]

    assert [reply.status_code for reply in replies] == [503, 503]
    entries = await fleet.gateway.entries()
    assert [(entry.outcome, entry.cost) for entry in entries] == [("failed", 0)] * 2


async def test_admins_see_each_server(make_fleet: MakeFleet) -> None:
    fleet = await make_fleet()
    fleet.local[0].refuses(503, retry_after="60")
    for number in range(2):
        await fleet.ask(seed=number)

    async with fleet.gateway.admin() as http:
        cloud, local = (await http.get("/admin/upstreams")).json()

    hosts = [upstream.url.removeprefix("http://").removesuffix("/v1") for upstream in fleet.local]
    assert (local["name"], local["is_healthy"], local["in_flight"], local["trouble"]) == (
        "local",
        True,
        0,
        None,
    )
    assert [(row["name"], row["is_healthy"], row["in_flight"]) for row in local["endpoints"]] == [
        (hosts[0], False, 0),
        (hosts[1], True, 0),
    ]
    assert len(cloud["endpoints"]) == 1


async def test_a_conversation_stays_with_its_server(make_fleet: MakeFleet) -> None:
    fleet = await make_fleet("affinity: prefix", count=3)

    for turn in range(6):
        history = [*MESSAGES, *[{"role": "assistant", "content": "Paris"}, *MESSAGES] * turn]
        await fleet.ask(messages=history)

    assert sorted(len(upstream.attempts) for upstream in fleet.local) == [0, 0, 6]


WORKER = """
workers: {{big: {{model: big.gguf, serves: [small]}}}}
data_dir: {folder}
upstreams:
  local:
    worker: big
    models: {{small: {{size: small, price: {{input: 1, output: 2}}}}}}
"""


def with_worker(folder: Path) -> str:
    key_file = folder / "secrets" / "worker-big.key"
    key_file.parent.mkdir()
    key_file.write_text("sk-big")
    return WORKER.format(folder=folder)


async def test_a_worker_is_reached_by_its_roster(
    make_gateway: MakeGateway, make_upstream: MakeUpstream, tmp_path: Path
) -> None:
    server = await make_upstream(socket_path=str(tmp_path / "big-1.sock"), key="sk-big")
    endpoint = Endpoint(name="big-1", url="http://worker/v1", socket=server.socket_path)
    write(roster_path(tmp_path, "big"), Roster(worker="big", endpoints=(endpoint,)))
    gateway = await make_gateway(with_worker(tmp_path))

    completion = await gateway.client().chat.completions.create(model="small", messages=MESSAGES)  # type: ignore[arg-type]  # plain dicts

    assert completion.choices[0].message.content == "Paris"
    assert server.attempts[0].headers["x-weighbridge-priority"] == "2"


async def test_of_a_worker_that_does_not_run_everybody_is_told(
    make_gateway: MakeGateway, tmp_path: Path
) -> None:
    gateway = await make_gateway(with_worker(tmp_path))

    async with gateway.http() as http, gateway.admin() as admin:
        reply = await http.post("/v1/chat/completions", json={"model": "small", "messages": MESSAGES})
        ready = await http.get("/readyz")
        [row] = (await admin.get("/admin/upstreams")).json()

    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "no_healthy_upstream")
    assert ready.json()["parts"]["upstreams"] == "degraded"
    assert (row["is_healthy"], row["trouble"]) == (False, "no process of the worker 'big' is ready")
