"""Processes that work, sleep and die on the same batches: whatever they do, no line is held twice or answered twice."""

from itertools import count

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from gateway.clock import ManualClock
from gateway.ids import Ids
from gateway.ledger.batch_work import Answer, BatchWork, Checking, Line, LostError, NewLine, Task, Writing
from gateway.ledger.batches import Batches, NewBatch
from gateway.ledger.database import Database
from gateway.ledger.files import Files
from gateway.values import Caller, Limits, Tier

LEASE_S, WINDOW_S = 60, 3600
PROCESSES = 3
TIER = Tier(
    name="paid",
    priority=0,
    limits=Limits(),
    sizes=("small",),
    default_output_tokens=1,
    max_output_tokens=1,
    max_choices=1,
)
ENDED = ("failed", "completed", "expired", "cancelled")
_run = count()

processes = st.integers(0, PROCESSES - 1)
which = st.integers(0, 100)


class Held:
    def __init__(self, process: int, until: float) -> None:
        self.process = process
        self.until = until


class BatchMachine(RuleBasedStateMachine):
    database: Database

    def __init__(self) -> None:
        super().__init__()
        run = next(_run)  # each has tenants of its own: the database is not emptied in between
        self.clock = ManualClock(1_790_000_000_000 + run)
        self.batches = Batches(self.database, self.clock, Ids(f"batch_{run}_", self.clock), max_active=100)
        self.born = 0
        self.works = [self.process() for _ in range(PROCESSES)]
        self.callers = [
            Caller(tenant=f"{run}-{name}", user="u", key="k", tier=TIER, tenant_limits=Limits())
            for name in ("acme", "rival")
        ]
        self.made: dict[str, Caller] = {}
        self.lines: dict[str, int] = {}
        self.held: dict[tuple[str, int], Held] = {}
        self.tasks: list[list[Task]] = [[] for _ in range(PROCESSES)]
        self.answered: dict[str, set[int]] = {}

    def process(self) -> BatchWork:
        self.born += 1
        files = Files(self.database, self.clock, Ids("file-", self.clock), max_tenant_bytes=10**9, ttl_s=60)
        return BatchWork(self.database, self.clock, files, owner=str(self.born), lease_s=LEASE_S)

    def teardown(self) -> None:
        """Left alone, everything comes to its end, and nothing that was recorded is lost."""
        for process in range(PROCESSES):
            self.die(process)
        self.clock.advance(LEASE_S)
        while (task := self.works[0].take()) is not None:
            self.note(0, task)
            self.finish(0, task)
        for batch_id, caller in self.made.items():
            batch = self.batches.find(caller.tenant, batch_id)
            assert batch is not None
            assert batch.status in ENDED
            lines = self.works[0].answered(batch_id, after=0, limit=100)
            assert {line.number for line in lines if line.answer} == self.answered[batch_id]
            if batch.status == "completed" and batch.completed < batch.total:
                assert batch.failed == batch.total - batch.completed
            else:
                assert batch.completed == len(self.answered[batch_id])
        while self.works[0].purge():
            pass

    def note(self, process: int, task: Task) -> None:
        if isinstance(task, Line):
            place = (task.batch_id, task.number)
            assert task.number not in self.answered[task.batch_id]
        else:
            place = (task.batch_id, 0)
        now, held = self.clock.monotonic(), self.held.get(place)
        assert held is None or held.until <= now
        if not isinstance(task, Line):
            lives = [h for (b, n), h in self.held.items() if b == task.batch_id and n and h.until > now]
            assert not lives, "a batch is not written while one of its lines runs"
        self.held[place] = Held(process, now + LEASE_S)

    def finish(self, process: int, task: Task) -> None:
        work = self.works[process]
        place = (task.batch_id, task.number if isinstance(task, Line) else 0)
        held = self.held.get(place)
        is_ours = held is not None and held.process == process
        try:
            if isinstance(task, Checking):
                work.clear_lines(task.batch_id)
                total = self.lines[task.batch_id]
                work.add_lines(task.batch_id, [NewLine(n, f"c{n}", b"{}") for n in range(1, total + 1)])
                work.start(task.batch_id, total=total, model=None)
            elif isinstance(task, Writing):
                work.finish(task, output=None, errors=None)
            else:
                work.record(task, Answer(request_id="r", status_code=200, reply=b"{}"))
                assert is_ours
                self.answered[task.batch_id].add(task.number)
        except LostError:
            assert not (is_ours and isinstance(task, Line))
            return
        self.held.pop(place, None)

    def pick(self, process: int, number: int) -> Task | None:
        mine = self.tasks[process]
        return mine.pop(number % len(mine)) if mine else None

    @rule(tenant=st.integers(0, 1), lines=st.integers(1, 4))
    def create(self, tenant: int, lines: int) -> None:
        self.clock.advance(0.001)
        new = NewBatch(endpoint="/v1/embeddings", input_file_id="f", window_s=WINDOW_S)
        batch = self.batches.create(self.callers[tenant], new)
        self.made[batch.id] = self.callers[tenant]
        self.lines[batch.id] = lines
        self.answered[batch.id] = set()

    @rule(process=processes)
    def take(self, process: int) -> None:
        task = self.works[process].take()
        if task is not None:
            self.note(process, task)
            self.tasks[process].append(task)

    @rule(process=processes, number=which)
    def end(self, process: int, number: int) -> None:
        task = self.pick(process, number)
        if task is not None:
            self.finish(process, task)

    @rule(process=processes, number=which, later_s=st.sampled_from([0, 30]), is_failure=st.booleans())
    def give_back(self, process: int, number: int, later_s: int, is_failure: bool) -> None:
        task = self.pick(process, number)
        if isinstance(task, Line):
            until = self.clock.now_ms() + later_s * 1000
            self.works[process].give_back(task, not_before_ms=until, is_failure=is_failure)
            held = self.held.get((task.batch_id, task.number))
            if held is not None and held.process == process:
                del self.held[task.batch_id, task.number]

    @rule(process=processes)
    def renew(self, process: int) -> None:
        self.works[process].renew(self.tasks[process])
        until = self.clock.monotonic() + LEASE_S
        for task in self.tasks[process]:
            held = self.held.get((task.batch_id, task.number if isinstance(task, Line) else 0))
            if held is not None and held.process == process:
                held.until = until

    @rule(seconds=st.sampled_from([1, LEASE_S - 1, LEASE_S, WINDOW_S]))
    def move_the_clock(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule(process=processes)
    def die(self, process: int) -> None:
        """Its leases stand until they run out, and whoever starts in its place is another owner."""
        for place in [place for place, held in self.held.items() if held.process == process]:
            self.held[place].process = -1
        self.tasks[process] = []
        self.works[process] = self.process()

    @rule(number=which)
    def cancel(self, number: int) -> None:
        if self.made:
            batch_id, caller = list(self.made.items())[number % len(self.made)]
            self.batches.cancel(caller.tenant, batch_id)
            self.held.pop((batch_id, 0), None)

    @rule(number=which)
    def revoke(self, number: int) -> None:
        if self.made:
            self.works[0].revoke(list(self.made)[number % len(self.made)])


@pytest.mark.fault("M3")
def test_whatever_processes_do_a_line_is_held_and_answered_once(database: Database) -> None:
    class Machine(BatchMachine):
        pass

    Machine.database = database

    run_state_machine_as_test(  # type: ignore[no-untyped-call]  # hypothesis leaves it bare
        Machine,
        settings=settings(
            max_examples=15,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
