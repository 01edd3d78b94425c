"""`weighbridge spend`: sums from the ledger, for people and for spreadsheets."""

import argparse
import sys
from typing import Any

import msgspec

from gateway.cli.accounts import opened_database
from gateway.cli.table import print_table
from gateway.clock import SystemClock
from gateway.errors import ConfigError
from gateway.ledger.contract import SpendQuery
from gateway.ledger.exports import as_csv, as_records, totals
from gateway.ledger.period import PeriodError, dimensions, moment, month_start
from gateway.ledger.store import SqlLedger


def run(args: argparse.Namespace) -> int:
    try:
        from_ms = moment(args.from_) if args.from_ else month_start(SystemClock().now_ms())
        query = SpendQuery(by=dimensions(args.by), from_ms=from_ms, to_ms=moment(args.to), tenant=args.tenant)
    except PeriodError as exc:
        raise ConfigError(f"spend: {exc}") from exc
    with opened_database(args) as (_, database):
        rows = SqlLedger(database).spend(query)
    if args.csv:
        sys.stdout.write(as_csv(rows, query.by))
    elif args.json:
        print(msgspec.json.encode({"by": query.by, "rows": as_records(rows), "total": totals(rows)}).decode())
    elif not rows:
        print("Nothing was spent in this period.")
    else:
        total = totals(rows)
        columns = (
            *query.by,
            "requests",
            "cache_hits",
            "input_tokens",
            "output_tokens",
            "engine_seconds",
            "cost_usd",
            "suspense_usd",
        )
        first: dict[str, Any] = {**dict.fromkeys(query.by, ""), query.by[0]: "total"}
        summed = {
            name: sum(record[name] for record in as_records(rows)) for name in columns[len(query.by) : -3]
        }
        print_table([*as_records(rows), {**first, **summed, **total}], columns)
    return 0
