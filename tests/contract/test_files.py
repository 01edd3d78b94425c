"""The store of files, on SQLite and on PostgreSQL."""

import pytest

from gateway.clock import ManualClock
from gateway.ids import Ids
from gateway.ledger.files import Files, NoRoomError, Page

TTL_S = 3600


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def files(database, clock) -> Files:
    return Files(database, clock, Ids("file-", clock), max_tenant_bytes=100, ttl_s=TTL_S)


def write(files: Files, tenant: str = "acme", *chunks: bytes, name: str = "a.jsonl", purpose: str = "batch"):
    draft = files.begin(tenant)
    for number, chunk in enumerate(chunks or (b"x",)):
        files.append(draft, number, chunk)
    return files.finish(draft, purpose=purpose, filename=name)


def test_what_was_written_is_read_in_its_order(files, clock):
    file = write(files, "acme", b"one", b"\x00\xfftwo")

    assert files.find("acme", file.id) == file
    assert (file.bytes, file.filename, file.purpose) == (8, "a.jsonl", "batch")
    assert (file.created_ms, file.expires_ms) == (clock.now_ms(), clock.now_ms() + TTL_S * 1000)
    assert [files.chunk(file.id, number) for number in range(3)] == [b"one", b"\x00\xfftwo", None]


def test_nobody_sees_a_file_that_is_still_written(files):
    draft = files.begin("acme")
    files.append(draft, 0, b"half")

    assert files.find("acme", draft) is None
    assert files.page("acme", Page(limit=10)) == ([], False)
    assert not files.delete("acme", draft)


@pytest.mark.fault("A8")
def test_another_tenants_file_is_as_one_that_does_not_exist(files):
    file = write(files)

    assert files.find("rival", file.id) is None
    assert files.page("rival", Page(limit=10)) == ([], False)
    assert not files.delete("rival", file.id)
    assert files.find("acme", file.id) == file


def test_a_deleted_file_is_gone_with_its_content(files):
    file = write(files)

    assert files.delete("acme", file.id)

    assert files.find("acme", file.id) is None
    assert files.chunk(file.id, 0) is None
    assert not files.delete("acme", file.id)


def test_pages_go_by_age_either_way_and_say_whether_there_is_more(files, clock):
    made = []
    for number in range(5):
        made.append(write(files, name=str(number), purpose="batch" if number % 2 == 0 else "batch_output").id)
        clock.advance(1)

    def names(**page):
        purpose = page.pop("purpose", None)
        found, has_more = files.page("acme", Page(**page), purpose=purpose)
        return [file.filename for file in found], has_more

    assert names(limit=10) == (["4", "3", "2", "1", "0"], False)
    assert names(limit=5) == (["4", "3", "2", "1", "0"], False)
    assert names(limit=2) == (["4", "3"], True)
    assert names(limit=2, after=made[3]) == (["2", "1"], True)
    assert names(limit=2, after=made[3], is_ascending=True) == (["4"], False)
    assert names(limit=10, purpose="batch_output") == (["3", "1"], False)


def test_a_tenants_files_together_stay_within_their_bound(files):
    write(files, "acme", b"x" * 90)
    draft = files.begin("acme")
    files.append(draft, 0, b"x" * 10)

    with pytest.raises(NoRoomError):
        files.append(draft, 1, b"x")

    files.append(draft, 1, b"x", is_bounded=False)
    write(files, "rival", b"x" * 100)
    files.drop(draft)
    write(files, "acme", b"x" * 10)


def test_an_expired_file_is_not_there_and_is_removed(files, clock, database):
    kept = files.finish(files.begin("acme"), purpose="batch", filename="b", ttl_s=2 * TTL_S)
    expired = write(files)
    clock.advance(TTL_S)

    assert files.find("acme", expired.id) is None
    assert files.purge() == 1
    assert files.purge() == 0
    assert files.chunk(expired.id, 0) is None
    assert files.find("acme", kept.id) == kept


def test_what_a_dead_process_left_half_written_is_removed_a_day_later(files, clock):
    files.append(files.begin("acme"), 0, b"half")
    clock.advance(86_399)
    assert files.purge() == 0
    clock.advance(1)

    assert files.purge() == 1
