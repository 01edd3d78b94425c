"""Spend rows as JSON and CSV. Money is text with nine decimals: a float would round it."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gateway.ledger.contract import Dimension, SpendRow
from gateway.money import usd

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_records(rows: Sequence[SpendRow]) -> list[dict[str, Any]]:
    return [
        {
            **row.group,
            "requests": row.requests,
            "cache_hits": row.cache_hits,
            "input_tokens": row.input_tokens,
            "cached_input_tokens": row.cached_input_tokens,
            "cache_write_tokens": row.cache_write_tokens,
            "cache_write_1h_tokens": row.cache_write_1h_tokens,
            "output_tokens": row.output_tokens,
            "reasoning_tokens": row.reasoning_tokens,
            "engine_seconds": seconds(row.engine_us),
            "cost_usd": usd(row.cost),
            "estimated_cost_usd": usd(row.estimated_cost),
            "suspense_usd": usd(row.suspense),
        }
        for row in rows
    ]


def totals(rows: Sequence[SpendRow]) -> dict[str, Any]:
    return {
        "engine_seconds": seconds(sum(row.engine_us for row in rows)),
        "cost_usd": usd(sum(row.cost for row in rows)),
        "suspense_usd": usd(sum(row.suspense for row in rows)),
    }


def seconds(microseconds: int) -> str:
    """Exact, with all six decimals, as money is."""
    return f"{microseconds // 1_000_000}.{microseconds % 1_000_000:06d}"


def as_csv(rows: Sequence[SpendRow], by: Sequence[Dimension]) -> str:
    return csv_of(as_records(rows), [*by, *_columns()])


def csv_of(records: Iterable[Mapping[str, Any]], names: Sequence[str]) -> str:
    """With a header line even when there are no records."""
    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\r\n")
    writer.writeheader()
    for record in records:
        writer.writerow({name: _harmless(value) for name, value in record.items()})
    return out.getvalue()


def _columns() -> list[str]:
    empty = SpendRow(
        group={},
        requests=0,
        cache_hits=0,
        input_tokens=0,
        cached_input_tokens=0,
        cache_write_tokens=0,
        cache_write_1h_tokens=0,
        output_tokens=0,
        reasoning_tokens=0,
        engine_us=0,
        cost=0,
        suspense=0,
        estimated_cost=0,
    )
    return list(as_records([empty])[0])


def _harmless(value: Any) -> Any:
    """Spreadsheets run text that looks like a formula; names come from users."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
