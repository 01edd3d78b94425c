"""Who does what for batches, with several processes at it, on SQLite and on PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from gateway.clock import ManualClock
from gateway.ids import Ids
from gateway.ledger.batch_work import Answer, BatchWork, Checking, LostError, NewLine, Writing
from gateway.ledger.batches import Batches, LineError, NewBatch, TooManyBatchesError
from gateway.ledger.files import Files, Page
from gateway.values import Caller, Limits, Tier

LEASE_S, WINDOW_S = 60, 86_400
TIER = Tier(
    name="paid",
    priority=0,
    limits=Limits(),
    sizes=("small",),
    default_output_tokens=1,
    max_output_tokens=1,
    max_choices=1,
)


def caller(tenant: str = "acme") -> Caller:
    return Caller(tenant=tenant, user="ann", key="k1", tier=TIER, tenant_limits=Limits())


class Setting:
    def __init__(self, database, clock):
        self.database = database
        self.clock = clock
        self.files = Files(database, clock, Ids("file-", clock), max_tenant_bytes=10**9, ttl_s=3600)
        self.batches = Batches(database, clock, Ids("batch_", clock), max_active=3)
        self.work = self.process("one")

    def process(self, name):
        return BatchWork(self.database, self.clock, self.files, owner=name, lease_s=LEASE_S)

    def create(self, tenant="acme"):
        self.clock.advance(1)
        new = NewBatch(
            endpoint="/v1/chat/completions", input_file_id="file-1", window_s=WINDOW_S, metadata={"a": "b"}
        )
        return self.batches.create(caller(tenant), new).id

    def running(self, lines=2, tenant="acme"):
        """A batch that is in progress."""
        batch_id = self.create(tenant)
        assert self.work.take() == Checking(
            batch_id=batch_id, tenant=tenant, endpoint="/v1/chat/completions", input_file_id="file-1"
        )
        self.work.clear_lines(batch_id)
        self.work.add_lines(batch_id, [NewLine(n, f"c{n}", b"{%d}" % n) for n in range(1, lines + 1)])
        self.work.start(batch_id, total=lines, model="small")
        return batch_id

    def status(self, batch_id, tenant="acme"):
        return self.batches.find(tenant, batch_id).status


@pytest.fixture
def setting(database) -> Setting:
    return Setting(database, ManualClock())


def answer(status=200, reply=b'{"ok":1}', **used):
    return Answer(request_id="req_1", status_code=status, reply=reply, **used)


def test_a_batch_goes_from_its_input_over_its_lines_to_its_output(setting):
    work, batch_id = setting.work, setting.running()

    first, second = work.take(), work.take()
    assert [(line.number, line.body, line.key, line.failures) for line in (first, second)] == [
        (1, b"{1}", "k1", 0),
        (2, b"{2}", "k1", 0),
    ]
    assert work.take() is None
    work.record(second, answer(400))
    work.record(first, answer(input_tokens=3, cached_input_tokens=1, output_tokens=2, reasoning_tokens=5))
    writing = work.take()
    assert writing == Writing(batch_id=batch_id, tenant="acme", ending="completed", output_ttl_s=None)
    lines = work.answered(batch_id, after=0, limit=10)
    output = setting.files.begin("acme")
    setting.files.append(output, 0, b"out")
    work.finish(writing, output=output, errors=None)

    assert [(line.number, line.custom_id, line.answer.status_code) for line in lines] == [
        (1, "c1", 200),
        (2, "c2", 400),
    ]
    assert lines[0].answer.reply == b'{"ok":1}'
    batch = setting.batches.find("acme", batch_id)
    assert (batch.status, batch.total, batch.completed, batch.failed) == ("completed", 2, 1, 1)
    assert (
        batch.input_tokens,
        batch.cached_input_tokens,
        batch.output_tokens,
        batch.reasoning_tokens,
    ) == (3, 1, 2, 5)
    assert (batch.output_file_id, batch.error_file_id, batch.model) == (output, None, "small")
    assert batch.metadata == {"a": "b"}
    file = setting.files.find("acme", output)
    assert (file.purpose, file.filename, file.bytes) == ("batch_output", f"{batch_id}_output.jsonl", 3)
    assert work.take() is None
    assert work.purge() == 2
    assert work.purge() == 0


def test_a_batch_whose_input_will_not_do_says_why(setting):
    batch_id = setting.create()
    setting.work.take()
    errors = (LineError("invalid_json_line", "no", 3),)

    setting.work.fail(batch_id, errors)

    batch = setting.batches.find("acme", batch_id)
    assert (batch.status, batch.errors, batch.ended_ms) == ("failed", errors, setting.clock.now_ms())
    assert setting.work.take() is None


def test_each_piece_of_work_is_given_to_one_process(setting):
    setting.running(lines=20)
    works = [setting.process(str(n)) for n in range(8)]
    together = Barrier(8)

    def take(work):
        together.wait()
        return [work.take() for _ in range(3)]

    with ThreadPoolExecutor(8) as threads:
        taken = [line for lines in threads.map(take, works) for line in lines if line is not None]

    assert sorted(line.number for line in taken) == list(range(1, 21))


def test_the_lines_of_a_process_that_died_are_taken_over_and_no_others(setting):
    setting.running(lines=3)
    dead, other = setting.process("dead"), setting.process("other")
    first, lost = dead.take(), dead.take()
    dead.record(first, answer())
    setting.clock.advance(LEASE_S - 1)
    third = other.take()
    assert third.number == 3
    assert other.take() is None
    other.renew([third])
    setting.clock.advance(1)

    again = other.take()

    assert again.number == lost.number
    assert other.take() is None
    with pytest.raises(LostError):
        dead.record(lost, answer(400))
    other.record(again, answer())


def test_a_process_that_slept_through_its_lease_does_not_take_its_own_line_again(setting):
    setting.running(lines=1)
    line = setting.work.take()
    setting.clock.advance(LEASE_S)

    assert setting.work.take() is None
    setting.work.record(line, answer())


def test_input_that_was_half_checked_by_a_dead_process_is_checked_anew(setting):
    batch_id = setting.create()
    dead, other = setting.process("dead"), setting.process("other")
    dead.take()
    dead.clear_lines(batch_id)
    dead.add_lines(batch_id, [NewLine(1, "c1", b"{}")])
    assert other.take() is None
    setting.clock.advance(LEASE_S)

    assert isinstance(other.take(), Checking)
    other.clear_lines(batch_id)
    other.add_lines(batch_id, [NewLine(1, "c1", b"{}")])
    with pytest.raises(LostError):
        dead.add_lines(batch_id, [NewLine(2, "c2", b"{}")])
    with pytest.raises(LostError):
        dead.start(batch_id, total=2, model=None)
    other.start(batch_id, total=1, model=None)


def test_a_step_that_takes_long_is_held_as_long_as_its_lease_is_renewed(setting):
    setting.create()
    checking = setting.work.take()
    for _ in range(3):
        setting.clock.advance(LEASE_S - 1)
        setting.work.renew([checking])

    assert setting.process("other").take() is None
    setting.work.clear_lines(checking.batch_id)


def test_output_that_was_half_written_by_a_dead_process_is_written_anew(setting):
    setting.running(lines=1)
    dead, other = setting.process("dead"), setting.process("other")
    dead.record(dead.take(), answer())
    writing = dead.take()
    assert isinstance(writing, Writing)
    setting.clock.advance(LEASE_S)

    assert other.take() == writing
    with pytest.raises(LostError):
        dead.finish(writing, output=None, errors=None)
    other.finish(writing, output=None, errors=None)
    assert setting.status(writing.batch_id) == "completed"


def test_tenants_take_turns_whatever_the_number_of_their_batches(setting):
    long, short = setting.running(lines=9), setting.running(lines=9)
    rival = setting.running(lines=9, tenant="rival")

    taken = [setting.work.take().batch_id for _ in range(8)]

    assert taken.count(rival) == 4
    assert taken.count(long) == taken.count(short) == 2


def test_a_line_that_was_given_back_waits_behind_the_others_until_its_time(setting):
    setting.running(lines=2)
    work = setting.work
    first = work.take()
    later = setting.clock.now_ms() + 5_000
    work.give_back(first, not_before_ms=later, is_failure=True)

    second = work.take()
    assert second.number == 2
    assert work.take() is None
    setting.clock.advance(5)
    again = work.take()

    assert (again.number, again.failures) == (1, 1)


def test_a_cancelled_batch_ends_when_its_running_lines_have(setting):
    batch_id = setting.running(lines=3)
    work = setting.work
    running = work.take()

    assert setting.batches.cancel("acme", batch_id).status == "cancelling"
    assert work.take() is None
    work.record(running, answer())
    writing = work.take()
    assert writing.ending == "cancelled"
    assert [line.answer is None for line in work.answered(batch_id, after=0, limit=9)] == [False, True, True]
    work.finish(writing, output=None, errors=None)

    batch = setting.batches.find("acme", batch_id)
    assert (batch.status, batch.completed, batch.failed) == ("cancelled", 1, 0)
    assert setting.batches.cancel("acme", batch_id).status == "cancelled"


def test_a_batch_that_is_cancelled_while_its_input_is_checked_stops_there(setting):
    batch_id = setting.create()
    setting.work.take()
    setting.work.clear_lines(batch_id)

    setting.batches.cancel("acme", batch_id)

    with pytest.raises(LostError):
        setting.work.add_lines(batch_id, [NewLine(1, "c1", b"{}")])
    assert setting.work.take().ending == "cancelled"


def test_a_cancelled_batch_does_not_wait_for_a_dead_process(setting):
    batch_id = setting.running(lines=1)
    setting.process("dead").take()
    setting.batches.cancel("acme", batch_id)
    assert setting.work.take() is None

    setting.clock.advance(LEASE_S)

    assert setting.work.take().ending == "cancelled"


def test_when_its_time_is_over_a_batch_ends_with_what_is_done(setting):
    batch_id = setting.running(lines=2)
    setting.work.record(setting.work.take(), answer())
    setting.clock.advance(WINDOW_S)

    writing = setting.work.take()
    assert writing.ending == "expired"
    setting.work.finish(writing, output=None, errors=None)

    batch = setting.batches.find("acme", batch_id)
    assert (batch.status, batch.completed, batch.failed) == ("expired", 1, 0)


def test_a_batch_whose_key_counts_no_more_ends_with_the_rest_failed(setting):
    batch_id = setting.running(lines=3)
    setting.work.record(setting.work.take(), answer())
    second = setting.work.take()

    setting.work.give_back(second)
    setting.work.revoke(batch_id)

    writing = setting.work.take()
    assert writing.ending == "revoked"
    setting.work.finish(writing, output=None, errors=None)
    batch = setting.batches.find("acme", batch_id)
    assert (batch.status, batch.total, batch.completed, batch.failed) == ("completed", 3, 1, 2)


@pytest.mark.fault("A8")
def test_another_tenants_batch_is_as_one_that_does_not_exist(setting):
    batch_id = setting.running()

    assert setting.batches.find("rival", batch_id) is None
    assert setting.batches.cancel("rival", batch_id) is None
    assert setting.batches.page("rival", Page(limit=10)) == ([], False)
    assert setting.status(batch_id) == "in_progress"


def test_a_tenant_has_so_many_unfinished_batches(setting):
    made = [setting.create() for _ in range(3)]

    with pytest.raises(TooManyBatchesError):
        setting.create()

    setting.create("rival")
    assert setting.work.take().batch_id == made[0]
    setting.work.fail(made[0], [])
    setting.create()


def test_pages_go_by_age(setting):
    made = [setting.create() for _ in range(3)]

    newest, has_more = setting.batches.page("acme", Page(limit=2))
    rest, has_rest = setting.batches.page("acme", Page(limit=2, after=newest[-1].id))

    assert [batch.id for batch in [*newest, *rest]] == made[::-1]
    assert (has_more, has_rest) == (True, False)
