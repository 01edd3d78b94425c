"""What was answered under each Idempotency-Key, in SQL, because the promise must survive a restart. Synchronous."""

from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from gateway.clock import Clock
from gateway.ledger.database import Database
from gateway.ledger.schema import idempotency

_PURGED_AT_ONCE = 500
"""Replies may be large, and SQLite has one writer: the others must not wait long for a purge."""


class Slot(msgspec.Struct, frozen=True):
    """A tenant's key, by its digest."""

    tenant: str
    digest: str


class StoredReply(msgspec.Struct, frozen=True, kw_only=True):
    status: int
    content_type: str
    body: bytes


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What stands under a key that somebody has claimed before."""

    fingerprint: str
    is_running: bool
    reply: StoredReply | None
    """None while it runs, and for an answer that was not kept."""


class Idempotency:
    """Its calls raise DatabaseUnavailableError."""

    def __init__(self, database: Database, clock: Clock, *, lease_s: float, ttl_s: float) -> None:
        """A claim that is older than `lease_s` and still runs is that of a dead process."""
        self._database = database
        # ON CONFLICT is both databases' and neither dialect's in common.
        self._insert_into: Any = postgresql.insert if database.is_postgres else sqlite.insert
        self._clock = clock
        self._lease_ms = round(lease_s * 1000)
        self._ttl_ms = round(ttl_s * 1000)

    def claim(self, slot: Slot, *, fingerprint: str, owner: str) -> Record | None:
        """None: the owner has it, and must `keep` or `release` it. Otherwise what stands there."""
        now = self._clock.now_ms()
        fresh: dict[str, Any] = {
            "fingerprint": fingerprint,
            "owner": owner,
            "state": "running",
            "lease_until_ms": now + self._lease_ms,
            "status": None,
            "content_type": None,
            "body": None,
            "created_ms": now,
        }
        with self._database.writing() as connection:
            while True:
                if self._insert(connection, slot, fresh):
                    return None
                query = sa.select(idempotency).where(_is(slot)).with_for_update()
                row = connection.execute(query).one_or_none()
                if row is None:
                    continue  # released between the two statements
                if not self._is_over(row, now):
                    return _record(row)
                connection.execute(sa.update(idempotency).where(_is(slot)).values(fresh))
                return None

    def keep(self, slot: Slot, *, owner: str, reply: StoredReply | None) -> None:
        """The request has been answered. Without a reply, a repetition is told that there is none."""
        values: dict[str, Any] = {"state": "done"}
        if reply is not None:
            values |= {"status": reply.status, "content_type": reply.content_type, "body": reply.body}
        with self._database.writing() as connection:
            connection.execute(sa.update(idempotency).where(_is_held(slot, owner)).values(values))

    def release(self, slot: Slot, *, owner: str) -> None:
        """Nothing was done: the key is free again."""
        with self._database.writing() as connection:
            connection.execute(sa.delete(idempotency).where(_is_held(slot, owner)))

    def purge(self) -> int:
        """Forget some of what is too old; how many."""
        now = self._clock.now_ms()
        is_old = idempotency.c.created_ms <= now - self._ttl_ms
        is_over = sa.or_(idempotency.c.state == "done", idempotency.c.lease_until_ms <= now)
        key = sa.tuple_(idempotency.c.tenant_id, idempotency.c.key_digest)
        some = sa.select(*key.clauses).where(is_old, is_over).limit(_PURGED_AT_ONCE)
        with self._database.writing() as connection:
            # Asked again of the row itself: PostgreSQL may have let somebody claim it in between.
            return connection.execute(sa.delete(idempotency).where(key.in_(some), is_old, is_over)).rowcount

    def _insert(self, connection: sa.Connection, slot: Slot, values: dict[str, Any]) -> bool:
        row = {"tenant_id": slot.tenant, "key_digest": slot.digest, **values}
        insert = self._insert_into(idempotency).values(row).on_conflict_do_nothing()
        # Not its row count: PostgreSQL's driver does not tell that of an insert.
        return connection.scalar(insert.returning(idempotency.c.owner)) is not None

    def _is_over(self, row: sa.Row[Any], now: int) -> bool:
        if row.state == "running":
            return bool(row.lease_until_ms <= now)
        return bool(row.created_ms + self._ttl_ms <= now)


def _is(slot: Slot) -> sa.ColumnElement[bool]:
    return sa.and_(idempotency.c.tenant_id == slot.tenant, idempotency.c.key_digest == slot.digest)


def _is_held(slot: Slot, owner: str) -> sa.ColumnElement[bool]:
    return sa.and_(_is(slot), idempotency.c.owner == owner, idempotency.c.state == "running")


def _record(row: sa.Row[Any]) -> Record:
    reply = (
        None
        if row.body is None
        else StoredReply(status=row.status, content_type=row.content_type, body=bytes(row.body))
    )
    return Record(fingerprint=row.fingerprint, is_running=row.state == "running", reply=reply)
