"""Queues of the servers behind the gateway: read, told, and what policies make of them."""

import asyncio

import openai
import pytest

from gateway.clock import ManualClock
from tests.fixtures.batch_lines import create, ended, line
from tests.fixtures.worker import Worker

UPSTREAMS = """
upstreams:
  local:
    base_url: {local}
    engine: vllm
    models:
      medium: {{size: medium, free: true, p_good: 0.99, context_window: 8192}}
  spare:
    base_url: {spare}
    engine: vllm
    models:
      small: {{size: small, free: true, p_good: 0.3, context_window: 8192}}
  cloud:
    base_url: {cloud}
    models:
      cloud: {{size: cloud, price: {{input: 10, output: 30}}, p_good: 0.99, context_window: 128000}}
"""


SENSITIVE = """
name: sensitive
description: What must not leave, stays.
version: 1
constraints: {upstreams: {deny: [cloud]}}
objective: {kind: cheapest_adequate, target: 0.8}
guards: {max_queued: 4}
"""


async def told(gateway, upstream, queued=None):
    """Once it is known how many wait there, and so many if a number is given."""
    loads = gateway.app.loads
    while (known := loads.outlook(upstream).queued) is None or queued not in (None, known):
        await loads.read()
        await asyncio.sleep(0)  # it may be the gateway itself who is asking
    return known


async def never():
    await asyncio.Event().wait()


class House:
    """A gateway before three upstreams: `local` and `spare` tell their queues."""

    def __init__(self, gateway, local, spare, cloud):
        self.gateway, self.local, self.spare, self.cloud = gateway, local, spare, cloud

    async def queues(self, *, local, spare=0):
        for name, server, queued in (("local", self.local, local), ("spare", self.spare, spare)):
            server.tells(f"vllm:num_requests_running 8\nvllm:num_requests_waiting {queued}\n")
            await told(self.gateway, name, queued)

    async def ask(self, policy, key=None):
        client = self.gateway.client(key)
        reply = await client.chat.completions.create(
            model=policy, messages=[{"role": "user", "content": "Capital of France?"}]
        )
        return reply.model


@pytest.fixture
async def make_house(make_gateway, make_upstream):
    async def make(more="", **options):
        local, spare, cloud = [await make_upstream() for _ in range(3)]
        config = UPSTREAMS.format(local=local.url, spare=spare.url, cloud=cloud.url) + more
        return House(await make_gateway(config, **options), local, spare, cloud)

    return make


@pytest.fixture
async def house(make_house):
    return await make_house()


async def test_burst_sends_to_the_cloud_while_the_line_here_is_long_and_comes_back(house):
    answered = []
    for queued in (0, 4, 5, 40, 4, 0):
        await house.queues(local=queued, spare=9)
        answered.append(await house.ask("auto:burst"))

    assert answered == ["medium", "medium", "cloud", "cloud", "medium", "medium"]


async def test_whose_plan_has_no_cloud_waits_here(house):
    key = await house.gateway.new_key("frugal", "free")
    await house.queues(local=40, spare=40)

    assert await house.ask("auto:burst", key) == "medium"
    assert house.cloud.attempts == []


async def test_a_batchs_line_waits_here(house):
    await house.queues(local=40, spare=40)
    client = house.gateway.client()

    batch = await ended(client, await create(client, line("a", model="auto:burst")))

    assert batch.status == "completed"
    assert [attempt.model for attempt in house.local.attempts] == ["medium"]
    assert house.cloud.attempts == []


async def test_data_that_must_stay_stays_in_a_long_line_and_with_nobody_here_to_answer(make_house, tmp_path):
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "sensitive.yaml").write_text(SENSITIVE)
    house = await make_house(f"policies: {{dir: {folder}}}")
    await house.queues(local=40, spare=40)

    waited = await house.ask("auto:sensitive")
    await house.local.stop()
    await house.spare.stop()
    with pytest.raises(openai.APIStatusError) as refused:
        await house.ask("auto:sensitive")

    assert waited == "medium"
    assert refused.value.status_code in (502, 503)
    assert house.cloud.attempts == []


async def test_brownout_gives_a_smaller_models_answer_rather_than_a_long_wait_and_never_the_clouds(house):
    answered = []
    for local, spare in ((0, 0), (40, 0), (40, 40), (0, 40)):
        await house.queues(local=local, spare=spare)
        answered.append(await house.ask("auto:brownout"))

    assert answered == ["medium", "small", "medium", "medium"]
    assert house.cloud.attempts == []


async def test_a_local_model_stands_in_for_a_cloud_that_fails(house):
    house.cloud.refuses(503)
    await house.queues(local=40, spare=40)

    assert await house.ask("auto:burst") == "medium"


async def test_a_named_model_is_that_model_however_long_the_line(house):
    await house.queues(local=1000)

    assert await house.ask("medium") == "medium"


async def test_the_policy_that_passed_over_says_so_in_the_log(house):
    await house.queues(local=23, spare=0)
    await house.ask("auto:burst")

    lines = [line for line in await house.gateway.log_lines() if line["event"] == "request.done"]
    assert lines[-1]["decision"].endswith("passed over: medium (23 waiting)")


