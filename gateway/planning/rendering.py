"""An answer as text for people, as a record for programs, and as rows for spreadsheets."""

import textwrap
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import groupby
from math import isfinite
from typing import Any

import msgspec

from gateway.planning.columns import column, is_number, plain, points, shown, table
from gateway.planning.contract import NEVER, Answer, Assumption, Cell, Line, Table

WIDTH = 100
_INDENT = "  "
_ENCODER = msgspec.json.Encoder(decimal_format="number")


def as_text(answer: Answer, *, explain: bool = False, width: int = WIDTH) -> str:
    """`explain` adds the formulas, and inputs that were left off."""
    parts = [textwrap.fill(plain(answer.headline), width), _lines(answer.lines)]
    parts += [_table(each, width) for each in answer.tables]
    if explain:
        parts.append(_formulas(answer.lines, width))
    parts.append(_assumptions(answer.assumptions, width, with_off=explain))
    parts.append(_warnings(answer.warnings, width))
    return "\n\n".join(part for part in parts if part) + "\n"


def as_json(answer: Answer, *, version: str, today: str, explain: bool = False, indent: int = 0) -> bytes:
    """Lines and tables stand at the top by their keys. Money is a number with all its decimals, never a rounded one."""
    encoded = _ENCODER.encode(record(answer, version=version, today=today, explain=explain))
    return msgspec.json.format(encoded, indent=indent) if indent else encoded


def record(answer: Answer, *, version: str, today: str, explain: bool = False) -> dict[str, Any]:
    made: dict[str, Any] = {"tool": answer.tool, "headline": answer.headline}
    own = {line.key: _value(line.value) for line in answer.lines} | {
        each.key: [{column.key: _value(row.get(column.key)) for column in each.columns} for row in each.rows]
        for each in answer.tables
    }
    made |= own
    made["units"] = _units(answer)
    if explain:
        made["formulas"] = [
            {"key": line.key, "formula": line.formula, "numbers": line.numbers}
            for line in answer.lines
            if line.formula
        ]
    made["assumptions"] = [
        {**msgspec.structs.asdict(each), "value": _value(each.value)} for each in answer.assumptions
    ]
    made["warnings"] = list(answer.warnings)
    return made | {"weighbridge": version, "date": today}


def csv_rows(answer: Answer) -> tuple[list[dict[str, Cell]], list[str]]:
    """The first table, or else the lines; with the heads of the columns."""
    if answer.tables:
        first = answer.tables[0]
        heads = {each.key: _head(each.label, each.unit) for each in first.columns}
        return [{head: _spread(row.get(key)) for key, head in heads.items()} for row in first.rows], [
            *heads.values()
        ]
    rows: list[dict[str, Cell]] = [
        {"key": line.key, "label": line.label, "value": _spread(line.value), "unit": line.unit}
        for line in answer.lines
    ]
    return rows, ["key", "label", "value", "unit"]


def _lines(lines: Sequence[Line]) -> str:
    groups = [(name, list(of_group)) for name, of_group in groupby(lines, key=lambda line: line.group)]
    values = [
        _aligned([line.value for line in of_group], [line.unit for line in of_group])
        for _, of_group in groups
    ]
    label = max((len(line.label) for line in lines), default=0)
    width = max((len(value) for of_group in values for value in of_group), default=0)
    texts = [
        [
            *([plain(name)] if name else []),
            *(
                f"{_INDENT}{plain(line.label).ljust(label)}  {value.rjust(width)}  {_unit(line)}".rstrip()
                for line, value in zip(of_group, of_values, strict=True)
            ),
        ]
        for (name, of_group), of_values in zip(groups, values, strict=True)
    ]
    return "\n\n".join("\n".join(text) for text in texts)


def _aligned(cells: Sequence[Cell], units: Sequence[str]) -> list[str]:
    """With the same decimals if all numbers are of one unit, or else on their points."""
    of_numbers = {unit for cell, unit in zip(cells, units, strict=True) if is_number(cell)}
    return column(cells) if len(of_numbers) == 1 and any(of_numbers) else points(cells)


