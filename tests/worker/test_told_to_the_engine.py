"""What the endpoint hands on to the engine of what a caller's headers say: whose prompt it is, and who goes first."""

from collections.abc import AsyncGenerator

import pytest

from tests.fixtures.engine import ScriptedEngine
from tests.worker.test_server import BODY, Bench
from workers.engines.contract import Job, Token, TokenUsage

KEY = "worker-key"
SALT = "0123456789abcdef"


class NotingEngine(ScriptedEngine):
    def __init__(self) -> None:
        super().__init__()
        self.jobs: list[Job] = []

    async def generate(self, job: Job) -> AsyncGenerator[Token | TokenUsage, None]:
        self.jobs.append(job)
        async for token in super().generate(job):
            yield token


async def told(headers: dict[str, str], *, api_key: str | None = KEY) -> Job:
    engine = NotingEngine()
    bench = Bench(engine, api_key=api_key)
    bench.app.loaded()
    async with bench.client:
        key = {"authorization": f"Bearer {KEY}"}
        await bench.client.post("/v1/chat/completions", json=BODY, headers=key | headers)
    return engine.jobs[0]


async def test_a_salt_reaches_the_engine() -> None:
    assert (await told({"x-weighbridge-salt": SALT})).salt == SALT


@pytest.mark.fault("A24")
async def test_a_worker_without_a_key_believes_nobodys_salt() -> None:
    assert (await told({"x-weighbridge-salt": SALT}, api_key=None)).salt is None


@pytest.mark.parametrize("salt", ["", "0123", SALT.upper(), SALT + "0", "0123456789abcdeg"])
async def test_a_salt_of_another_shape_is_none(salt: str) -> None:
    assert (await told({"x-weighbridge-salt": salt})).salt is None


async def test_the_higher_class_has_the_lower_rank_as_in_the_line() -> None:
    ranks = [(await told({"x-weighbridge-priority": priority})).rank for priority in "013"]

    assert ranks == [1000, 995, 985]
