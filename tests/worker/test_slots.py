"""The line in front of the engine."""

import asyncio

import pytest

from workers.errors import BusyError
from workers.slots import DEFAULT_PRIORITY, Slots


def make_slots(total: int = 1, max_waiting: int = 10, max_wait_s: float = 60) -> Slots:
    return Slots(total, max_waiting=max_waiting, max_wait_s=max_wait_s, age_s=5, now_s=lambda: 0.0)


async def step() -> None:
    """Lets every task run up to where it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_places_are_given_in_the_order_of_arrival() -> None:
    slots, served = make_slots(), []

    async def request(name: str) -> None:
        async with slots.hold(1):
            served.append(name)
            await step()

    await asyncio.gather(*(request(name) for name in "abcd"))

    assert served == ["a", "b", "c", "d"]


async def test_a_request_for_many_places_is_not_overtaken_by_smaller_ones() -> None:
    slots, served = make_slots(total=2), []

    async def request(name: str, count: int) -> None:
        async with slots.hold(count):
            served.append(name)

    async with asyncio.TaskGroup() as tasks, slots.hold(1):
        tasks.create_task(request("both", 2))
        await step()
        tasks.create_task(request("one", 1))
        await step()
        waiting = slots.waiting

    assert waiting == 2
    assert served == ["both", "one"]
    assert slots.taken == 0


async def test_a_full_line_refuses_at_once_and_says_when_to_come_back() -> None:
    slots = make_slots(max_waiting=1)
    async with asyncio.TaskGroup() as tasks:
        async with slots.hold(1):
            waiting = tasks.create_task(take_and_leave(slots))
            await step()

            with pytest.raises(BusyError) as refusal:
                await take_and_leave(slots)

        await waiting
    assert refusal.value.status == 503
    assert refusal.value.retry_after_s == 1


async def test_who_waits_too_long_is_refused_and_leaves_the_line() -> None:
    slots = make_slots(max_wait_s=0)
    async with slots.hold(1):
        with pytest.raises(BusyError, match="stayed busy"):
            await take_and_leave(slots)

        assert slots.waiting == 0
    assert slots.taken == 0


async def test_who_gives_up_at_the_head_of_the_line_lets_the_next_one_step_forward() -> None:
    slots, served = make_slots(total=2), []

    async def request(name: str, count: int) -> None:
        async with slots.hold(count):
            served.append(name)

    async with asyncio.TaskGroup() as tasks, slots.hold(1):
        head = tasks.create_task(request("both", 2))
        await step()
        tasks.create_task(request("one", 1))
        await step()

        head.cancel()
        await step()

        assert served == ["one"]


async def test_a_place_that_comes_in_the_moment_of_giving_up_is_handed_on() -> None:
    slots = make_slots()
    async with asyncio.TaskGroup() as tasks:
        async with slots.hold(1):
            late = tasks.create_task(take_and_leave(slots))
            await step()
        late.cancel()  # the place was given above; the task has not woken up yet

    assert late.cancelled()
    assert slots.taken == 0


async def test_a_place_that_comes_free_while_the_first_in_line_gives_up_goes_to_the_second() -> None:
    slots = make_slots()
    async with asyncio.TaskGroup() as tasks, slots.hold(1):
        first = tasks.create_task(take_and_leave(slots))
        await step()
        second = tasks.create_task(take_and_leave(slots))
        await step()
        first.cancel()  # its task has not woken up when the place comes free

    assert first.cancelled()
    assert second.done()
    assert (slots.taken, slots.waiting) == (0, 0)


async def test_a_full_line_lets_its_last_go_for_a_higher_class() -> None:
    slots = make_slots(max_waiting=1)
    async with asyncio.TaskGroup() as tasks:
        async with slots.hold(1):
            low = tasks.create_task(refused(slots, priority=1))
            await step()
            high = tasks.create_task(take_and_leave(slots, priority=2))
            await step()

            assert await low
            with pytest.raises(BusyError, match="queue is full"):
                await take_and_leave(slots, priority=1)
            assert (slots.waiting_of(1), slots.waiting_of(2)) == (0, 1)

        await high
    assert slots.taken == 0


async def test_who_is_let_go_in_the_moment_of_giving_up_takes_nothing_along() -> None:
    slots = make_slots(max_waiting=1)
    async with asyncio.TaskGroup() as tasks:
        async with slots.hold(1):
            low = tasks.create_task(take_and_leave(slots, priority=1))
            await step()
            high = tasks.create_task(take_and_leave(slots, priority=2))
            await asyncio.sleep(0)
            low.cancel()

        await high
    assert low.cancelled()
    assert (slots.taken, slots.waiting) == (0, 0)


async def test_a_higher_class_takes_what_is_free_while_a_wide_request_waits_for_more() -> None:
    slots, served = make_slots(total=2), []

    async def request(name: str, count: int, priority: int) -> None:
        async with slots.hold(count, priority):
            served.append(name)

    async with asyncio.TaskGroup() as tasks, slots.hold(1):
        tasks.create_task(request("wide", 2, 1))
        await step()
        tasks.create_task(request("same", 1, 1))
        tasks.create_task(request("higher", 1, 2))
        await step()

        assert served == ["higher"]
    assert served == ["higher", "wide", "same"]


async def take_and_leave(slots: Slots, priority: int = DEFAULT_PRIORITY) -> None:
    async with slots.hold(1, priority):
        pass


async def refused(slots: Slots, priority: int) -> bool:
    with pytest.raises(BusyError, match="queue is full"):
        await take_and_leave(slots, priority)
    return True
