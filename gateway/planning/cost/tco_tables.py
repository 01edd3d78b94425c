"""The tables of `tco`: the ways side by side, a month by its parts, the years, mixes, and what changed."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from gateway.planning.contract import Cell, Column, Table, money_cell
from gateway.planning.cost.cashflow import Years
from gateway.planning.cost.costs import per_million_of
from gateway.planning.cost.options import PARTS, Month, Option
from gateway.planning.cost.tco_case import Case, Impossible
from gateway.planning.cost.tco_inputs import TcoInputs
from gateway.planning.units import Money, in_cents

_MOST_SHOWN = 24


class Priced(msgspec.Struct, frozen=True, kw_only=True):
    option: Option
    month: Month
    years: Years

    @property
    def key(self) -> str:
        return self.option.key


def options_table(inputs: TcoInputs, made: Case, priced: Sequence[Priced]) -> Table:
    by_key = {each.key: each for each in priced}
    best = cheapest_of(priced) if priced else None
    return Table(
        key="options",
        title="Ways to serve it",
        columns=(
            Column(key="option", label="option"),
            Column(key="needs", label="what it takes"),
            Column(key="month", label="month", unit=made.currency),
            Column(key="per_mtok", label="per 1M tokens", unit=made.currency),
            Column(key="utilisation", label="used", unit="%"),
            Column(key="total", label=f"{inputs.years} years", unit=made.currency),
            Column(key="worth", label="worth today", unit=made.currency),
            Column(key="note", label="note"),
        ),
        rows=[
            _option_row(inputs, made, by_key[option.key], is_best=by_key[option.key] is best)
            if option.key in by_key
            else {"option": option.label, "needs": f"not possible: {option.reason}"}
            for option in made.options
        ],
    )


def _option_row(inputs: TcoInputs, made: Case, its: Priced, *, is_best: bool) -> dict[str, Cell]:
    cost = its.month.total
    notes = ["cheapest"] if is_best else []
    if inputs.budget is not None and cost.amount > inputs.budget:
        notes.append("over the budget")
    return {
        "option": its.option.label,
        "needs": its.month.needs,
        "month": money_cell(cost),
        "per_mtok": fine(per_million_of(cost, made.load.month_tokens)),
        "utilisation": _used(made, its.month),
        "total": money_cell(its.years.total),
        "worth": money_cell(its.years.worth),
        "note": ", ".join(notes),
    }


def _used(made: Case, month: Month) -> float | None:
    """Percent of what the machines could serve that they do."""
    if month.capacity is None or not month.capacity.value:
        return None
    mean = sum(speed.value for speed in made.load.speeds) / len(made.load.speeds)
    return round(100 * mean / month.capacity.value, 1)


def fine(money: Money) -> Decimal:
    return money.amount.quantize(Decimal("0.0001"))


def months_table(priced: Sequence[Priced], inputs: TcoInputs) -> Table:
    """Parts in cents, which sum to the total below them."""
    cents = {
        each.key: dict(zip(each.month.parts, in_cents(list(each.month.parts.values())), strict=True))
        for each in priced
    }
    rows: list[dict[str, Cell]] = [
        {"part": part, **{key: parts.get(part) for key, parts in cents.items()}}
        for part in PARTS
        if any(parts.get(part) for parts in cents.values())
    ]
    rows.append({"part": "total", **{key: sum(parts.values(), Decimal(0)) for key, parts in cents.items()}})
    return Table(
        key="months",
        title="A month by its parts",
        columns=(
            Column(key="part", label="part"),
            *(Column(key=each.key, label=each.option.label, unit=inputs.currency) for each in priced),
        ),
        rows=rows,
    )


def years_table(inputs: TcoInputs, priced: Sequence[Priced]) -> Table:
    """What is paid when; the start is what servers cost before they run."""
    cents = {each.key: in_cents(each.years.flows) for each in priced}
    heads = ["start", *(f"year {year}" for year in range(1, inputs.years + 1))]
    rows: list[dict[str, Cell]] = [
        {"year": head, **{key: flows[at] for key, flows in cents.items()}} for at, head in enumerate(heads)
    ]
    rows.append({"year": "total", **{key: sum(flows, Decimal(0)) for key, flows in cents.items()}})
    rows.append({"year": "still in the books", **{each.key: money_cell(each.years.left) for each in priced}})
    return Table(
        key="years",
        title="What is paid in each year",
        columns=(
            Column(key="year", label="year"),
            *(Column(key=each.key, label=each.option.label, unit=inputs.currency) for each in priced),
        ),
        rows=rows,
    )


def mix_tables(made: Case) -> Iterator[Table]:
    if isinstance(made.hybrid, Impossible):
        return
    mix = made.hybrid.mix(made.load)
    numbers = list(mix.costs)
    at = numbers.index(mix.own)
    shown = numbers if len(numbers) <= _MOST_SHOWN else [*{0, *numbers[max(0, at - 2) : at + 3], numbers[-1]}]
    yield Table(
        key="mixes",
        title="A month with so many own servers, the rest from outside",
        columns=(
            Column(key="servers", label="own servers"),
            Column(key="month", label="month", unit=made.currency),
            Column(key="hours", label="the last one is busy", unit="h"),
            Column(key="note", label="note"),
        ),
        rows=[
            {
                "servers": own,
                "month": money_cell(mix.costs[own]),
                "hours": round(made.hybrid.busy_hours(made.load, own).value, 1) if own else None,
                "note": "cheapest" if own == mix.own else "",
            }
            for own in sorted(shown)
        ],
    )


def changes_table(months: Table, previous: Mapping[str, Any]) -> Table:
    """Part by part, since the earlier answer. Totals are among the lines, whose changes every tool's answer has."""
    earlier = previous.get("months")
    before = (
        {row.get("part"): row for row in earlier if isinstance(row, dict)}
        if isinstance(earlier, list)
        else {}
    )
    rows = [
        _change(column.label, row["part"], _cents(then), _cents(row.get(column.key)))
        for row in months.rows[:-1]
        for column in months.columns[1:]
        if _cents(then := before.get(row["part"], {}).get(column.key)) != _cents(row.get(column.key))
    ]
    money = months.columns[1].unit
    return Table(
        key="month_changes",
        title="What changed in a month",
        columns=(
            Column(key="option", label="option"),
            Column(key="part", label="part"),
            Column(key="before", label="before", unit=money),
            Column(key="now", label="now", unit=money),
            Column(key="change", label="change", unit=money),
            Column(key="change_percent", label="change", unit="%"),
        ),
        rows=rows,
    )


def _change(option: str, part: Cell, before: Decimal, now: Decimal) -> dict[str, Cell]:
    return {
        "option": option,
        "part": part,
        "before": before,
        "now": now,
        "change": now - before,
        "change_percent": round(float((now - before) / before) * 100, 2) if before else None,
    }


def _cents(cell: Any) -> Decimal:
    return Decimal(str(cell)) if isinstance(cell, int | float | Decimal) else Decimal(0)


def cheapest_of(priced: Sequence[Priced]) -> Priced:
    return min(priced, key=lambda each: each.month.total.amount)
