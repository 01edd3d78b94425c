"""What is to be done for batches, and by whom: handed out piece by piece to all gateways on the database. Synchronous.

Whoever takes something holds it for a lease that he renews. When he dies, the lease runs out and another takes it; what
was recorded by then is not done again.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from gateway.clock import Clock
from gateway.ledger.batches import LineError
from gateway.ledger.database import Database
from gateway.ledger.files import Files
from gateway.ledger.schema import batch_lines, batches

Ending = Literal["completed", "expired", "cancelled", "revoked"]
"""Why a batch has no more lines to run. `revoked`: the key that made it counts no more."""

_ENDED = ("failed", "completed", "expired", "cancelled")
_PURGED_AT_ONCE = 500


class Checking(msgspec.Struct, frozen=True, kw_only=True):
    """Its input is to be read and its lines filled in, from the beginning."""

    batch_id: str
    tenant: str
    endpoint: str
    input_file_id: str


class Writing(msgspec.Struct, frozen=True, kw_only=True):
    """None of its lines runs or will run: its output is to be written, from the beginning."""

    batch_id: str
    tenant: str
    ending: Ending
    output_ttl_s: int | None


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A request to be run."""

    batch_id: str
    number: int
    key: str
    endpoint: str
    body: bytes
    failures: int
    """Tries that came to nothing before."""


Task = Checking | Writing | Line


