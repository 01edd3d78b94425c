"""Prompts that are computed once: who finds whose, and what becomes of them when the memory is wanted."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.tiny_model import Asker, running_engine

pytestmark = pytest.mark.fault("A24")

OURS, THEIRS = "00112233445566aa", "00112233445566bb"
PROMPT: dict[str, Any] = {"prompt": [7] * 200, "max_tokens": 3, "temperature": 0}
WHOLE_BLOCKS = 192
"""Tokens of the prompt that fill blocks of 32."""
ROOM = 34
"""Blocks of the narrow engine's memory."""


@pytest.fixture(scope="module")
def by_salt(tiny_folder: Path) -> Iterator[Asker]:
    with running_engine(tiny_folder) as asker:
        yield asker


@pytest.fixture
def by_all(tiny_folder: Path) -> Iterator[Asker]:
    with running_engine(tiny_folder, reuse_prompts="always") as asker:
        yield asker


@pytest.fixture
def by_nobody(tiny_folder: Path) -> Iterator[Asker]:
    with running_engine(tiny_folder, reuse_prompts="never") as asker:
        yield asker


@pytest.fixture
def narrow(tiny_folder: Path) -> Iterator[Asker]:
    with running_engine(tiny_folder, kv_gib=ROOM * 32 * 2 * 2 * 2 * 16 * 4 / 2**30) as asker:
        yield asker


async def found(asker: Asker, salt: str | None, **body: Any) -> int:
    reply = await asker.ask(salt=salt, **PROMPT | body)
    assert reply.usage is not None
    return reply.usage.cached


async def test_two_salts_never_share_and_each_shares_with_itself(by_salt: Asker) -> None:
    first = [await found(by_salt, salt) for salt in (OURS, THEIRS)]
    again = [await found(by_salt, salt) for salt in (OURS, THEIRS)]

    assert first == [0, 0]
    assert again == [WHOLE_BLOCKS, WHOLE_BLOCKS]


async def test_without_a_salt_nothing_is_found_and_nothing_left_behind(by_salt: Asker) -> None:
    other: dict[str, Any] = {"prompt": [9] * 200}
    before = (await by_salt.engine.stats()).kv_blocks_kept

    alone = [await found(by_salt, None, **other) for _ in range(2)]

    assert alone == [0, 0]
    assert (await by_salt.engine.stats()).kv_blocks_kept == before
    assert await found(by_salt, OURS, **other) == 0


async def test_what_was_found_changes_no_answer(by_salt: Asker) -> None:
    body: dict[str, Any] = {"prompt": [11] * 100 + [12] * 60, "max_tokens": 12, "temperature": 0}

    replies = [await by_salt.ask(salt=salt, **body) for salt in (None, OURS, OURS, THEIRS)]

    assert len({reply.text for reply in replies}) == 1


async def test_answers_to_one_prompt_at_once_share_it_with_nobody_else(by_salt: Asker) -> None:
    body: dict[str, Any] = {"prompt": [13] * 200, "max_tokens": 2}
    await by_salt.ask(salt=OURS, n=3, **body)

    assert await found(by_salt, THEIRS, **body) == 0
    assert await found(by_salt, OURS, **body) == WHOLE_BLOCKS


async def test_where_all_may_share_those_without_a_salt_do_among_themselves(by_all: Asker) -> None:
    first, again = await found(by_all, None), await found(by_all, None)
    salted = await found(by_all, OURS)

    assert (first, again, salted) == (0, WHOLE_BLOCKS, 0)


async def test_where_nobody_may_share_a_salt_is_of_no_use(by_nobody: Asker) -> None:
    assert [await found(by_nobody, OURS) for _ in range(2)] == [0, 0]


async def test_the_figures_tell_found_from_computed_and_kept_from_used(narrow: Asker) -> None:
    for _ in range(2):
        await found(narrow, OURS)

    stats = await narrow.engine.stats()

    assert (stats.prompt_tokens, stats.cached_prompt_tokens) == (200 + 8, WHOLE_BLOCKS)
    assert (stats.kv_blocks_used, stats.kv_blocks_kept) == (0, WHOLE_BLOCKS // 32)


async def test_what_is_kept_goes_oldest_first_and_only_as_far_as_room_is_wanted(narrow: Asker) -> None:
    for token in range(20, 25):  # six blocks are kept of each
        await found(narrow, OURS, prompt=[token] * 200)
    await found(narrow, OURS, prompt=[20] * 200)  # the oldest is the newest now

    await found(narrow, OURS, prompt=[30] * 200)

    stats = await narrow.engine.stats()
    assert stats.kv_blocks_used == 0
    assert stats.kv_blocks_kept >= ROOM - 8
    assert await found(narrow, OURS, prompt=[20] * 200) == WHOLE_BLOCKS
    assert await found(narrow, OURS, prompt=[21] * 200) < WHOLE_BLOCKS
