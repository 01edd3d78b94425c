"""The shared limiter while it answers, the process's own while it does not."""

from collections.abc import Callable

from gateway.limits.contract import Ask, Grant, Limiter, LimiterUnavailableError, Refusal
from gateway.values import Settlement


class FailoverLimiter:
    """Each reservation is settled where it was granted. What was granted locally is never added to the store's
    counters; it ages out of the local ones, so that a store that comes and goes does not multiply the limits.
    """

    def __init__(self, primary: Limiter, local: Limiter, *, on_degraded: Callable[[], None]) -> None:
        self._primary = primary
        self._local = local
        self._on_degraded = on_degraded

    async def reserve(self, ask: Ask) -> Grant | Refusal:
        try:
            return await self._primary.reserve(ask)
        except LimiterUnavailableError:
            self._on_degraded()
            return await self._local.reserve(ask)

    async def settle(self, settlement: Settlement) -> None:
        granted_by = self._primary if settlement.epoch else self._local
        await granted_by.settle(settlement)

    async def is_reachable(self) -> bool:
        return await self._primary.is_reachable()
