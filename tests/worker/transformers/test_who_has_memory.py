"""Less memory than everybody would like: who begins, who has to give it back, and who gets it then."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.tiny_model import END, Asker, running_engine
from workers.engines.contract import Token, TokenUsage

NEVER_ENDS = {"logit_bias": {str(END): -100}}


@pytest.fixture
def scarce(tiny_folder: Path) -> Iterator[Asker]:
    """Room for 17 blocks of 32 tokens: two whole windows, and a little."""
    with running_engine(tiny_folder, context=256, kv_gib=17 * 32 * 2 * 2 * 2 * 16 * 4 / 2**30) as asker:
        yield asker


class Crowd:
    """Requests that begin one after another, and the order of their first tokens and of their ends."""

    def __init__(self, asker: Asker) -> None:
        self.asker = asker
        self.begun: list[str] = []
        self.ended: list[str] = []

    async def ask(self, name: str, rank: float, **body: Any) -> None:
        async for _ in self.answer(rank, **body):
            if name not in self.begun:
                self.begun.append(name)
        self.ended.append(name)

    def answer(self, rank: float, **body: Any) -> AsyncGenerator[Token | TokenUsage, None]:
        return self.asker.engine.generate(self.asker.job(rank=rank, temperature=0, **body, **NEVER_ENDS))

    async def until_asked(self, count: int) -> None:
        while len(self.asker.engine._loaded().loop._rows) < count:
            await asyncio.sleep(0)

    async def until_inside(self, count: int) -> None:
        while (await self.asker.engine.stats()).busy_slots < count:
            await asyncio.sleep(0)


@contextmanager
def standing_still(asker: Asker) -> Iterator[None]:
    """No step is computed."""
    model, go = asker.engine._loaded().loop._manager.model, threading.Event()

    def forward(*args: Any, **kwargs: Any) -> Any:
        go.wait()
        return type(model).forward(model, *args, **kwargs)

    model.forward = forward
    yield
    del model.forward
    go.set()


async def test_when_answers_outgrow_the_memory_the_least_important_gives_way_and_not_the_newest(
    scarce: Asker,
) -> None:
    crowd = Crowd(scarce)
    body: dict[str, Any] = {"prompt": "winter", "max_tokens": 205}
    async with asyncio.TaskGroup() as tasks:
        for inside, rank in enumerate((3.0, 2.0, 1.0), 1):
            tasks.create_task(crowd.ask(f"rank {rank:g}", rank, **body))
            await crowd.until_inside(inside)

    stats = await scarce.engine.stats()
    assert crowd.ended[-1] == "rank 3"
    assert stats.put_back == 1
    assert stats.kv_blocks_used == 0


async def test_who_waits_for_memory_gets_it_by_rank_and_is_passed_by_nobody(scarce: Asker) -> None:
    crowd = Crowd(scarce)
    large: dict[str, Any] = {"prompt": [7] * 200, "max_tokens": 1}
    async with asyncio.TaskGroup() as tasks:
        for number in (1, 2):
            tasks.create_task(crowd.ask(f"running {number}", 0, prompt=[5] * 130, max_tokens=90))
        while len(crowd.begun) < 2:
            await asyncio.sleep(0)
        with standing_still(scarce):
            arrivals: dict[str, Any] = {
                "paid": (2, large),
                "vip": (1, large),
                "small": (3, {"max_tokens": 1}),
            }
            for count, (name, (rank, body)) in enumerate(arrivals.items(), 3):
                tasks.create_task(crowd.ask(name, rank, **({"prompt": "winter"} | body)))
                await crowd.until_asked(count)

    assert crowd.begun[2:] == ["vip", "paid", "small"]


async def test_who_gave_way_goes_on_when_those_who_run_hang_up(scarce: Asker) -> None:
    crowd = Crowd(scarce)
    body: dict[str, Any] = {"prompt": "winter", "max_tokens": 205}
    running = [crowd.answer(rank, **body) for rank in (1.0, 2.0)]
    async with asyncio.TaskGroup() as tasks:
        for answer in running:
            await anext(answer)
        tasks.create_task(crowd.ask("last", 3.0, **body))
        while not (await scarce.engine.stats()).put_back:
            await asyncio.sleep(0)
        waiting = (await scarce.engine.stats()).waiting_slots
        for answer in running:
            await answer.aclose()

    assert waiting == 1
    assert crowd.ended == ["last"]


async def test_the_answer_of_who_gave_way_is_the_one_it_would_have_had(scarce: Asker, tiny: Asker) -> None:
    body: dict[str, Any] = {"temperature": 0, "max_tokens": 205, **NEVER_ENDS}
    prompts = ["winter", "Numbers: 1", "The weight"]

    crowded = await asyncio.gather(
        *(scarce.ask(prompt=prompt, rank=-rank, **body) for rank, prompt in enumerate(prompts))
    )

    assert (await scarce.engine.stats()).put_back > 0
    roomy = await asyncio.gather(*(tiny.ask(prompt=prompt, **body) for prompt in prompts))
    assert [reply.text for reply in crowded] == [reply.text for reply in roomy]
