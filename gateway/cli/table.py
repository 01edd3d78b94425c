"""Rows for people: columns padded to what stands in them."""

from collections.abc import Mapping, Sequence
from typing import Any


def print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    table = [list(columns), *([_cell(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[index]) for line in table) for index in range(len(columns))]
    is_number = [
        bool(rows) and all(isinstance(row.get(column), int) or _is_money(column) for row in rows)
        for column in columns
    ]
    for line in table:
        cells = [
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, is_number, strict=True)
        ]
        print("  ".join(cells).rstrip())


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    # Labels come from people: nothing in them may move the cursor.
    return "".join(c if c.isprintable() else "?" for c in str(value))


def _is_money(column: str) -> bool:
    return column.endswith("_usd")
