"""The SQL database: SQLite or PostgreSQL, one code. Every call is synchronous; async callers run it in a thread."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url

from gateway.errors import ConfigError

_CLOSE_S = 2.0
_CHANGE_LOCK = 0x77656967
_MIGRATION_LOCK = 0x77656968

_SQLITE_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    # FULL, not NORMAL: a journal segment is deleted once its entries are committed here, so that a commit must not
    # be lost to a power cut. It costs one fsync per batch.
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    # Without it, INSERT OR REPLACE would delete a row behind the back of the append-only triggers.
    "PRAGMA recursive_triggers = ON",
)


class DatabaseUnavailableError(Exception):
    """The database cannot be reached, or did not answer in time. The message is one line without a password."""


class RowRefusedError(Exception):
    """The database answers, but will not take a value: trying again does not help."""


class Database:
    def __init__(self, url: str, *, timeout_s: float = 5.0, statement_timeout_s: float = 10.0) -> None:
        """`sqlite:///PATH` or `postgresql://...`; opens nothing yet. Raises ConfigError if the URL is neither."""
        parsed = _parse(url)
        self.is_postgres = parsed.get_backend_name() == "postgresql"
        self.shown_url = parsed.set(query={}).render_as_string(hide_password=True)
        """For messages: without the password, which may stand in the query too."""
        self._idle = threading.Condition()
        self._in_use = 0
        if self.is_postgres:
            self.engine = _postgres(parsed, timeout_s, statement_timeout_s)
        else:
            self.engine = _sqlite(parsed, timeout_s)

    def migrate(self) -> None:
        """Bring the schema to the newest revision. Several processes may do so at once.

        Raises ConfigError when a newer release wrote the database, DatabaseUnavailableError when it cannot be used.
        """
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        if not self.is_postgres:
            self._make_folder()
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with self._transaction("IMMEDIATE") as connection:
            if self.is_postgres:
                connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
                connection.exec_driver_sql("SET LOCAL lock_timeout = '60s'")
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as exc:
                raise ConfigError(f"database {self.shown_url}: written by a newer release: {exc}") from exc

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        with self._transaction("DEFERRED") as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """Commits at the end of the block."""
        # A deferred transaction that turns from reading to writing fails at once if another wrote in between.
        with self._transaction("IMMEDIATE") as connection:
            yield connection

    @contextmanager
    def changing(self) -> Iterator[sa.Connection]:
        """As `writing`, one at a time over all processes: for changes that depend on what they read."""
        with self.writing() as connection:
            if self.is_postgres:
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_CHANGE_LOCK})")
            yield connection

    async def is_reachable(self, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.to_thread(self._ping)
        except (TimeoutError, DatabaseUnavailableError):
            return False
        return True

    def close(self) -> None:
        """Waits a little for threads that nobody waits for any more: their connections would be left open."""
        with self._idle:
            self._idle.wait_for(lambda: not self._in_use, timeout=_CLOSE_S)
        self.engine.dispose()

    def _ping(self) -> None:
        with self.reading() as connection:
            connection.exec_driver_sql("SELECT 1")

    @contextmanager
    def _using(self) -> Iterator[None]:
        with self._idle:
            self._in_use += 1
        try:
            yield
        finally:
            with self._idle:
                self._in_use -= 1
                self._idle.notify_all()

    @contextmanager
    def _transaction(self, sqlite_mode: str) -> Iterator[sa.Connection]:
        try:
            with (
                self._using(),
                self.engine.connect().execution_options(sqlite_mode=sqlite_mode) as connection,
                connection.begin(),
            ):
                yield connection
        except (sa.exc.IntegrityError, sa.exc.DataError) as exc:
            raise RowRefusedError(_first_line(exc)) from exc
        except (sa.exc.DBAPIError, sa.exc.TimeoutError) as exc:
            raise DatabaseUnavailableError(f"database {self.shown_url}: {_first_line(exc)}") from exc

    def _make_folder(self) -> None:
        path = Path(str(self.engine.url.database))
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as exc:
            raise ConfigError(f"database: cannot make the folder {path.parent}: {exc.strerror}") from exc


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (sa.exc.ArgumentError, ValueError) as exc:
        raise ConfigError(
            "database.url: not a URL; expected sqlite:///PATH or postgresql://HOST/NAME"
        ) from exc
    if parsed.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername == "sqlite" and parsed.database and parsed.database != ":memory:":
        return parsed
    raise ConfigError(
        f"database.url: {parsed.drivername} will not do; expected sqlite:///PATH or postgresql://HOST/NAME"
    )


def _postgres(url: URL, timeout_s: float, statement_timeout_s: float) -> sa.Engine:
    settings: dict[str, Any] = {
        "connect_timeout": max(1, round(timeout_s)),
        "application_name": "weighbridge",
        "options": f"-c statement_timeout={round(statement_timeout_s * 1000)} -c timezone=UTC",
        # A server that vanishes without a word is noticed by the kernel, not by waiting for its answer.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": round(statement_timeout_s * 1000),
    }
    return sa.create_engine(
        url,
        pool_size=4,
        max_overflow=4,
        pool_timeout=timeout_s,
        pool_pre_ping=True,
        connect_args={name: value for name, value in settings.items() if name not in url.query},
    )


def _sqlite(url: URL, timeout_s: float) -> sa.Engine:
    engine = sa.create_engine(url, pool_timeout=timeout_s, connect_args={"timeout": timeout_s})

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        # The driver would begin transactions by itself, at other moments than we mean.
        connection.isolation_level = None
        for pragma in _SQLITE_PRAGMAS:
            connection.execute(pragma)

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql(
            f"BEGIN {connection.get_execution_options().get('sqlite_mode', 'DEFERRED')}"
        )

    return engine


def _first_line(exc: sa.exc.SQLAlchemyError) -> str:
    cause = getattr(exc, "orig", None) or exc
    return str(cause).strip().partition("\n")[0]
