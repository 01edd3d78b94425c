"""The accounts in the database of a config file, opened and brought up to date, for commands that need no gateway."""

import argparse
import getpass
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.cli.places import config_path
from gateway.clock import SystemClock
from gateway.config import Config, load
from gateway.errors import ConfigError
from gateway.ledger.account_records import AccountError
from gateway.ledger.accounts import Accounts
from gateway.ledger.credentials import Credentials, load_pepper
from gateway.ledger.database import Database, DatabaseUnavailableError


@contextmanager
def opened_database(args: argparse.Namespace) -> Iterator[tuple[Config, Database]]:
    """Whatever is refused inside becomes a ConfigError: one line, exit code 2."""
    config = load(config_path(args))
    database = Database(config.database_url)
    try:
        database.migrate()
        yield config, database
    except (AccountError, DatabaseUnavailableError) as exc:
        raise ConfigError(str(exc)) from exc
    finally:
        database.close()


@contextmanager
def opened_accounts(args: argparse.Namespace) -> Iterator[Accounts]:
    with opened_database(args) as (config, database):
        accounts = Accounts(
            database, SystemClock(), Credentials(load_pepper(config.keys, config.secrets_path))
        )
        accounts.check_pepper()
        accounts.tiers.seed(config.tiers)
        yield accounts


def actor() -> str:
    """For the audit: who works on the database itself."""
    return f"cli:{getpass.getuser()}"
