"""Places in the engine, and the line of those who wait for one: by priority and age, for a bounded time.

Who waits rises by a class every `age_s` seconds. As all rise alike, two never change their order: a request's rank is
fixed when it comes, and only those who come within `age_s` for each class that they are above it go before it.
"""

import asyncio
from bisect import insort
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from operator import attrgetter

import msgspec

from workers.errors import BusyError

PRIORITIES = range(10)
"""Classes; higher is served first. The gateway's batches are 0, its plan `free` is 1, `paid` 2 and `vip` 3."""
DEFAULT_PRIORITY = 1


class _Waiter(msgspec.Struct, frozen=True, eq=False):
    count: int
    priority: int
    rank: float
    """When it would have come to have its place in a line of one class."""
    turn: asyncio.Future[bool]
    """False: the line is full, and others go before it."""


_by_rank = attrgetter("rank")


class Slots:
    """`total` places. A request takes as many as it has choices, all at once: while the first in line waits for that
    many to be free, nobody behind it takes one."""

    def __init__(
        self, total: int, *, max_waiting: int, max_wait_s: float, age_s: float, now_s: Callable[[], float]
    ) -> None:
        self.total = total
        self._free = total
        self._line: list[_Waiter] = []
        self._max_waiting = max_waiting
        self._max_wait_s = max_wait_s
        self._age_s = age_s
        self._now_s = now_s

    @property
    def taken(self) -> int:
        return self.total - self._free

    @property
    def waiting(self) -> int:
        return len(self._line)

    def waiting_of(self, priority: int) -> int:
        return sum(waiter.priority == priority for waiter in self._line)

    @asynccontextmanager
    async def hold(self, count: int, priority: int = DEFAULT_PRIORITY) -> AsyncIterator[float]:
        """Gives the rank: the lower goes first. Raises BusyError when the line is full of those who go before, or when
        the turn did not come in time."""
        rank = self._now_s() - priority * self._age_s
        await self._take(count, priority, rank)
        try:
            yield rank
        finally:
            self._give_back(count)

    async def _take(self, count: int, priority: int, rank: float) -> None:
        if not self._line and count <= self._free:
            self._free -= count
            return
        waiter = self._line_up(count, priority, rank)
        try:
            async with asyncio.timeout(self._max_wait_s):
                is_placed = await waiter.turn
        except (TimeoutError, asyncio.CancelledError) as exc:
            self._step_out(waiter)
            if isinstance(exc, TimeoutError):
                message = f"The model stayed busy for {self._max_wait_s:g} s. Try again in a moment."
                raise BusyError(message, retry_after_s=1) from exc
            raise
        if not is_placed:
            raise BusyError(
                "The model is busy and its queue is full. Try again in a moment.", retry_after_s=1
            )

    def _line_up(self, count: int, priority: int, rank: float) -> _Waiter:
        """The last in line goes when there is no room: it may be the one that came."""
        waiter = _Waiter(count, priority, rank, asyncio.get_running_loop().create_future())
        insort(self._line, waiter, key=_by_rank)
        self._call_next()
        if len(self._line) > self._max_waiting:
            _tell(self._line.pop(), is_placed=False)
        return waiter

    def _step_out(self, waiter: _Waiter) -> None:
        turn = waiter.turn
        if turn.done() and not turn.cancelled():
            if turn.result():
                self._give_back(waiter.count)  # the place came in the moment of giving up
        elif waiter in self._line:
            self._line.remove(waiter)
            self._call_next()

    def _give_back(self, count: int) -> None:
        self._free += count
        self._call_next()

    def _call_next(self) -> None:
        while self._line and self._line[0].count <= self._free:
            waiter = self._line.pop(0)
            if _tell(waiter, is_placed=True):
                self._free -= waiter.count


def _tell(waiter: _Waiter, *, is_placed: bool) -> bool:
    """False if it has given up, and its task does not know it yet."""
    if waiter.turn.done():
        return False
    waiter.turn.set_result(is_placed)
    return True
