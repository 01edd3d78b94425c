"""`weighbridge scorer outcomes` and `weighbridge scorer import`: what became of answers, out of and into the database."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from gateway.cli.accounts import actor, opened_database
from gateway.cli.table import print_table
from gateway.clock import SystemClock
from gateway.errors import ConfigError
from gateway.ids import Ids
from gateway.ledger.exports import csv_of
from gateway.ledger.outcome_import import MOST_LINES, LinesError, OutcomeImport, Refused, read_lines
from gateway.ledger.outcome_views import COLUMNS, SUMMARY_COLUMNS, outcome_view, summary_view
from gateway.ledger.outcomes import OutcomeQuery, Outcomes
from gateway.ledger.period import PeriodError, moment

_SHOWN = (
    "created_at",
    "tenant",
    "user",
    "request_id",
    "item",
    "model",
    "source",
    "value",
    "weight",
    "p_good",
)
_TOLD = 20
"""Refused lines that are named."""


def show(args: argparse.Namespace) -> int:
    if args.limit < 1:
        raise ConfigError("--limit: expected 1 or more")
    try:
        since_ms = moment(args.since)
    except PeriodError as exc:
        raise ConfigError(f"--since: {exc}") from exc
    query = OutcomeQuery(tenant=args.tenant, model=args.model, source=args.source, since_ms=since_ms)
    with opened_database(args) as (config, database):
        outcomes = Outcomes(database, SystemClock(), config.outcomes)
        if args.summary:
            rows = [summary_view(row) for row in outcomes.summary(query)]
            _print(args, rows, SUMMARY_COLUMNS, SUMMARY_COLUMNS)
        else:
            rows = [outcome_view(one) for one in outcomes.page(query, limit=args.limit)]
            _print(args, rows, COLUMNS, _SHOWN)
    return 0


def import_(args: argparse.Namespace) -> int:
    """By as many lines at a time as one transaction may hold: what was recorded before a failure stays."""
    lines = _lines(args.file)
    clock = SystemClock()
    recorded, refused = 0, list[Refused]()
    with opened_database(args) as (_, database):
        take = OutcomeImport(database, clock, Ids("out_", clock))
        for start in range(0, len(lines), MOST_LINES):
            done = take(lines[start : start + MOST_LINES], actor=actor())
            recorded += done.recorded
            refused += done.refused
    if args.json:
        print(msgspec.json.encode({"recorded": recorded, "refused": refused}).decode())
    else:
        print(f"{recorded} recorded, {len(refused)} refused.")
        for one in refused[:_TOLD]:
            print(f"line {one.line}: {one.reason}", file=sys.stderr)
    return 1 if refused else 0


def _lines(name: str) -> Sequence[Any]:
    try:
        raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return read_lines(raw)
    except OSError as exc:
        raise ConfigError(f"{name}: cannot be read: {exc.strerror}") from exc
    except LinesError as exc:
        raise ConfigError(f"{name}: {exc}; nothing was recorded") from exc


def _print(
    args: argparse.Namespace, rows: Sequence[dict[str, Any]], columns: Sequence[str], shown: Sequence[str]
) -> None:
    if args.csv:
        sys.stdout.write(csv_of(rows, columns))
    elif args.json:
        print(msgspec.json.encode(rows).decode())
    elif not rows:
        print("Nothing is known of what became of answers.")
    else:
        rounded = [{name: _rounded(value) for name, value in row.items()} for row in rows]
        print_table(rounded, [name for name in shown if any(row[name] is not None for row in rows)])


def _rounded(value: Any) -> Any:
    return f"{value:.3f}" if isinstance(value, float) else value
