"""From the journal into the ledger, whatever dies on the way. Counters are played by a list of what was settled."""

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest

from gateway.clock import ManualClock
from gateway.ledger.contract import SpendQuery
from gateway.ledger.database import Database, DatabaseUnavailableError
from gateway.ledger.journal import FileJournal
from gateway.ledger.shipper import Shipper
from gateway.ledger.store import SpentReader, SqlLedger
from gateway.values import Entry, Settlement, Spent
from tests.faults.killing import kill_after
from tests.fixtures.ledger import Log, closing, entry, intent, nothing_billed, settlement


class CountersGoneError(Exception):
    pass


class Counters:
    """Settles once per request, as the limiter does; `is_gone` refuses."""

    def __init__(self) -> None:
        self.settled: dict[str, Settlement] = {}
        self.is_gone = False
        self.changed = asyncio.Event()

    async def settle(self, settlement: Settlement) -> None:
        if self.is_gone:
            raise CountersGoneError
        self.settled.setdefault(settlement.request_id, settlement)
        self.changed.set()


class Process:
    """What one gateway has of all this."""

    def __init__(self, folder: Path, ledger: SqlLedger) -> None:
        self.log = Log()
        self.counters = Counters()
        self.ledger = ledger
        self.journal = FileJournal(folder, clock=ManualClock(), log=self.log.logger, segment_bytes=8192)
        self.shipper = Shipper(
            self.journal, ledger, self.counters.settle, unsettled=CountersGoneError, log=self.log.logger,
            ship_every_s=0.01, slowest_s=0.05, batch=10,
        )  # fmt: skip

    def all_entries(self) -> int:
        (total,) = self.ledger.spend(SpendQuery(by=()))
        return total.requests


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def ledger(database: Database) -> SqlLedger:
    return SqlLedger(database)


@pytest.fixture
async def start(folder: Path) -> AsyncIterator[object]:
    """Starts a process on a ledger. `await process.journal.close()` is its death, as far as the disk can tell."""
    async with AsyncExitStack() as stack:

        async def start_one(ledger: SqlLedger) -> Process:
            process = Process(folder, ledger)
            await process.journal.start()
            stack.push_async_callback(_close, process.journal)
            return process

        yield start_one


async def _close(journal: FileJournal) -> None:
    if not journal._is_closed:
        await journal.close()


def segments(folder: Path) -> list[Path]:
    return list(folder.glob("*.wal"))


async def test_what_is_concluded_goes_into_the_ledger_and_leaves_the_journal(start, ledger, folder):
    process = await start(ledger)
    for number in range(35):
        await process.journal.intend(intent(f"r{number}"))
        await process.journal.conclude(closing(f"r{number}"))

    await process.shipper.ship()

    assert process.all_entries() == 35
    assert process.journal.unshipped == 0
    assert len(segments(folder)) == 1


async def test_a_closing_without_entries_needs_no_database(start, folder):
    process = await start(SqlLedger(Database("postgresql://127.0.0.1:1/nowhere")))
    await process.journal.intend(intent())
    await process.journal.conclude(nothing_billed())

    await process.shipper.ship()

    assert process.journal.posted == 1


async def test_it_ships_by_itself(start, ledger):
    process = await start(ledger)
    await process.journal.conclude(closing())
    process.shipper.settle_later(settlement())

    async with asyncio.TaskGroup() as group:
        running = group.create_task(process.shipper.run())
        await process.counters.changed.wait()
        running.cancel()

    assert ledger.entries("r1") == [entry()]


@pytest.mark.fault("M14")
@pytest.mark.postgres
async def test_while_the_database_is_killed_and_restarted_the_journal_keeps_everything(
    start, own_postgres, folder
):
    database = Database(own_postgres.create("ledger"), timeout_s=2)
    database.migrate()
    process = await start(SqlLedger(database))
    await process.journal.conclude(closing("before"))
    await process.shipper.ship()
    own_postgres.kill()
    for number in range(25):
        await process.journal.conclude(closing(f"r{number}"))
    process.shipper.settle_later(settlement("r24"))

    with pytest.raises(DatabaseUnavailableError):
        await process.shipper.flush()
    assert process.journal.unshipped == 25
    async with asyncio.TaskGroup() as group:
        running = group.create_task(process.shipper.run())
        own_postgres.start()
        await process.counters.changed.wait()
        running.cancel()

    assert process.all_entries() == 26
    assert process.journal.unshipped == 0
    database.close()