async def test_what_is_sent_after_the_reading_makes_the_line_longer_at_once(make_house):
    house = await make_house(clock=ManualClock())  # nothing gets old
    gate = asyncio.Event()
    house.local.answers("Paris", hold={0: gate})
    await house.queues(local=2, spare=40)
    house.local.metrics = house.spare.metrics = never
    while (
        house.gateway.app.loads._asking
    ):  # a page on its way would be a reading of what is sent from here on
        await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        held = []
        for number in range(3):
            held.append(tasks.create_task(house.ask("auto:burst")))
            await house.local.attempt(number)
        beyond = await house.ask("auto:burst")
        gate.set()

    assert [task.result() for task in held] == ["medium"] * 3
    assert beyond == "cloud"


async def test_the_admins_metrics_tell_of_each_server_and_the_public_ones_do_not(house):
    house.local.tells(
        "vllm:num_requests_running 8\nvllm:num_requests_waiting 3\nvllm:kv_cache_usage_perc 0.5\n"
    )
    await told(house.gateway, "local", 3)

    async with house.gateway.admin() as admin, house.gateway.http() as public:
        page, open_to_all = (await admin.get("/metrics")).text, (await public.get("/metrics")).text

    labels = f'{{endpoint="127.0.0.1:{house.local.port}",upstream="local"}}'
    assert f"weighbridge_endpoint_running{labels} 8.0" in page
    assert f"weighbridge_endpoint_queued{labels} 3.0" in page
    assert f"weighbridge_endpoint_kv_use{labels} 0.5" in page
    assert f"weighbridge_endpoint_slots{labels}" not in page
    assert "weighbridge_in_flight" in page
    assert "weighbridge_in_flight" in open_to_all
    assert f"127.0.0.1:{house.local.port}" not in open_to_all


async def test_admins_see_what_each_server_says_of_itself(house):
    await house.queues(local=3)

    async with house.gateway.admin() as admin:
        upstreams = (await admin.get("/admin/upstreams")).json()

    loads = {one["name"]: one["endpoints"][0]["load"] for one in upstreams}
    assert loads["local"]["queued"] == 3
    assert loads["local"]["running"] == 8
    assert loads["local"]["slots"] is None
    assert loads["cloud"] is None


@pytest.mark.parametrize("trouble", ["silent", "endless", "noise"])
async def test_a_page_that_goes_wrong_disturbs_no_request_and_is_unknown(house, trouble):
    async def page():
        return b"\0\xff" * 2_000_000 if trouble == "endless" else b"vllm:num_requests_waiting NaN\n\xff\xfe"

    house.local.metrics = never if trouble == "silent" else page
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(house.gateway.app.loads.read())
        answered = await house.ask("auto:burst")
        reading.cancel() if trouble == "silent" else await reading

    assert answered == "medium"
    assert house.gateway.app.loads.outlook("local").queued is None


async def test_the_key_of_the_upstream_opens_its_metrics_too(make_gateway, make_upstream, tmp_path):
    server = await make_upstream(key="sk-of-the-server")
    server.tells("sglang:num_queue_reqs 7\n")
    key_file = tmp_path / "key"
    key_file.write_text("sk-of-the-server")
    gateway = await make_gateway(f"""
upstreams:
  local:
    base_url: {server.url}
    engine: sglang
    api_key_file: {key_file}
    models: {{medium: {{size: medium, free: true}}}}
""")

    assert await told(gateway, "local") == 7


async def test_of_several_servers_each_is_read_by_its_own_way(make_gateway, make_upstream, tmp_path):
    behind_a_socket = await make_upstream(socket_path=str(tmp_path / "one.sock"))
    behind_a_port = await make_upstream()
    behind_a_socket.tells("tgi_queue_size 7\n")
    behind_a_port.tells("tgi_queue_size 3\n")
    gateway = await make_gateway(f"""
upstreams:
  local:
    base_urls: ["{behind_a_socket.url}", "{behind_a_port.url}"]
    engine: tgi
    models: {{medium: {{size: medium, free: true}}}}
""")

    assert await told(gateway, "local", 3) == 3

    loads = {server: load.queued for _, server, load in gateway.app.loads.told()}
    assert loads == {"one.sock": 7, f"127.0.0.1:{behind_a_port.port}": 3}


@pytest.mark.model
async def test_a_real_workers_page_is_read(make_gateway, worker: Worker, tmp_path):
    key_file = tmp_path / "key"
    key_file.write_text(worker.key)
    gateway = await make_gateway(f"""
upstreams:
  big:
    base_url: {worker.url}
    is_worker: true
    api_key_file: {key_file}
    models: {{medium: {{size: medium, free: true, context_window: 1024}}}}
""")

    assert await told(gateway, "big") == 0

    ((upstream, _, load),) = gateway.app.loads.told()
    assert (upstream, load.running) == ("big", 0)
    assert load.slots >= 1
    assert load.generated_tokens is not None
    assert load.prompt_tokens is not None
