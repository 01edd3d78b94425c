"""Batches as their owners see them, in SQL. What is done with them is in `batch_work`. Synchronous."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from gateway.clock import Clock
from gateway.ledger.database import Database
from gateway.ledger.files import Page, on_page
from gateway.ledger.schema import batches
from gateway.values import Caller

Status = Literal[
    "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
]
ACTIVE: tuple[Status, ...] = ("validating", "in_progress", "finalizing", "cancelling")


class LineError(msgspec.Struct, frozen=True):
    """Why an input file will not do. Lines count from 1."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the table, for its owner."""

    id: str
    tenant_id: str
    endpoint: str
    input_file_id: str
    output_file_id: str | None
    error_file_id: str | None
    metadata: dict[str, str] | None
    model: str | None
    status: Status
    errors: tuple[LineError, ...]
    created_ms: int
    expires_ms: int
    in_progress_ms: int | None
    cancelling_ms: int | None
    finalizing_ms: int | None
    ended_ms: int | None
    total: int
    completed: int
    failed: int
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    reasoning_tokens: int


class NewBatch(msgspec.Struct, frozen=True, kw_only=True):
    endpoint: str
    input_file_id: str
    window_s: int
    metadata: Mapping[str, str] | None = None
    output_ttl_s: int | None = None


class TooManyBatchesError(Exception):
    """The tenant has as many unfinished batches as he may."""


class Batches:
    """Its calls raise DatabaseUnavailableError. Another tenant's batch is as one that does not exist."""

    def __init__(
        self, database: Database, clock: Clock, new_id: Callable[[], str], *, max_active: int
    ) -> None:
        self._database = database
        self._clock = clock
        self._new_id = new_id
        self._max_active = max_active

    def create(self, caller: Caller, new: NewBatch) -> Batch:
        """Raises TooManyBatchesError."""
        now = self._clock.now_ms()
        row = {
            "id": self._new_id(),
            "tenant_id": caller.tenant,
            "user_id": caller.user,
            "key_id": caller.key,
            "endpoint": new.endpoint,
            "input_file_id": new.input_file_id,
            "output_ttl_s": new.output_ttl_s,
            "metadata": None if new.metadata is None else msgspec.json.encode(new.metadata).decode(),
            "status": "validating",
            "created_ms": now,
            "expires_ms": now + 1000 * new.window_s,
            "lease_until_ms": 0,
            **dict.fromkeys(_COUNTS, 0),
        }
        active = (
            sa.select(sa.func.count())
            .select_from(batches)
            .where(batches.c.tenant_id == caller.tenant, batches.c.status.in_(ACTIVE))
        )
        with self._database.changing() as connection:
            if (connection.scalar(active) or 0) >= self._max_active:
                raise TooManyBatchesError
            connection.execute(sa.insert(batches).values(row))
            return _batch(connection.execute(_of(caller.tenant, row["id"])).mappings().one())

    def find(self, tenant: str, batch_id: str) -> Batch | None:
        with self._database.reading() as connection:
            row = connection.execute(_of(tenant, batch_id)).mappings().one_or_none()
        return None if row is None else _batch(row)

    def page(self, tenant: str, page: Page) -> tuple[list[Batch], bool]:
        """And whether there are more."""
        query = on_page(sa.select(batches).where(batches.c.tenant_id == tenant), batches.c.id, page)
        with self._database.reading() as connection:
            rows = connection.execute(query).mappings().all()
        return [_batch(row) for row in rows[: page.limit]], len(rows) > page.limit

    def cancel(self, tenant: str, batch_id: str) -> Batch | None:
        """As it is then: `cancelling`, unless it was over already. None if there is none."""
        cancelled = {
            "status": "cancelling",
            "ending": "cancelled",
            "cancelling_ms": self._clock.now_ms(),
            # Whoever checks its input or writes its output loses it, and stops at his next step.
            "owner": None,
            "lease_until_ms": 0,
        }
        is_running = sa.and_(batches.c.id == batch_id, batches.c.status.in_(("validating", "in_progress")))
        with self._database.changing() as connection:
            row = connection.execute(_of(tenant, batch_id)).mappings().one_or_none()
            if row is None:
                return None
            connection.execute(sa.update(batches).where(is_running).values(cancelled))
            return _batch(connection.execute(_of(tenant, batch_id)).mappings().one())


_COUNTS = (
    "total",
    "completed",
    "failed",
    "input_tokens",
    "cached_input_tokens",
    "output_tokens",
    "reasoning_tokens",
    "turn",
)


def _of(tenant: str, batch_id: Any) -> sa.Select[*tuple[Any, ...]]:
    return sa.select(batches).where(batches.c.tenant_id == tenant, batches.c.id == batch_id)


def _batch(row: sa.RowMapping) -> Batch:
    values = {name: row[name] for name in Batch.__struct_fields__} | {
        "metadata": row["metadata"] and msgspec.json.decode(row["metadata"]),
        "errors": msgspec.json.decode(row["errors"], type=tuple[LineError, ...]) if row["errors"] else (),
    }
    return Batch(**values)
