"""A GPU without memory for a step: the step is taken back and halved, nobody notices but by the clock."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.fixtures.tiny_model import END, Asker, running_engine
from workers.engines.transformers_engine.steps import GROW_AFTER, StepSize
from workers.errors import EngineError

pytestmark = pytest.mark.fault("S19")

NEVER_ENDS = {"logit_bias": {str(END): -100}}


@pytest.fixture
def fresh(tiny_folder: Path) -> Iterator[Asker]:
    with running_engine(tiny_folder, batch=64) as asker:
        yield asker


@contextmanager
def room_for(tokens: int, asker: Asker) -> Iterator[list[int]]:
    """What torch does on a GPU that can compute no more than so many at once. The steps that were computed."""
    model = asker.engine._loaded().loop._manager.model
    steps: list[int] = []

    def forward(*, input_ids: torch.Tensor, **kwargs: Any) -> Any:
        if input_ids.numel() > tokens:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        steps.append(input_ids.numel())
        return type(model).forward(model, input_ids=input_ids, **kwargs)

    model.forward = forward
    yield steps
    del model.forward


async def ask_all(asker: Asker, tokens: int = 12) -> list[str]:
    bodies = [{"prompt": f"Numbers: {number} " * 20, "seed": number} for number in range(6)]
    replies = await asyncio.gather(
        *(asker.ask(temperature=1, max_tokens=tokens, **body, **NEVER_ENDS) for body in bodies)
    )
    return [reply.text for reply in replies]


async def test_a_step_for_which_there_is_no_memory_is_halved_and_nothing_is_lost(fresh: Asker) -> None:
    expected = await ask_all(fresh)
    before = await fresh.engine.stats()

    with room_for(20, fresh) as steps:
        texts = await ask_all(fresh)

    after = await fresh.engine.stats()
    assert texts == expected
    assert (before.step_tokens, before.out_of_memory) == (64, 0)
    assert (after.step_tokens, after.out_of_memory) == (16, 2)
    assert max(steps) == 16
    assert after.kv_blocks_used == 0


async def test_answers_take_turns_when_a_step_has_fewer_tokens_than_there_are_answers(fresh: Asker) -> None:
    said = [0] * 6
    apart: list[int] = []

    async def stream(number: int) -> None:
        async for _ in fresh.engine.generate(fresh.job(prompt="winter", max_tokens=60, **NEVER_ENDS)):
            said[number] += 1
            apart.append(max(said) - min(said))

    async with asyncio.TaskGroup() as tasks:
        for number in range(6):
            tasks.create_task(stream(number))
        while min(said) < 2:
            await asyncio.sleep(0)
        with room_for(2, fresh):
            apart.clear()
            while min(said) < 20:
                await asyncio.sleep(0)
            furthest = max(apart)

    assert furthest < 10


async def test_without_memory_for_a_single_token_the_engine_gives_up(fresh: Asker) -> None:
    with room_for(0, fresh):
        with pytest.raises(EngineError):
            await fresh.ask(prompt="winter")
        await fresh.engine.failed()


def test_the_step_grows_back_to_what_it_was_while_there_is_memory() -> None:
    size = StepSize(100)
    assert size.failed(100)
    assert size.failed(50)

    sizes = []
    for _ in range(2 * GROW_AFTER):
        size.passed()
        sizes.append(size.tokens)

    assert (sizes[0], sizes[GROW_AFTER - 1], sizes[-1]) == (25, 50, 100)
    assert sorted(sizes) == sizes


def test_a_small_step_that_failed_is_halved_and_not_the_size_that_it_did_not_fill() -> None:
    size = StepSize(512)

    assert size.failed(9)

    assert size.tokens == 4
    assert not size.failed(1)
