"""The journal under kill, full disks, damage and company."""

import asyncio
import os
import random
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.clock import ManualClock
from gateway.errors import ConfigError
from gateway.ledger.contract import JournalUnavailableError
from gateway.ledger.journal import FileJournal
from gateway.ledger.journal_folder import _locked
from gateway.ledger.segments import ClosingRecord, IntentRecord, ProgressRecord, Record, read
from tests.faults.killing import kill_after
from tests.fixtures.ledger import Log, closing, intent, nothing_billed

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

OpenJournal = Callable[..., "asyncio.Future[FileJournal]"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
async def open_journal(folder: Path, log: Log) -> AsyncIterator[OpenJournal]:
    """Journals in one folder, as of several processes. Closed at the end, unless a test did."""
    async with AsyncExitStack() as stack:

        async def open_one(kind: type[FileJournal] = FileJournal, **settings: object) -> FileJournal:
            journal = kind(folder, clock=ManualClock(), log=log.logger, **settings)
            await journal.start()
            stack.push_async_callback(close_once, journal)
            return journal

        yield open_one


async def close_once(journal: FileJournal) -> None:
    if not journal._is_closed:
        await journal.close()


def on_disk(folder: Path) -> list[Record]:
    return [record for path in sorted(folder.glob("*.wal")) for record in read(path)[0]]


async def test_a_record_is_on_disk_when_the_call_returns(open_journal, folder):
    journal = await open_journal()

    await journal.intend(intent())

    assert on_disk(folder) == [IntentRecord(intent())]


async def test_progress_is_written_without_being_waited_for(open_journal, folder):
    journal = await open_journal()
    await journal.intend(intent())

    journal.progress("r1", 1, 256)
    await journal.conclude(closing())

    assert on_disk(folder) == [IntentRecord(intent()), ProgressRecord("r1", 1, 256), ClosingRecord(closing())]


async def test_records_that_arrive_together_share_a_write(open_journal, folder):
    journal = await open_journal(CountsWrites)

    await asyncio.gather(*(journal.intend(intent(f"r{number}")) for number in range(200)))

    assert journal.writes <= 2
    assert len(on_disk(folder)) == 200


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    requests=st.lists(st.tuples(st.integers(1, 3), st.integers(0, 3), st.booleans()), min_size=1, max_size=30)
)
def test_whatever_happens_at_once_each_request_reads_back_in_its_own_order(tmp_path_factory, requests):
    folder = tmp_path_factory.mktemp("journal")

    async def serve(
        journal: FileJournal, number: int, attempts: int, pauses: int, is_concluded: bool
    ) -> list[Record]:
        written: list[Record] = []
        for attempt in range(1, attempts + 1):
            for _ in range(pauses):
                await asyncio.sleep(0)
            await journal.intend(intent(f"r{number}", attempt=attempt))
            written.append(IntentRecord(intent(f"r{number}", attempt=attempt)))
        if is_concluded:
            await journal.conclude(closing(f"r{number}"))
            written.append(ClosingRecord(closing(f"r{number}")))
        return written

    async def run() -> list[list[Record]]:
        journal = FileJournal(folder, clock=ManualClock(), log=Log().logger, segment_bytes=8192, gather_s=0)
        await journal.start()
        written = await asyncio.gather(
            *(serve(journal, number, *request) for number, request in enumerate(requests))
        )
        await journal.close()
        return written

    expected = asyncio.run(run())

    found = on_disk(folder)
    for number, written in enumerate(expected):
        assert [record for record in found if _request(record) == f"r{number}"] == written


async def test_a_caller_that_gives_up_waiting_disturbs_nobody(open_journal, folder):
    journal = await open_journal(Gated)
    async with asyncio.TaskGroup() as group:
        impatient = group.create_task(journal.intend(intent("impatient")))
        patient = group.create_task(journal.intend(intent("patient")))
        await asyncio.sleep(0)

        impatient.cancel()
        journal.gate.set()

    assert patient.exception() is None
    assert {_request(record) for record in on_disk(folder)} == {"impatient", "patient"}


