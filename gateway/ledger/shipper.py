"""Carries concluded requests from the journal into the ledger, and settles late what could not be settled at once."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from itertools import islice
from typing import Protocol

import msgspec

from gateway.failpoints import Failpoints
from gateway.ledger.contract import Closing, LedgerStore
from gateway.ledger.database import DatabaseUnavailableError, RowRefusedError
from gateway.ledger.journal import FileJournal
from gateway.ledger.journal_folder import Recovery
from gateway.ledger.segments import Segment
from gateway.telemetry.logs import Logger
from gateway.values import Entry, Settlement

_SETTLED_AT_ONCE = 64


class Store(LedgerStore, Protocol):
    def posted(self, request_ids: Iterable[str]) -> set[str]: ...


class _Late(msgspec.Struct, frozen=True):
    settlement: Settlement
    concluded: int
    """Its entries are in the ledger when the journal has posted as many closings as were concluded by then."""
    pinned: Segment | None


class Shipper:
    """Posting twice changes nothing, so that whatever fails is simply done again."""

    def __init__(
        self,
        journal: FileJournal,
        store: Store,
        settle: Callable[[Settlement], Awaitable[None]],
        *,
        unsettled: type[Exception],
        log: Logger,
        ship_every_s: float = 0.25,
        slowest_s: float = 5.0,
        batch: int = 1000,
        failpoints: Failpoints | None = None,
    ) -> None:
        """`settle` raises `unsettled` when the counters cannot be reached. While the database is down, the pause
        between tries grows from `ship_every_s` to `slowest_s`."""
        self._journal = journal
        self._store = store
        self._settle = settle
        self._unsettled = unsettled
        self._log = log
        self._ship_every_s = ship_every_s
        self._slowest_s = slowest_s
        self._batch = batch
        self._failpoints = failpoints or Failpoints()
        self._shipping = asyncio.Lock()
        self._posting = asyncio.Lock()
        self._recovered: list[Closing] = []
        self._late: dict[str, _Late] = {}

    @property
    def unsettled(self) -> int:
        """Settlements that wait for the counters to come back."""
        return len(self._late)

    def settle_later(self, settlement: Settlement) -> None:
        """Call after `conclude`: it is settled once its entries are in the ledger."""
        if settlement.request_id in self._late:
            return
        self._late[settlement.request_id] = _Late(settlement, self._journal.concluded, self._journal.pin())

    async def recover(self) -> Recovery:
        """At start: adopt what dead processes left, settle and post it. With the database away, `run` does it later."""
        # Not during a round: it would delete what was adopted and is not known to it yet.
        async with self._shipping:
            recovery = await self._journal.recover()
            self._recovered += recovery.closings
        try:
            await self.ship()
        except DatabaseUnavailableError as exc:
            self._log.warning("ship.recovery_waits", requests=len(self._recovered), error=str(exc))
        return recovery

    async def run(self) -> None:
        """For ever; cancel it to stop, then `ship` once more."""
        pause = self._ship_every_s
        while True:
            await asyncio.sleep(pause)
            try:
                await self.ship()
            except DatabaseUnavailableError as exc:
                pause = min(pause * 2, self._slowest_s)
                self._log.warning(
                    "ship.database_unavailable", unshipped=self._journal.unshipped, error=str(exc)
                )
            else:
                pause = self._ship_every_s

    async def ship(self) -> None:
        """One round: post what waits, settle what is late, delete what nobody needs. Raises DatabaseUnavailableError."""
        async with self._shipping:
            await self._replay()
            await self.flush()
            await self._settle_late()
            await self._journal.discard_posted()
            # A dead process's settlement that is still owed is known to its segments alone.
            if not self._late and not self._recovered:
                await self._journal.discard_recovered()

    async def flush(self) -> None:
        """Whatever was concluded before the call is in the ledger. Raises DatabaseUnavailableError."""
        target = self._journal.concluded
        # A lock of its own: settling may rebuild counters, and that calls this.
        async with self._posting:
            while self._journal.posted < target:
                closings = self._journal.waiting(self._batch)
                await self._post(closings)
                self._journal.mark_posted(len(closings))

    async def _replay(self) -> None:
        closings = list(self._recovered)
        if not closings:
            return
        ids = [closing.settlement.request_id for closing in closings]
        posted = await asyncio.to_thread(self._store.posted, ids)
        await self._settle_all(
            msgspec.structs.replace(closing.settlement, is_posted=closing.settlement.request_id in posted)
            for closing in closings
        )
        # A request in the ledger is there whole: whatever its intents say, nothing is added to it.
        new = [closing for closing in closings if closing.settlement.request_id not in posted]
        for start in range(0, len(new), self._batch):
            await self._post(new[start : start + self._batch])
        del self._recovered[: len(closings)]
        self._journal.mark_recovered_posted(sum(len(closing.entries) for closing in closings))
        self._log.info("ship.recovered", requests=len(closings), posted=len(new))

    async def _settle_all(self, settlements: Iterable[Settlement]) -> None:
        remaining = iter(settlements)
        while some := list(islice(remaining, _SETTLED_AT_ONCE)):
            async with asyncio.TaskGroup() as group:
                for settlement in some:
                    group.create_task(self._settle_or_later(settlement))

    async def _settle_or_later(self, settlement: Settlement) -> None:
        try:
            await self._settle(settlement)
        except self._unsettled:
            self.settle_later(settlement)

    async def _settle_late(self) -> None:
        for request_id, late in list(self._late.items()):
            if late.concluded > self._journal.posted:
                continue
            try:
                await self._settle(msgspec.structs.replace(late.settlement, is_posted=True))
            except self._unsettled:
                return
            del self._late[request_id]
            self._journal.unpin(late.pinned)

    async def _post(self, closings: list[Closing]) -> None:
        try:
            await asyncio.to_thread(
                self._store.post, [entry for closing in closings for entry in closing.entries]
            )
        except RowRefusedError:
            await self._post_singly(closings)
        self._failpoints.reach("after_ledger")

    async def _post_singly(self, closings: list[Closing]) -> None:
        """One entry that the database refuses must not keep the others out."""
        for closing in closings:
            try:
                await asyncio.to_thread(self._store.post, list(closing.entries))
            except RowRefusedError as exc:
                await self._set_aside(closing.entries, exc)

    async def _set_aside(self, entries: tuple[Entry, ...], reason: RowRefusedError) -> None:
        try:
            path = await self._journal.set_aside(entries)
        except OSError as exc:
            raise DatabaseUnavailableError(f"{reason}; and it cannot be set aside: {exc.strerror}") from exc
        self._log.error(
            "ship.entry_refused", request_id=entries[0].request_id, path=str(path), error=str(reason)
        )
