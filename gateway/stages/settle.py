"""Stage 8: the end of every request that held a reservation: journal and counters at once, then the ledger.

The reply does not wait for either: on one connection that would be 0.9 of 2.6 ms. Until its closing is on disk, the
intent that was there before the request was sent stands for it: a process that dies in these moments bills an estimate.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from gateway.failpoints import Failpoints
from gateway.ledger.contract import Closing, Journal, JournalUnavailableError
from gateway.limits.contract import Limiter, LimiterUnavailableError
from gateway.telemetry.logs import Logger
from gateway.telemetry.metrics import Metrics
from gateway.ticket import Ticket
from gateway.values import Settlement


class Shipper(Protocol):
    def settle_later(self, settlement: Settlement) -> None:
        """The counters could not be reached: try again until they can."""
        ...


class Settle:
    def __init__(
        self,
        journal: Journal,
        limiter: Limiter,
        shipper: Shipper,
        metrics: Metrics,
        log: Logger,
        failpoints: Failpoints,
        tasks: Callable[[], asyncio.TaskGroup],
    ) -> None:
        """`tasks` gives the group that outlives all requests."""
        self._tasks = tasks
        self._unfinished: set[asyncio.Task[None]] = set()
        self._journal = journal
        self._limiter = limiter
        self._shipper = shipper
        self._metrics = metrics
        self._log = log
        self._failpoints = failpoints

    def __call__(self, ticket: Ticket) -> None:
        """Once per reservation: a second call does nothing."""
        reservation = ticket.reservation
        if reservation is None or ticket.is_settled:
            return
        ticket.is_settled = True
        entries = tuple(ticket.entries)
        usages = [entry.usage for entry in entries]
        settlement = Settlement(
            request_id=ticket.request_id,
            tenant=reservation.caller.tenant,
            user=reservation.caller.user,
            key=reservation.caller.key,
            epoch=reservation.epoch,
            window=reservation.window,
            cost=sum(entry.cost for entry in entries),
            tokens=0
            if all(entry.is_cache_hit for entry in entries)
            else sum(usage.total for usage in usages),
            counts=any(entry.outcome != "failed" for entry in entries),
        )
        # The release is submitted first: whatever the client sends next finds its place free.
        releasing = self._tasks().create_task(self._release(settlement))
        closing = Closing(entries=entries, settlement=settlement) if entries or ticket.was_intended else None
        finishing = self._tasks().create_task(self._finish(closing, settlement, releasing))
        self._unfinished.add(finishing)
        finishing.add_done_callback(self._unfinished.discard)
        for entry, usage in zip(entries, usages, strict=True):
            self._metrics.billed(entry.model, usage, entry.cost)

    async def finished(self) -> None:
        """Everything that was settled before the call is with the journal and the counters."""
        if self._unfinished:
            await asyncio.wait(set(self._unfinished))

    async def _finish(
        self, closing: Closing | None, settlement: Settlement, releasing: asyncio.Task[bool]
    ) -> None:
        if closing is not None:
            await self._record(closing)
        self._failpoints.reach("after_journal")
        if not await releasing:
            self._shipper.settle_later(settlement)
        self._failpoints.reach("after_counters")

    async def _record(self, closing: Closing) -> None:
        try:
            await self._journal.conclude(closing)
        except JournalUnavailableError as exc:
            # It is shipped from memory all the same: only a crash within the next moments would lose it.
            self._metrics.degraded("journal")
            self._log.error(
                "settle.journal_failed",
                request_id=closing.settlement.request_id,
                cost=closing.settlement.cost,
                error=str(exc),
            )

    async def _release(self, settlement: Settlement) -> bool:
        try:
            await self._limiter.settle(settlement)
        except LimiterUnavailableError:
            self._metrics.degraded("limits")
            return False
        return True
