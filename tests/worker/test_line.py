"""Who goes first, over arbitrary arrivals: the classes count, and nobody starves."""

import asyncio
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from workers.slots import PRIORITIES, Slots

AGE_S = 5.0
TOTAL = 4

Step = tuple[float, int, int, bool]
"""Seconds since the step before; the class and the width of who comes; whether one of those who run leaves first."""

steps = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.5, 1.0, 5.0, 20.0]),
        st.sampled_from(PRIORITIES),
        st.integers(1, TOTAL),
        st.booleans(),
    ),
    max_size=40,
)


@dataclass(eq=False)
class Request:
    came_s: float
    priority: int
    count: int
    number: int
    place: int | None = None
    """How many were served before it."""
    leave: asyncio.Event = field(default_factory=asyncio.Event)


class Line:
    """Slots on a clock that stands still between two steps."""

    def __init__(self, total: int = TOTAL) -> None:
        self.now_s = 0.0
        self.slots = Slots(total, max_waiting=1000, max_wait_s=3600, age_s=AGE_S, now_s=lambda: self.now_s)
        self.requests: list[Request] = []
        self.running: list[Request] = []
        self.served = 0
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> "Line":
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Lets all who are left through, one after another."""
        while self.running:
            await self.release()
        await self._tasks.__aexit__(None, None, None)

    async def come(self, priority: int, count: int = 1) -> Request:
        request = Request(self.now_s, priority, count, len(self.requests))
        self.requests.append(request)
        self._tasks.create_task(self._run(request))
        await self._settle()
        return request

    async def release(self) -> None:
        """The one that has run for longest is done."""
        self.running.pop(0).leave.set()
        await self._settle()

    async def _run(self, request: Request) -> None:
        async with self.slots.hold(request.count, request.priority):
            request.place = self.served
            self.served += 1
            self.running.append(request)
            await request.leave.wait()

    async def _settle(self) -> None:
        for _ in range(5 + 2 * TOTAL):
            await asyncio.sleep(0)
        assert sum(request.count for request in self.running) == self.slots.taken <= self.slots.total


async def play(script: list[Step]) -> list[tuple[Request, Request]]:
    """All pairs, first come first, of whom one was waiting when the other came."""
    pairs = []
    async with Line() as line:
        for wait_s, priority, count, is_released in script:
            line.now_s += wait_s
            if is_released and line.running:
                await line.release()
            waiting = [request for request in line.requests if request.place is None]
            came = await line.come(priority, count)
            pairs += [(request, came) for request in waiting]
    assert (line.slots.taken, line.slots.waiting) == (0, 0)
    assert all(request.place is not None for request in line.requests)
    return pairs


def is_overtaken(first: Request, second: Request) -> bool:
    assert first.place is not None
    assert second.place is not None
    return second.place < first.place


@given(steps)
def test_within_a_class_and_against_lower_ones_who_came_first_goes_first(script: list[Step]) -> None:
    for first, second in asyncio.run(play(script)):
        if first.priority >= second.priority:
            assert not is_overtaken(first, second)


@given(steps)
def test_a_higher_class_overtakes_whoever_came_less_than_its_lead_before(script: list[Step]) -> None:
    for first, second in asyncio.run(play(script)):
        lead_s = (second.priority - first.priority) * AGE_S
        if lead_s > 0:
            assert is_overtaken(first, second) is (second.came_s - first.came_s < lead_s)


async def served_after(priority: int, count: int, total: int, rivals: int, rival: int) -> int:
    """How many releases it takes, one a second, when a rival comes right after each and `rivals` are there before."""
    async with Line(total) as line:
        for _ in range(rivals):
            await line.come(rival)
        request = await line.come(priority, count)
        releases = 0
        while request.place is None:
            line.now_s += 1
            await line.come(rival)
            await line.release()
            releases += 1
            assert releases < 1000
    return releases


@given(
    priority=st.sampled_from(PRIORITIES),
    count=st.integers(1, TOTAL),
    rivals=st.integers(TOTAL, 20),
    rival=st.sampled_from(PRIORITIES),
)
def test_nobody_starves_however_many_of_a_higher_class_keep_coming(
    priority: int, count: int, rivals: int, rival: int
) -> None:
    releases = asyncio.run(served_after(priority, count, TOTAL, rivals, rival))

    may_pass = max(0, rival - priority) * int(AGE_S)
    assert releases <= rivals + may_pass
