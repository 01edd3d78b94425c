"""Opening, migrating and losing a database, on SQLite and on PostgreSQL."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from gateway.clock import ManualClock
from gateway.errors import ConfigError
from gateway.ledger.database import Database, DatabaseUnavailableError, RowRefusedError
from gateway.ledger.price_book import PriceBook
from gateway.ledger.schema import entries, metadata
from gateway.ledger.store import SqlLedger
from tests.fixtures.ledger import entry

ROOT = Path(__file__).parents[2]
MIGRATE = "import sys; from gateway.ledger.database import Database; Database(sys.argv[1]).migrate()"


def test_the_migrations_make_the_tables_that_the_queries_expect(database):
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})

        assert compare_metadata(context, metadata) == []


def test_migrating_twice_changes_nothing_and_keeps_the_rows(database):
    SqlLedger(database).post([entry()])

    database.migrate()

    assert SqlLedger(database).entries("r1") == [entry()]


def test_entries_and_prices_older_than_engine_time_are_of_none(empty_database_url):
    database = Database(empty_database_url)
    with database.engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(ROOT / "gateway" / "ledger" / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, "20261122_outcomes")
        columns = [column.name for column in entries.columns if column.name != "engine_us"]
        values = msgspec.structs.astuple(entry())[: len(columns)]
        connection.execute(sa.insert(entries).values(dict(zip(columns, values, strict=True))))
        connection.exec_driver_sql(
            "INSERT INTO prices (version, candidate_id, number, effective_ms, input, cached_input, output, reasoning, "
            "source, created_ms) VALUES ('c@t#1', 'c', 1, 1, 2, 2, 8, 8, 's', 1)"
        )

    database.migrate()

    assert SqlLedger(database).entries("r1") == [entry()]
    assert [row.price.engine_hour for row in PriceBook(database, ManualClock()).history("c")] == [0]
    with pytest.raises(RowRefusedError):
        SqlLedger(database).post([entry("r2", engine_us=-1)])
    database.close()


def test_processes_that_start_at_once_do_not_collide(empty_database_url, tmp_path):
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", MIGRATE, empty_database_url],
            env={"PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]

    errors = [starter.communicate(timeout=60)[1] for starter in starters]

    assert errors == [""] * 3
    database = Database(empty_database_url)
    assert SqlLedger(database).post([entry()]) == 1
    database.close()


def test_a_database_of_a_newer_release_is_left_alone(empty_database_url):
    database = Database(empty_database_url)
    database.migrate()
    with database.writing() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '29991231'"))

    with pytest.raises(ConfigError, match="written by a newer release"):
        database.migrate()
    database.close()


async def test_a_database_says_whether_it_can_be_reached(database):
    assert await database.is_reachable(5.0)


async def test_a_server_that_is_not_there_is_said_without_the_password():
    database = Database("postgresql://gateway:hunter2@127.0.0.1:1/ledger?password=hunter3")

    assert not await database.is_reachable(5.0)
    with pytest.raises(
        DatabaseUnavailableError,
        match=r"^database postgresql\+psycopg://gateway:\*\*\*@127\.0\.0\.1:1/ledger: ",
    ) as failed:
        database.migrate()
    assert "hunter" not in str(failed.value)
    assert "\n" not in str(failed.value)
    database.close()


def test_a_file_that_is_no_database_is_said_in_one_line(tmp_path):
    (tmp_path / "ledger.db").write_bytes(b"not a database" * 100)
    database = Database(f"sqlite:///{tmp_path / 'ledger.db'}")

    with pytest.raises(DatabaseUnavailableError, match="file is not a database"):
        database.migrate()
    database.close()


def test_a_folder_that_cannot_be_made_is_said_in_one_line(tmp_path):
    (tmp_path / "file").touch()
    database = Database(f"sqlite:///{tmp_path / 'file' / 'ledger.db'}")

    with pytest.raises(ConfigError, match="cannot make the folder"):
        database.migrate()


@pytest.mark.parametrize(
    "url", ["", "ledger.db", "mysql://host/db", "sqlite://", "sqlite:///:memory:", "postgresql+asyncpg://h/d"]
)
def test_a_url_of_another_kind_is_refused(url):
    with pytest.raises(
        ConfigError, match=r"^database\.url: .*expected sqlite:///PATH or postgresql://HOST/NAME"
    ):
        Database(url)


def test_a_commit_on_sqlite_is_durable_when_it_returns(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    database.migrate()

    with database.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    database.close()
