"""Removes from the database, a little at a time, what nobody may ask for any more. Several gateways may do so at once."""

import asyncio
from collections.abc import Callable, Sequence

from gateway.ledger.database import DatabaseUnavailableError
from gateway.telemetry.logs import Logger

Sweep = Callable[[], int]
"""Blocking and short: removes some of what is over, and says how many. Raises DatabaseUnavailableError."""


class Sweeper:
    def __init__(self, sweeps: Sequence[Sweep], log: Logger, *, every_s: float = 60.0) -> None:
        self._sweeps = sweeps
        self._log = log
        self._every_s = every_s

    async def run(self) -> None:
        """For ever; cancel it to stop."""
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self.sweep()
            except DatabaseUnavailableError as exc:
                self._log.warning("sweep.database_unavailable", error=str(exc))

    async def sweep(self) -> None:
        """Until nothing is left. Raises DatabaseUnavailableError."""
        for sweep in self._sweeps:
            while await asyncio.to_thread(sweep):
                await asyncio.sleep(0)  # others write between two bites