@pytest.mark.fault("M15")
async def test_a_commit_whose_reply_is_lost_is_not_posted_twice(start, database):
    ledger = LosesReplies(database)
    process = await start(ledger)
    for number in range(25):
        await process.journal.conclude(closing(f"r{number}"))

    for _ in range(3):
        with pytest.raises(DatabaseUnavailableError):
            await process.shipper.flush()
        ledger.is_losing = not ledger.is_losing
        await process.shipper.flush()
        ledger.is_losing = not ledger.is_losing
        await process.journal.conclude(closing("r1"))

    assert process.all_entries() == 25


@pytest.mark.fault("M3")
async def test_a_restart_posts_and_settles_what_was_concluded_once(start, ledger, folder):
    dead = await start(ledger)
    for number in range(15):
        await dead.journal.intend(intent(f"r{number}"))
        await dead.journal.conclude(closing(f"r{number}"))
    await dead.journal.close()
    process = await start(ledger)

    await process.shipper.recover()
    await process.shipper.recover()

    assert process.all_entries() == 15
    assert process.counters.settled == {f"r{number}": settlement(f"r{number}") for number in range(15)}
    assert segments(folder) == []


@pytest.mark.fault("M3")
async def test_kill_9_while_shipping_loses_nothing_and_bills_nothing_twice(
    start, database_url, ledger, folder
):
    chance = random.Random(20261122)
    said: set[str] = set()
    concluded: set[str] = set()
    for round_number in range(3):
        words = await asyncio.to_thread(
            kill_after, chance.randrange(200, 1000), folder, f"k{round_number}", database_url
        )
        said |= {request_id for _, request_id in words}
        concluded |= {request_id for word, request_id in words if word == "concluded"}
    process = await start(ledger)

    await process.shipper.recover()

    assert ledger.posted(said) == said
    assert process.all_entries() >= len(said)
    assert all(
        ledger.entries(request_id) == [entry(request_id)]
        for request_id in chance.sample(sorted(concluded), 50)
    )
    assert segments(folder) == []


@pytest.mark.fault("M3")
async def test_what_the_ledger_has_already_is_settled_as_posted(start, ledger):
    dead = await start(ledger)
    await dead.journal.conclude(closing("posted"))
    await dead.journal.conclude(closing("waiting"))
    await dead.journal.close()
    ledger.post([entry("posted")])
    process = await start(ledger)

    await process.shipper.recover()

    assert process.counters.settled["posted"].is_posted
    assert not process.counters.settled["waiting"].is_posted


@pytest.mark.fault("M4")
async def test_a_lost_request_is_billed_as_estimated(start, ledger):
    dead = await start(ledger)
    await dead.journal.intend(intent(worst=100_000))
    dead.journal.progress("r1", 1, 20)
    await dead.journal.close()
    process = await start(ledger)

    await process.shipper.recover()

    (billed,) = ledger.entries("r1")
    assert (billed.output_tokens, billed.usage_source, billed.outcome) == (20, "estimated", "lost")
    assert billed.cost + billed.suspense == 100_000
    assert process.counters.settled["r1"].cost == billed.cost


@pytest.mark.fault("M4")
async def test_an_intent_of_a_request_that_is_in_the_ledger_adds_nothing(start, ledger):
    dead = await start(ledger)
    await dead.journal.intend(intent(attempt=1))
    await dead.journal.intend(intent(attempt=2))
    await dead.journal.close()
    ledger.post([entry(attempt=2)])
    process = await start(ledger)

    await process.shipper.recover()

    assert ledger.entries("r1") == [entry(attempt=2)]


