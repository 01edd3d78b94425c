"""Places in the engine, and the line of those who wait for one: first come, first served, for a bounded time."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from workers.errors import BusyError


class Slots:
    """`total` places. A request takes as many as it has choices, all at once."""

    def __init__(self, total: int, *, max_waiting: int, max_wait_s: float) -> None:
        self.total = total
        self._free = total
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._max_waiting = max_waiting
        self._max_wait_s = max_wait_s

    @property
    def taken(self) -> int:
        return self.total - self._free

    @property
    def waiting(self) -> int:
        return len(self._line)

    @asynccontextmanager
    async def hold(self, count: int) -> AsyncIterator[None]:
        """Raises BusyError when the line is full, or when it did not move in time."""
        await self._take(count)
        try:
            yield
        finally:
            self._give_back(count)

    async def _take(self, count: int) -> None:
        if not self._line and count <= self._free:
            self._free -= count
            return
        if len(self._line) >= self._max_waiting:
            raise BusyError(
                "The model is busy and its queue is full. Try again in a moment.", retry_after_s=1
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append((count, turn))
        try:
            async with asyncio.timeout(self._max_wait_s):
                await turn
        except (TimeoutError, asyncio.CancelledError) as exc:
            self._step_out(count, turn)
            if isinstance(exc, TimeoutError):
                message = f"The model stayed busy for {self._max_wait_s:g} s. Try again in a moment."
                raise BusyError(message, retry_after_s=1) from exc
            raise

    def _step_out(self, count: int, turn: asyncio.Future[None]) -> None:
        if turn.done() and not turn.cancelled():
            self._give_back(count)  # the place came in the moment of giving up
        else:
            self._line.remove((count, turn))
            self._call_next()

    def _give_back(self, count: int) -> None:
        self._free += count
        self._call_next()

    def _call_next(self) -> None:
        while self._line and self._line[0][0] <= self._free:
            count, turn = self._line.popleft()
            self._free -= count
            turn.set_result(None)
