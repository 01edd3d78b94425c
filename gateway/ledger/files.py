"""Files of tenants, in SQL, so that every gateway has them. Content is kept in chunks. Synchronous."""

from collections.abc import Callable
from typing import Any

import msgspec
import sqlalchemy as sa

from gateway.clock import Clock
from gateway.ledger.database import Database
from gateway.ledger.schema import file_chunks, files

CHUNK_BYTES = 1_048_576
_DRAFT_MS = 86_400_000
"""What is still not whole a day after it was begun is that of a dead process."""


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    tenant: str
    purpose: str
    filename: str
    bytes: int
    created_ms: int
    expires_ms: int


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Of a list that goes by id, which is by time."""

    after: str | None = None
    limit: int
    is_ascending: bool = False


class NoRoomError(Exception):
    """The tenant's files would take up more than they may."""


class Files:
    """Its calls raise DatabaseUnavailableError. Another tenant's file is as one that does not exist."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        new_id: Callable[[], str],
        *,
        max_tenant_bytes: int,
        ttl_s: int,
    ) -> None:
        self._database = database
        self._clock = clock
        self._new_id = new_id
        self._max_tenant_bytes = max_tenant_bytes
        self._ttl_s = ttl_s

    def begin(self, tenant: str) -> str:
        """The id of a draft, which nobody sees until it is `finish`ed."""
        now = self._clock.now_ms()
        draft = {
            "id": self._new_id(),
            "tenant_id": tenant,
            "purpose": "",
            "filename": "",
            "bytes": 0,
            "is_whole": False,
            "created_ms": now,
            "expires_ms": now + _DRAFT_MS,
        }
        with self._database.writing() as connection:
            connection.execute(sa.insert(files).values(draft))
        return str(draft["id"])

    def append(self, draft: str, number: int, data: bytes, *, is_bounded: bool = True) -> None:
        """The chunk of that number, from 0. Raises NoRoomError, unless what it holds must not be lost to a bound."""
        with self._database.writing() as connection:
            tenant = connection.scalar(sa.select(files.c.tenant_id).where(files.c.id == draft))
            used = sa.select(sa.func.sum(files.c.bytes)).where(files.c.tenant_id == tenant)
            if is_bounded and int(connection.scalar(used) or 0) + len(data) > self._max_tenant_bytes:
                raise NoRoomError
            connection.execute(sa.insert(file_chunks).values(file_id=draft, number=number, data=data))
            longer = sa.update(files).where(files.c.id == draft).values(bytes=files.c.bytes + len(data))
            connection.execute(longer)

    def finish(self, draft: str, *, purpose: str, filename: str, ttl_s: int | None = None) -> StoredFile:
        with self._database.writing() as connection:
            self.publish(connection, draft, purpose=purpose, filename=filename, ttl_s=ttl_s)
            return _file(connection.execute(sa.select(files).where(files.c.id == draft)).one())

    def publish(
        self, connection: sa.Connection, draft: str, *, purpose: str, filename: str, ttl_s: int | None
    ) -> None:
        """As `finish`, in a transaction that makes other things true with it."""
        now = self._clock.now_ms()
        connection.execute(
            sa.update(files)
            .where(files.c.id == draft)
            .values(
                purpose=purpose,
                filename=filename,
                is_whole=True,
                created_ms=now,
                expires_ms=now + 1000 * (self._ttl_s if ttl_s is None else ttl_s),
            )
        )

    def drop(self, draft: str) -> None:
        with self._database.writing() as connection:
            _remove(connection, draft)

    def find(self, tenant: str, file_id: str) -> StoredFile | None:
        query = self._visible(tenant).where(files.c.id == file_id)
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _file(row)

    def page(self, tenant: str, page: Page, *, purpose: str | None = None) -> tuple[list[StoredFile], bool]:
        """And whether there are more."""
        query = on_page(self._visible(tenant), files.c.id, page)
        if purpose is not None:
            query = query.where(files.c.purpose == purpose)
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return [_file(row) for row in rows[: page.limit]], len(rows) > page.limit

    def chunk(self, file_id: str, number: int) -> bytes | None:
        """None after the last one, and for a file that has been deleted since."""
        query = sa.select(file_chunks.c.data).where(
            file_chunks.c.file_id == file_id, file_chunks.c.number == number
        )
        with self._database.reading() as connection:
            data = connection.scalar(query)
        return None if data is None else bytes(data)

    def delete(self, tenant: str, file_id: str) -> bool:
        """False if there is none."""
        with self._database.writing() as connection:
            found = connection.scalar(self._visible(tenant).where(files.c.id == file_id))
            if found is None:
                return False
            _remove(connection, file_id)
            return True

    def purge(self) -> int:
        """Remove one file that has expired, or was never finished; how many."""
        query = sa.select(files.c.id).where(files.c.expires_ms <= self._clock.now_ms()).limit(1)
        with self._database.writing() as connection:
            file_id = connection.scalar(query)
            if file_id is None:
                return 0
            _remove(connection, file_id)
            return 1

    def _visible(self, tenant: str) -> sa.Select[*tuple[Any, ...]]:
        return sa.select(files).where(
            files.c.tenant_id == tenant, files.c.is_whole, files.c.expires_ms > self._clock.now_ms()
        )


class Draft:
    """A file that is written piece by piece. Blocking; begun with its first piece."""

    def __init__(self, files: Files, tenant: str, *, is_bounded: bool = True) -> None:
        self._files = files
        self._tenant = tenant
        self._is_bounded = is_bounded
        self._buffer = bytearray()
        self._chunks = 0
        self.id: str | None = None

    def write(self, data: bytes) -> None:
        """Raises NoRoomError."""
        self._buffer += data
        while len(self._buffer) >= CHUNK_BYTES:
            self._append(CHUNK_BYTES)

    def flush(self) -> str | None:
        """All of it is in the database; under what id, if there is anything. Raises NoRoomError."""
        if self._buffer:
            self._append(len(self._buffer))
        return self.id

    def drop(self) -> None:
        if self.id is not None:
            self._files.drop(self.id)

    def _append(self, length: int) -> None:
        if self.id is None:
            self.id = self._files.begin(self._tenant)
        chunk = bytes(self._buffer[:length])
        del self._buffer[:length]
        self._files.append(self.id, self._chunks, chunk, is_bounded=self._is_bounded)
        self._chunks += 1


def on_page(
    query: sa.Select[*tuple[Any, ...]], column: sa.Column[str], page: Page
) -> sa.Select[*tuple[Any, ...]]:
    """One row more than asked for, which tells whether there are more."""
    if page.after is not None:
        query = query.where(column > page.after if page.is_ascending else column < page.after)
    return query.order_by(column if page.is_ascending else column.desc()).limit(page.limit + 1)


def _remove(connection: sa.Connection, file_id: str) -> None:
    connection.execute(sa.delete(file_chunks).where(file_chunks.c.file_id == file_id))
    connection.execute(sa.delete(files).where(files.c.id == file_id))


def _file(row: sa.Row[*tuple[Any, ...]]) -> StoredFile:
    return StoredFile(
        id=row.id,
        tenant=row.tenant_id,
        purpose=row.purpose,
        filename=row.filename,
        bytes=row.bytes,
        created_ms=row.created_ms,
        expires_ms=row.expires_ms,
    )