async def test_segments_are_deleted_when_everything_in_them_is_posted(open_journal, folder):
    journal = await open_journal(segment_bytes=4096)
    for number in range(20):
        await journal.intend(intent(f"r{number}"))
        await journal.conclude(closing(f"r{number}"))
    many = len(list(folder.glob("*.wal")))

    journal.mark_posted(20)
    await journal.discard_posted()

    assert many > 5
    assert len(list(folder.glob("*.wal"))) == 1


async def test_a_running_request_keeps_its_segment_and_all_later_ones(open_journal, folder):
    journal = await open_journal(segment_bytes=4096)
    await journal.intend(intent("long"))
    for number in range(20):
        await journal.conclude(closing(f"r{number}"))
    many = len(list(folder.glob("*.wal")))

    journal.mark_posted(20)
    await journal.discard_posted()

    assert len(list(folder.glob("*.wal"))) == many
    await journal.conclude(nothing_billed("long"))
    journal.mark_posted(1)
    await journal.discard_posted()
    assert len(list(folder.glob("*.wal"))) == 1


async def test_a_journal_that_owes_nothing_leaves_no_file(open_journal, folder):
    journal = await open_journal()
    await journal.intend(intent())
    await journal.conclude(closing())
    journal.mark_posted(1)

    await journal.close()

    assert list(folder.iterdir()) == []


async def test_unshipped_counts_entries_until_they_are_posted(open_journal):
    journal = await open_journal()

    await journal.conclude(closing())

    assert journal.unshipped == 1
    journal.mark_posted(1)
    assert journal.unshipped == 0


async def test_a_closed_journal_refuses(open_journal):
    journal = await open_journal()
    await journal.close()

    with pytest.raises(JournalUnavailableError):
        await journal.intend(intent())


async def test_a_folder_that_cannot_be_written_is_said_in_one_line(tmp_path, log):
    (tmp_path / "file").touch()
    journal = FileJournal(tmp_path / "file" / "journal", clock=ManualClock(), log=log.logger)

    with pytest.raises(ConfigError, match=r"journal\.dir: cannot write in .*/file/journal: Not a directory"):
        await journal.start()


@pytest.mark.fault("M3")
async def test_the_next_process_adopts_what_a_dead_one_owed(open_journal, folder):
    dead = await open_journal()
    await dead.intend(intent("unknown"))
    await dead.conclude(closing("known"))
    await dead.close()
    journal = await open_journal()

    recovery = await journal.recover()

    assert recovery.closings[0] == closing("known")
    assert recovery.closings[1].entries[0].outcome == "lost"
    assert journal.unshipped == 2
    journal.mark_recovered_posted(2)
    assert journal.unshipped == 0
    await journal.discard_recovered()
    await journal.close()
    assert list(folder.iterdir()) == []


@pytest.mark.fault("M3")
async def test_what_was_adopted_and_not_posted_is_adopted_again(open_journal):
    dead = await open_journal()
    await dead.conclude(closing())
    await dead.close()
    second = await open_journal()
    await second.recover()
    await second.close()
    third = await open_journal()

    recovery = await third.recover()

    assert recovery.closings == (closing(),)


async def test_a_living_process_keeps_its_segments_to_itself(open_journal):
    living = await open_journal()
    await living.conclude(closing())
    journal = await open_journal()

    recovery = await journal.recover()

    assert recovery.closings == ()


def test_a_lock_file_that_somebody_deleted_meanwhile_is_no_claim(tmp_path):
    path = tmp_path / "x.lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    path.unlink()

    assert _locked(fd) == -1


@pytest.mark.fault("M3")
def test_kill_9_at_any_moment_loses_nothing_that_was_said_to_be_durable(tmp_path):
    chance = random.Random(20261121)
    for round_number in range(6):
        folder = tmp_path / str(round_number)
        said = kill_after(chance.randrange(1, 400), folder, f"k{round_number}")

        recovered = asyncio.run(recover(folder))

        for word, request_id in said:
            assert request_id in recovered, (round_number, word, request_id)
            if word == "concluded":
                assert recovered[request_id] == closing(request_id)