@pytest.mark.fault("M14")
@pytest.mark.postgres
async def test_a_start_without_the_database_recovers_when_it_is_back(start, own_postgres, folder):
    database = Database(own_postgres.create("ledger"), timeout_s=2)
    database.migrate()
    ledger = SqlLedger(database)
    dead = await start(ledger)
    await dead.journal.conclude(closing())
    await dead.journal.close()
    own_postgres.kill()
    process = await start(ledger)

    await process.shipper.recover()
    await process.shipper.recover()

    assert set(process.log.events) == {"ship.recovery_waits"}
    assert process.counters.settled == {}
    assert process.journal.unshipped == 1
    own_postgres.start()
    await asyncio.gather(process.shipper.ship(), process.shipper.recover())
    assert ledger.entries("r1") == [entry()]
    assert set(process.counters.settled) == {"r1"}
    assert segments(folder) == []
    database.close()


async def test_a_late_settlement_waits_for_its_entries_and_says_that_they_are_posted(start, ledger):
    process = await start(ledger)
    await process.journal.conclude(closing())
    process.shipper.settle_later(settlement())

    await process.shipper.ship()

    assert process.counters.settled == {"r1": msgspec.structs.replace(settlement(), is_posted=True)}
    assert process.shipper.unsettled == 0


async def test_a_late_settlement_of_entries_that_are_not_posted_yet_waits_for_the_next_round(start, database):
    ledger = Gated(database)
    process = await start(ledger)
    await process.journal.conclude(closing("first"))
    async with asyncio.TaskGroup() as group:
        group.create_task(process.shipper.ship())
        await asyncio.to_thread(ledger.is_posting.wait, 10)
        await process.journal.conclude(closing("second"))
        process.shipper.settle_later(settlement("second"))
        ledger.gate.set()

    assert process.counters.settled == {}
    await process.shipper.ship()
    assert set(process.counters.settled) == {"second"}


@pytest.mark.fault("M16")
async def test_a_settlement_owed_survives_the_process(start, ledger, folder):
    dead = await start(ledger)
    dead.counters.is_gone = True
    await dead.journal.conclude(closing())
    dead.shipper.settle_later(settlement())
    await dead.shipper.ship()
    assert dead.shipper.unsettled == 1
    await dead.journal.close()
    process = await start(ledger)
    process.counters.is_gone = True
    await process.shipper.recover()
    assert segments(folder)

    process.counters.is_gone = False
    await process.shipper.ship()

    assert set(process.counters.settled) == {"r1"}
    assert process.all_entries() == 1
    assert segments(folder) == []


async def test_an_entry_that_the_database_refuses_is_set_aside_and_stops_nobody(start, ledger, folder):
    process = await start(ledger)
    await process.journal.conclude(closing("good"))
    await process.journal.conclude(closing("bad", entry("bad", cost=-1)))
    await process.journal.conclude(closing("also good"))

    await process.shipper.ship()

    assert process.all_entries() == 2
    assert process.journal.unshipped == 0
    assert process.log.events == ["ship.entry_refused"]
    (refused,) = folder.glob("*.refused")
    assert msgspec.json.decode(refused.read_bytes(), type=Entry) == entry("bad", cost=-1)


async def test_who_asks_what_was_spent_sees_what_this_process_has_not_posted_yet(start, ledger):
    process = await start(ledger)
    await process.journal.conclude(closing())
    reader = SpentReader(ledger, process.shipper.flush, unavailable=CountersGoneError)

    spent = await reader.spent("acme", "2026-11")

    assert spent["tenant", "acme"] == Spent(requests=1, cost=21_000)


async def test_who_asks_while_the_database_is_away_gets_the_limiters_own_error(start):
    ledger = SqlLedger(Database("postgresql://127.0.0.1:1/nowhere"))
    process = await start(ledger)
    reader = SpentReader(ledger, process.shipper.flush, unavailable=CountersGoneError)

    with pytest.raises(CountersGoneError, match="the ledger cannot say"):
        await reader.spent("acme", "2026-11")


class LosesReplies(SqlLedger):
    """The commit arrives, the answer does not."""

    is_losing = True

    def post(self, entries: Iterable[Entry]) -> int:
        new = super().post(list(entries))
        if self.is_losing:
            raise DatabaseUnavailableError("the connection was cut")
        return new


class Gated(SqlLedger):
    """Posts when the gate is open."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.is_posting = threading.Event()
        self.gate = threading.Event()

    def post(self, entries: Iterable[Entry]) -> int:
        self.is_posting.set()
        self.gate.wait(10)
        return super().post(list(entries))