def _table(each: Table, width: int) -> str:
    if not each.rows:
        return f"{plain(each.title)}: none"
    cells = [[row.get(column.key) for row in each.rows] for column in each.columns]
    # What has no unit of its own holds several.
    columns = [
        column(of_one) if described.unit else points(of_one)
        for described, of_one in zip(each.columns, cells, strict=True)
    ]
    is_right = [
        any(is_number(cell) for cell in of_one) or all(cell is None for cell in of_one) for of_one in cells
    ]
    lines = table(
        [_head(column.label, column.unit) for column in each.columns],
        list(zip(*columns, strict=True)),
        width=width - len(_INDENT),
        is_right=is_right,
    )
    return "\n".join([*textwrap.wrap(plain(each.title), width), *(_INDENT + line for line in lines)])


def _formulas(lines: Sequence[Line], width: int) -> str:
    told = []
    for group, of_group in groupby((line for line in lines if line.formula), key=lambda line: line.group):
        told += [_INDENT + plain(group)] if group else []
        indent = _INDENT * 2 if group else _INDENT
        for line in of_group:
            told.append(f"{indent}{plain(line.label)}: {shown(line.value)} {_unit(line)}".rstrip())
            told += [
                wrapped
                for text in (line.formula, line.numbers)
                if text
                for wrapped in textwrap.wrap(
                    plain(text),
                    width,
                    initial_indent=f"{indent}{_INDENT}= ",
                    subsequent_indent=indent + _INDENT * 3,
                )
            ]
    return "\n".join(["How it was found", *told]) if told else ""


def _assumptions(assumptions: Sequence[Assumption], width: int, *, with_off: bool) -> str:
    told = [each for each in assumptions if with_off or each.origin != "default" or not _is_off(each.value)]
    if not told:
        return ""
    columns: list[tuple[str, list[str]]] = [
        ("", [plain(each.name) for each in told]),
        (
            "",
            [
                shown(each.value) if _is_off(each.value) else f"{shown(each.value)} {each.unit}"
                for each in told
            ],
        ),
        ("", [each.origin for each in told]),
        ("source", [plain(each.source) for each in told]),
        ("as of", [each.as_of for each in told]),
    ]
    filled = [(head, cells) for head, cells in columns if any(cells)]
    lines = table(
        [head for head, _ in filled],
        list(zip(*(cells for _, cells in filled), strict=True)),
        width=width - len(_INDENT),
        is_right=[False] * len(filled),
    )
    return "\n".join(["Assumptions", *(_INDENT + line for line in lines)])


def _is_off(cell: Cell) -> bool:
    """Nothing is assumed; 0 would be something."""
    return cell is None or cell is False or cell == ""


def _warnings(warnings: Sequence[str], width: int) -> str:
    told = [
        line
        for text in warnings
        for line in textwrap.wrap(plain(text), width, initial_indent="! ", subsequent_indent="  ")
    ]
    return "\n".join(told)


def _unit(line: Line) -> str:
    return "" if line.value in (NEVER, None) else line.unit


def _head(label: str, unit: str) -> str:
    return f"{label} ({unit})" if unit else label


def _units(answer: Answer) -> dict[str, Any]:
    lines = {line.key: line.unit for line in answer.lines if line.unit}
    tables: Mapping[str, Any] = {
        each.key: {column.key: column.unit for column in each.columns if column.unit}
        for each in answer.tables
    }
    return {**lines, **{key: units for key, units in tables.items() if units}}


def _value(cell: Cell) -> Cell:
    """JSON has no word for what is endless or no number."""
    if isinstance(cell, float) and not isfinite(cell):
        return NEVER if cell > 0 else None
    return _spread(cell)


def _spread(cell: Cell) -> Cell:
    """Written out: spreadsheets and some parsers stumble over `1E+3`."""
    return Decimal(f"{cell:f}") if isinstance(cell, Decimal) else cell
