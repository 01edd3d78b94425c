"""The gateway as the client suites meet it: every kind of model, behind it the obliging provider in both dialects."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.app import StoreUrls
from gateway.config import parse
from gateway.ledger.database import Database
from tests.clients.suites import Target
from tests.fixtures.gateway import RunningGateway, running
from tests.fixtures.obliging_upstream import ObligingUpstream

CONFIG = """
data_dir: {folder}
server: {{port: 0, admin_port: 0}}
database: {{url: "sqlite:///{folder}/weighbridge.db"}}
journal: {{ship_every_s: 0.02}}
telemetry: {{log_level: warning}}
upstreams:
  openai:
    base_url: {url}
    api_key_file: {key_file}
    max_tokens_field: max_completion_tokens
    on_disconnect: drain
    is_breaker_enabled: false
    models:
      gpt-4.1-mini:
        size: small
        price: {{input: 0.4, cached_input: 0.1, output: 1.6}}
        abilities: [tools, vision, audio, files, json_object, json_schema, logprobs, store]
        context_window: 1047576
        max_output_tokens: 32768
      gpt-5.1:
        size: medium
        price: {{input: 1.25, cached_input: 0.125, output: 10}}
        abilities: [tools, vision, json_object, json_schema, reasoning]
        context_window: 400000
        max_output_tokens: 128000
      gpt-3.5-turbo-instruct:
        size: small
        price: {{input: 1.5, output: 2}}
        abilities: [completions]
        context_window: 16384
      text-embedding-3-small: {{kind: embedding, size: small, price: {{input: 0.02, output: 0}}}}
      omni-moderation-latest: {{kind: moderation, size: small, free: true}}
  anthropic:
    base_url: {url}
    dialect: anthropic
    api_key_file: {key_file}
    on_disconnect: drain
    is_breaker_enabled: false
    models:
      claude-sonnet-4-6:
        size: large
        price: {{input: 3, cached_input: 0.3, output: 15}}
        abilities: [tools, vision, files, json_schema, reasoning]
        context_window: 200000
        max_output_tokens: 128000
tiers:
  client:
    requests_per_minute: 100000
    tokens_per_minute: 100000000
    concurrency: 256
    max_output_tokens: 128000
    max_choices: 8
  tight: {{requests_per_minute: 1}}
"""


@asynccontextmanager
async def our_gateway(
    folder: Path, stores: StoreUrls, upstream: ObligingUpstream
) -> AsyncIterator[tuple[RunningGateway, Target]]:
    key_file = folder / "upstream-key"
    key_file.write_text(upstream.key)
    config = parse(CONFIG.format(folder=folder, url=upstream.url, key_file=key_file))
    await asyncio.to_thread(_migrate, config.database_url)
    async with running(config, stores) as gateway:
        key = await gateway.new_key("clients", "client")
        limited = await gateway.new_key("limited", "tight")
        yield gateway, Target(f"{gateway.url}/v1", key, limited)


def _migrate(url: str) -> None:
    database = Database(url)
    database.migrate()
    database.close()


async def booked(gateway: RunningGateway) -> Counter[tuple[str, str]]:
    """Tokens in the ledger by model and class, as far as somebody pays for them: not replies from the cache, nor
    moderations, nor a 500 that the provider may have charged for, which the house carries. A stream that the provider
    broke off is estimated, and compared nowhere."""
    total: Counter[tuple[str, str]] = Counter()
    for entry in await gateway.entries():
        if entry.cost and entry.outcome != "interrupted":
            total[entry.model, "attempts"] += 1
            total[entry.model, "prompt"] += entry.input_tokens + entry.cached_input_tokens
            total[entry.model, "cached"] += entry.cached_input_tokens
            total[entry.model, "completion"] += entry.output_tokens + entry.reasoning_tokens
    return +total


def billed(upstream: ObligingUpstream) -> Counter[tuple[str, str]]:
    total: Counter[tuple[str, str]] = Counter()
    for bill in (bill for bill in upstream.invoice if not bill.is_cut):
        total[bill.model, "attempts"] += 1
        total[bill.model, "prompt"] += bill.prompt_tokens
        total[bill.model, "cached"] += bill.cached_tokens
        total[bill.model, "completion"] += bill.completion_tokens
    return +total