class NewLine(msgspec.Struct, frozen=True):
    number: int
    custom_id: str
    body: bytes


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a line: the reply of an interactive request, and what it used."""

    request_id: str
    status_code: int
    reply: bytes
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0


class Answered(msgspec.Struct, frozen=True):
    """A line at the end: without an answer if it was not run."""

    number: int
    custom_id: str
    answer: Answer | None


class LostError(Exception):
    """It belongs to somebody else by now, or nobody: it was cancelled, or its lease ran out."""


class BatchWork:
    """Its calls raise DatabaseUnavailableError. `owner` is the process that asks."""

    def __init__(self, database: Database, clock: Clock, files: Files, *, owner: str, lease_s: float) -> None:
        self._database = database
        self._clock = clock
        self._files = files
        self._owner = owner
        self._lease_ms = round(lease_s * 1000)

    def take(self, *, with_lines: bool = True) -> Task | None:
        """The next thing to do, if there is one."""
        with self._database.reading() as connection:
            if connection.scalar(sa.select(batches.c.id).where(_is_active()).limit(1)) is None:
                return None
        now = self._clock.now_ms()
        with self._database.changing() as connection:
            _end_lines(connection, now)
            task = self._take_batch(connection, now)
            return task if task is not None or not with_lines else self._take_line(connection, now)

    def renew(self, tasks: Iterable[Task]) -> None:
        """For all of these."""
        until = self._clock.now_ms() + self._lease_ms
        with self._database.writing() as connection:
            for task in tasks:
                if isinstance(task, Line):
                    is_running = batch_lines.c.available_ms.is_not(None)
                    connection.execute(self._update(task).where(is_running).values(available_ms=until))
                else:
                    is_held = sa.and_(batches.c.id == task.batch_id, batches.c.owner == self._owner)
                    connection.execute(sa.update(batches).where(is_held).values(lease_until_ms=until))

    def clear_lines(self, batch_id: str) -> None:
        """Before checking: of whoever did not get to its end. Raises LostError."""
        with self._database.writing() as connection:
            self._hold(connection, batch_id, "validating")
            connection.execute(sa.delete(batch_lines).where(batch_lines.c.batch_id == batch_id))

    def add_lines(self, batch_id: str, lines: Sequence[NewLine]) -> None:
        """Raises LostError."""
        rows = [
            {
                "batch_id": batch_id,
                "number": line.number,
                "custom_id": line.custom_id,
                "body": line.body,
                "failures": 0,
                "available_ms": 0,
            }
            for line in lines
        ]
        with self._database.writing() as connection:
            self._hold(connection, batch_id, "validating")
            connection.execute(sa.insert(batch_lines), rows)

    def start(self, batch_id: str, *, total: int, model: str | None) -> None:
        """All lines are there and good. Raises LostError."""
        with self._database.writing() as connection:
            self._hold(connection, batch_id, "validating")
            values = {"status": "in_progress", "in_progress_ms": self._clock.now_ms()}
            _set(connection, batch_id, total=total, model=model, **values, **_FREE)

    def fail(self, batch_id: str, errors: Sequence[LineError]) -> None:
        """The input will not do. Raises LostError."""
        text = msgspec.json.encode(errors).decode()
        with self._database.writing() as connection:
            self._hold(connection, batch_id, "validating")
            _set(connection, batch_id, status="failed", errors=text, ended_ms=self._clock.now_ms(), **_FREE)

    def record(self, line: Line, answer: Answer) -> None:
        """Raises LostError if somebody else runs it by now: then his answer counts."""
        answered = {
            "body": None,
            "available_ms": None,
            "owner": None,
            "request_id": answer.request_id,
            "status_code": answer.status_code,
            "reply": answer.reply,
        }
        counted = "completed" if answer.status_code == 200 else "failed"
        with self._database.writing() as connection:
            if connection.execute(self._update(line).values(answered)).rowcount != 1:
                raise LostError
            sums = {name: batches.c[name] + getattr(answer, name) for name in _TOKENS}
            _set(connection, line.batch_id, **{counted: batches.c[counted] + 1}, **sums)

    def give_back(self, line: Line, *, not_before_ms: int = 0, is_failure: bool = False) -> None:
        """It was not answered."""
        values = {"owner": None, "available_ms": not_before_ms, "failures": line.failures + is_failure}
        with self._database.writing() as connection:
            connection.execute(self._update(line).values(values))

    def revoke(self, batch_id: str) -> None:
        """None of its lines is to be run any more."""
        is_running = sa.and_(batches.c.id == batch_id, batches.c.status == "in_progress")
        with self._database.writing() as connection:
            connection.execute(
                sa.update(batches).where(is_running).values(_finalizing("revoked", self._clock.now_ms()))
            )

    def answered(self, batch_id: str, *, after: int, limit: int) -> list[Answered]:
        """Lines in their order, from the one after that number."""
        query = (
            sa.select(
                batch_lines.c.number,
                batch_lines.c.custom_id,
                batch_lines.c.request_id,
                batch_lines.c.status_code,
                batch_lines.c.reply,
            )
            .where(batch_lines.c.batch_id == batch_id, batch_lines.c.number > after)
            .order_by(batch_lines.c.number)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [_answered(row) for row in connection.execute(query)]

    def finish(self, writing: Writing, *, output: str | None, errors: str | None) -> None:
        """With the drafts of its files. Raises LostError."""
        values: dict[str, Any] = {
            "status": "completed" if writing.ending == "revoked" else writing.ending,
            "ended_ms": self._clock.now_ms(),
            "output_file_id": output,
            "error_file_id": errors,
        }
        if writing.ending == "revoked":
            values["failed"] = batches.c.total - batches.c.completed
        with self._database.writing() as connection:
            self._hold(connection, writing.batch_id, "finalizing", "cancelling")
            for draft, name in ((output, "output"), (errors, "error")):
                if draft is not None:
                    self._files.publish(
                        connection,
                        draft,
                        purpose="batch_output",
                        filename=f"{writing.batch_id}_{name}.jsonl",
                        ttl_s=writing.output_ttl_s,
                    )
            _set(connection, writing.batch_id, **values, **_FREE)

    def purge(self) -> int:
        """Remove some lines of batches that are over; how many."""
        key = sa.tuple_(batch_lines.c.batch_id, batch_lines.c.number)
        some = (
            sa.select(batch_lines.c.batch_id, batch_lines.c.number)
            .join(batches, batches.c.id == batch_lines.c.batch_id)
            .where(batches.c.status.in_(_ENDED))
            .limit(_PURGED_AT_ONCE)
        )
        with self._database.writing() as connection:
            return connection.execute(sa.delete(batch_lines).where(key.in_(some))).rowcount

    def _take_batch(self, connection: sa.Connection, now: int) -> Checking | Writing | None:
        runs = sa.exists().where(
            batch_lines.c.batch_id == batches.c.id,
            batch_lines.c.available_ms > now,
            batch_lines.c.owner.is_not(None),
        )
        is_over = sa.and_(batches.c.status.in_(("finalizing", "cancelling")), ~runs)
        query = (
            sa.select(batches)
            .where(batches.c.lease_until_ms <= now, sa.or_(batches.c.status == "validating", is_over))
            .order_by(batches.c.id)
            .limit(1)
        )
        row = connection.execute(query).one_or_none()
        if row is None:
            return None
        _set(connection, row.id, owner=self._owner, lease_until_ms=now + self._lease_ms)
        if row.status == "validating":
            return Checking(
                batch_id=row.id,
                tenant=row.tenant_id,
                endpoint=row.endpoint,
                input_file_id=row.input_file_id,
            )
        return Writing(
            batch_id=row.id, tenant=row.tenant_id, ending=row.ending, output_ttl_s=row.output_ttl_s
        )

    def _take_line(self, connection: sa.Connection, now: int) -> Line | None:
        """Tenants take turns, and within each one his batches: a long one does not keep a short one waiting."""
        batch = connection.execute(
            sa.select(batches.c.id, batches.c.key_id, batches.c.endpoint)
            .where(batches.c.status == "in_progress", sa.exists().where(self._is_free(batches.c.id, now)))
            .order_by(_TENANTS_TURN, batches.c.turn, batches.c.id)
            .limit(1)
        ).one_or_none()
        if batch is None:
            return None
        line = connection.execute(
            sa.select(batch_lines.c.number, batch_lines.c.body, batch_lines.c.failures)
            .where(self._is_free(batch.id, now))
            .order_by(batch_lines.c.available_ms, batch_lines.c.number)
            .limit(1)
        ).one()
        connection.execute(
            sa.update(batch_lines)
            .where(batch_lines.c.batch_id == batch.id, batch_lines.c.number == line.number)
            .values(owner=self._owner, available_ms=now + self._lease_ms)
        )
        latest = sa.select(sa.func.max(batches.c.turn)).where(batches.c.status == "in_progress")
        _set(connection, batch.id, turn=connection.scalar(latest) + 1)
        return Line(
            batch_id=batch.id,
            number=line.number,
            key=batch.key_id,
            endpoint=batch.endpoint,
            body=bytes(line.body),
            failures=line.failures,
        )

    def _is_free(self, batch_id: sa.Column[str] | str, now: int) -> sa.ColumnElement[bool]:
        return sa.and_(
            batch_lines.c.batch_id == batch_id,
            batch_lines.c.available_ms <= now,
            # One that has slept through its own lease still runs here.
            sa.or_(batch_lines.c.owner.is_(None), batch_lines.c.owner != self._owner),
        )

    def _hold(self, connection: sa.Connection, batch_id: str, *statuses: str) -> None:
        """Still ours, and for another lease."""
        held = connection.execute(
            sa.update(batches)
            .where(batches.c.id == batch_id, batches.c.owner == self._owner, batches.c.status.in_(statuses))
            .values(lease_until_ms=self._clock.now_ms() + self._lease_ms)
        )
        if held.rowcount != 1:
            raise LostError

    def _update(self, line: Line) -> sa.Update:
        return sa.update(batch_lines).where(
            batch_lines.c.batch_id == line.batch_id,
            batch_lines.c.number == line.number,
            batch_lines.c.owner == self._owner,
        )


_TOKENS = ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens")
_OTHERS = batches.alias()
_TENANTS_TURN = (
    sa.select(sa.func.max(_OTHERS.c.turn))
    .where(_OTHERS.c.tenant_id == batches.c.tenant_id, _OTHERS.c.status == "in_progress")
    .scalar_subquery()
)
_FREE: dict[str, Any] = {"owner": None, "lease_until_ms": 0}


def _is_active() -> sa.ColumnElement[bool]:
    return batches.c.status.not_in(_ENDED)


def _end_lines(connection: sa.Connection, now: int) -> None:
    """Batches whose time is over, and those whose lines are all answered."""
    runs = sa.update(batches).where(batches.c.status == "in_progress")
    connection.execute(runs.where(batches.c.expires_ms <= now).values(_finalizing("expired", now)))
    is_through = batches.c.completed + batches.c.failed == batches.c.total
    connection.execute(runs.where(is_through).values(_finalizing("completed", now)))


def _finalizing(ending: Ending, now: int) -> dict[str, Any]:
    return {"status": "finalizing", "ending": ending, "finalizing_ms": now}


def _set(connection: sa.Connection, batch_id: str, **values: Any) -> None:
    connection.execute(sa.update(batches).where(batches.c.id == batch_id).values(values))


def _answered(row: sa.Row[*tuple[Any, ...]]) -> Answered:
    if row.status_code is None:
        return Answered(row.number, row.custom_id, None)
    answer = Answer(request_id=row.request_id, status_code=row.status_code, reply=bytes(row.reply))
    return Answered(row.number, row.custom_id, answer)
