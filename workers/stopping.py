"""When the worker is to end, and how hurriedly."""

import asyncio
import signal


class Stop:
    """Asked for once it is wanted soon, asked for again at once."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._hurried = asyncio.Event()

    @property
    def is_asked(self) -> bool:
        return self._asked.is_set()

    def ask(self) -> None:
        (self._hurried if self.is_asked else self._asked).set()

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
