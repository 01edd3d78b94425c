"""Whether the engine lives: an HTTP server that answers proves nothing of the model behind it."""

import asyncio
from collections.abc import Callable

import structlog

from workers.engines.contract import Engine, Job
from workers.request import ChatRequest, Message
from workers.slots import Slots

log = structlog.get_logger()

_JOB = Job(
    "canary", ChatRequest(model="canary", messages=(Message(role="user", content="Hi"),), max_tokens=1)
)


class Canary:
    """Has the idle engine make a token now and then; of a busy one it asks that the decoding loop answers.

    It waits for as long as it takes: an engine that hangs shows in how long ago it last was well.
    """

    def __init__(
        self,
        engine: Engine,
        slots: Slots,
        *,
        now_s: Callable[[], float],
        every_s: float = 10.0,
        silent_after_s: float = 30.0,
    ) -> None:
        self._engine = engine
        self._slots = slots
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
            if self._slots.taken:
                await self._engine.stats()
            else:
                async for _ in self._engine.generate(_JOB):
                    pass
        except Exception:  # whatever the engine throws, it is not well, and the probe goes on
            log.exception("canary.failed")
        else:
            self._well_at = self._now_s()
