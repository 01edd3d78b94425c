"""Whether the engine lives: an HTTP server that answers proves nothing of the model behind it."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger()


class Canary:
    """Has the model show now and then that it works: `probe` returns when it has.

    It waits for as long as it takes: an engine that hangs shows in how long ago it last was well.
    """

    def __init__(
        self,
        probe: Callable[[], Awaitable[None]],
        *,
        now_s: Callable[[], float],
        every_s: float = 10.0,
        silent_after_s: float = 30.0,
    ) -> None:
        self._probe = probe
        self._now_s = now_s
        self._every_s = every_s
        self._silent_after_s = silent_after_s
        self._well_at: float | None = None

    @property
    def is_well(self) -> bool:
        return self._well_at is not None and self._now_s() - self._well_at < self._silent_after_s

    async def watch(self) -> None:
        while True:
            await self.check()
            await asyncio.sleep(self._every_s)

    async def check(self) -> None:
        try:
            await self._probe()
        except Exception:  # whatever the engine throws, it is not well, and the probe goes on
            log.exception("canary.failed")
        else:
            self._well_at = self._now_s()