@pytest.mark.fault("M12")
def test_a_full_file_is_changed_for_another_and_a_full_disk_refuses_until_there_is_room(tmp_path):
    child = subprocess.run(
        [sys.executable, str(HERE / "full_disk_child.py"), str(tmp_path)],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert child.stdout.splitlines() == [
        "before durable",
        "another-file durable",
        "full refused",
        "full-closing refused",
        "after durable",
        # Though its closing could not be made durable, what is in memory is still shipped.
        "waiting ['before']",
    ]
    recovered = asyncio.run(recover(tmp_path))
    assert set(recovered) == {"before", "another-file", "after"}


@pytest.mark.fault("M12")
async def test_a_full_disk_refuses_and_recovers(tiny_disk, log):
    journal = FileJournal(tiny_disk / "journal", clock=ManualClock(), log=log.logger)
    await journal.start()
    await journal.intend(intent("before"))
    ballast = tiny_disk / "ballast"
    fill(ballast)

    with pytest.raises(JournalUnavailableError, match="No space left"):
        await asyncio.gather(*(journal.intend(intent(f"r{number}")) for number in range(100)))
    ballast.unlink()

    await journal.intend(intent("after"))
    await journal.close()
    found = {_request(record) for record in on_disk(tiny_disk / "journal")}
    assert {"before", "after"} <= found


@pytest.mark.fault("M12")
async def test_a_disk_that_hangs_refuses_those_who_wait_and_those_who_come(open_journal):
    journal = await open_journal(Gated, stall_s=0.02)

    with pytest.raises(JournalUnavailableError, match="does not answer"):
        await journal.intend(intent("waits"))
    with pytest.raises(JournalUnavailableError, match="does not answer"):
        await journal.conclude(closing("comes"))

    journal.gate.set()
    await journal.answered.wait()
    await journal.intend(intent("later"))
    assert [one.settlement.request_id for one in journal.waiting(10)] == ["comes"]


@pytest.mark.fault("M13")
async def test_a_damaged_journal_is_reported_and_the_rest_of_it_recovered(open_journal, folder, log):
    dead = await open_journal()
    await dead.conclude(closing("sound"))
    await dead.conclude(closing("damaged"))
    await dead.close()
    (segment,) = folder.glob("*.wal")
    segment.write_bytes(segment.read_bytes()[:-1])
    journal = await open_journal()

    recovery = await journal.recover()

    assert recovery.closings == (closing("sound"),)
    assert [one.kind for one in recovery.damage] == ["torn"]
    assert log.events == ["journal.damaged"]
    await journal.discard_recovered()
    assert recovery.damage[0].path.exists()


class CountsWrites(FileJournal):
    writes = 0

    def _write(self, data: bytes) -> None:
        self.writes += 1
        super()._write(data)


class Gated(FileJournal):
    """Its disk answers when the gate is open."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.gate = threading.Event()
        self.answered = asyncio.Event()

    def _write(self, data: bytes) -> None:
        self.gate.wait(timeout=10)
        super()._write(data)

    def _committed(self, *args: object) -> None:
        super()._committed(*args)
        if not self._in_flight:
            self.answered.set()

    async def close(self) -> None:
        self.gate.set()
        await super().close()


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 256 KiB: needs the right to mount."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


async def recover(folder: Path) -> dict[str, object]:
    journal = FileJournal(folder, clock=ManualClock(), log=Log().logger)
    await journal.start()
    recovery = await journal.recover()
    await journal.close()
    found = {one.settlement.request_id: one for one in recovery.closings}
    assert len(found) == len(recovery.closings)
    return found


def _request(record: Record) -> str:
    match record:
        case IntentRecord(intent=one):
            return one.draft.request_id
        case ClosingRecord(closing=one):
            return one.settlement.request_id
        case ProgressRecord(request_id=request_id):
            return request_id
