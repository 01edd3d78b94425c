"""From what a server tells of itself to the number that KEDA reads, through the whole gateway."""

import asyncio

CONFIG = """
upstreams:
  local:
    base_url: {url}
    engine: vllm
    autoscale: {{max: 6, places_each: 8}}
    models:
      small: {{size: small, free: true, context_window: 8192}}
"""


async def test_a_full_server_with_a_queue_asks_for_more(make_gateway, make_upstream):
    server = await make_upstream()
    server.tells("vllm:num_requests_running 8\nvllm:num_requests_waiting 20\n")
    gateway = await make_gateway(CONFIG.format(url=server.url))

    while not gateway.app.metrics.desired_replicas:
        await gateway.app.loads.read()
        await asyncio.sleep(0)  # it may be the gateway itself who is asking
    async with gateway.http() as http:
        page = (await http.get("/metrics")).text

    assert 'weighbridge_desired_replicas{upstream="local"} 5.0' in page
