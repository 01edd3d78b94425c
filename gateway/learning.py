"""Keeps what outcomes say of predictions up to date while the gateway serves."""

import asyncio
from collections.abc import Callable, Sequence

from gateway.clock import Clock
from gateway.ledger.database import DatabaseUnavailableError
from gateway.scoring.tenants import TenantCalibration
from gateway.telemetry.logs import Logger
from gateway.telemetry.metrics import Metrics
from gateway.values import OutcomeRow, Score

REMEMBERED_MS = 180 * 86_400_000
"""What was told earlier counts for less than a sixtieth: it is not read."""

Reader = Callable[[int], Sequence[OutcomeRow]]
"""What was told since then. Blocking; raises DatabaseUnavailableError."""


class Learning:
    """Implements `Calibration`: as of the last time that the outcomes could be read."""

    def __init__(
        self,
        read: Reader,
        first: TenantCalibration,
        clock: Clock,
        metrics: Metrics,
        log: Logger,
        *,
        every_s: float,
    ) -> None:
        self._read = read
        self._current = first
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._every_s = every_s
        self.refreshed_ms: int | None = None
        self.outcomes = 0

    def adjust(self, tenant: str, score: Score) -> Score:
        return self._current.adjust(tenant, score)

    async def run(self) -> None:
        """For ever; cancel it to stop."""
        while True:
            await self.refresh()
            await asyncio.sleep(self._every_s)

    async def refresh(self) -> None:
        now_ms = self._clock.now_ms()
        try:
            rows = await asyncio.to_thread(self._read, now_ms - REMEMBERED_MS)
        except DatabaseUnavailableError as exc:
            self._metrics.degraded("learning")
            self._log.warning("learning.database_unavailable", error=str(exc))
            return
        self._current = await asyncio.to_thread(self._current.refreshed, rows, now_ms)
        self.refreshed_ms, self.outcomes = now_ms, len(rows)
