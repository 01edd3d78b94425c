"""When the worker is to end, and how hurriedly."""

import asyncio
import math
import signal
from collections.abc import Callable

SPARE_S = 5.0
"""Of the time before the machine goes: for the engine and the process to end in."""


class Stop:
    """Asked for once it is wanted soon, asked for again at once."""

    def __init__(self, *, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._asked = asyncio.Event()
        self._hurried = asyncio.Event()
        self._gone_at_s = math.inf
        self.is_broken = False
        """The engine is dead: there is nothing to wait for."""

    @property
    def is_asked(self) -> bool:
        return self._asked.is_set()

    def ask(self, *, within_s: float = math.inf) -> None:
        """`within_s`: the machine is gone then."""
        self._gone_at_s = min(self._gone_at_s, self._now_s() + within_s)
        (self._hurried if self.is_asked else self._asked).set()

    def break_off(self) -> None:
        self.is_broken = True
        self._asked.set()
        self._hurried.set()

    def limit(self, wanted_s: float, *, then_s: float = 0.0) -> float:
        """As long as is wanted, or as what is left allows if `then_s` are still needed after it."""
        left_s = self._gone_at_s - self._now_s() - SPARE_S - then_s
        return max(min(wanted_s, left_s), 0.0)

    def on_signals(self) -> None:
        """SIGTERM and SIGINT ask."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.ask)

    async def wait(self) -> None:
        await self._asked.wait()

    async def wait_hurried(self, limit_s: float) -> None:
        """Returns after the limit, or when asked again."""
        try:
            async with asyncio.timeout(limit_s):
                await self._hurried.wait()
        except TimeoutError:
            return
