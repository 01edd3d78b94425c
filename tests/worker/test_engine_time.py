"""A real worker's time in the ledger of a real gateway."""

import asyncio
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.fixtures.gateway import MakeGateway
from tests.fixtures.worker import Worker

CONFIG = """
upstreams:
  ours:
    base_url: {url}
    api_key_file: {key}
    is_worker: true
    models:
      small: {{size: small, price: {{input: 0, output: 0, engine_hour: 3.6}}, tokens_per_s: 100, context_window: 1024}}
"""


async def test_the_engines_time_is_shared_out_and_every_part_of_it_is_paid(
    make_gateway: MakeGateway, any_worker: Worker, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text(any_worker.key)
    gateway = await make_gateway(CONFIG.format(url=any_worker.url, key=key))
    client = gateway.client()

    async def ask(*, is_stream: bool) -> None:
        messages: Any = [{"role": "user", "content": "Count to ten."}]
        reply = await client.chat.completions.create(
            model="small", messages=messages, max_tokens=8, n=2, stream=is_stream
        )
        if is_stream:
            async for _ in reply:
                pass

    began = time.perf_counter()
    await asyncio.gather(*(ask(is_stream=number % 2 == 1) for number in range(6)))
    took_us = (time.perf_counter() - began) * 1_000_000

    entries = await gateway.entries()
    told = [entry.engine_us for entry in entries]
    async with gateway.admin() as http:
        total = (await http.get("/finance/spend")).json()["total"]
    assert len(entries) == 6
    assert {(entry.usage_source, entry.is_suspect, entry.outcome) for entry in entries} == {
        ("reported", False, "ok")
    }
    assert all(0 < each <= (entry.duration_ms + 1) * 1000 for each, entry in zip(told, entries, strict=True))
    assert sum(told) <= took_us
    assert [entry.cost for entry in entries] == told  # 3.6 USD an hour is a nano-dollar a microsecond
    assert Decimal(total["engine_seconds"]) * 1_000_000 == sum(told) == Decimal(total["cost_usd"]) * 10**9
