"""What serving a load costs by an API, on rented GPUs, on own ones and on a mix: by month, by year, per million tokens."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, localcontext
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from gateway.planning.cashflow import Years, years
from gateway.planning.contract import (
    Answer,
    Cell,
    Column,
    Context,
    Line,
    Mark,
    PlanError,
    Plot,
    Series,
    Table,
    Tool,
    money_cell,
)
from gateway.planning.costs import blended, egress, inferences_month, per_million, per_million_of
from gateway.planning.hybrid import paying_hours
from gateway.planning.options import PARTS, Api, Month, Option
from gateway.planning.reading import from_json
from gateway.planning.tco_case import Case, Copy, Impossible, case
from gateway.planning.tco_inputs import TcoInputs
from gateway.planning.units import HOURS_PER_MONTH, Money, Seconds, TokensPerSecond, in_cents

_SCENARIOS = Path(__file__).parent / "data" / "scenarios"
_FORMULAS = {
    "api": "(input x p_in + cached x p_cached + output x p_out) (1 + tax)",
    "on_demand": "(n price 730 h + storage + egress beyond the free part + extra)(1 + tax) + staff, n for the peak",
    "on_demand_hours": "(instance-hours x price + storage + egress + extra)(1 + tax) + staff",
    "reserved": "(n price (1 - discount) 730 h + storage + egress + extra)(1 + tax) + staff, n for the peak",
    "spot": "as hours needed, at spot price / (1 - interruptions per hour x hours lost)",
    "own": "depreciation or annuity + servers (idle + u (max - idle)) PUE 730 h price + upkeep + people",
    "hybrid": "min over k of own(k servers) + rest(max(0, need - k))",
}
_MOST_SHOWN = 24
_DIGITS = 64
"""Of amounts: the largest inputs together make more than the usual 28."""


class Priced(msgspec.Struct, frozen=True, kw_only=True):
    option: Option
    month: Month
    years: Years

    @property
    def key(self) -> str:
        return self.option.key


def plan(inputs: TcoInputs, context: Context) -> Answer:
    with localcontext(prec=_DIGITS):
        return _plan(inputs, context)


def _plan(inputs: TcoInputs, context: Context) -> Answer:
    text = context.files.get("prices")
    made = case(inputs, text)
    priced = [_priced(inputs, made, option) for option in made.options if option.month is not None]
    tables = [_options(inputs, made, priced)]
    if priced:
        months = _months(priced, inputs)
        tables += [months, _by_year(inputs, priced), *_mixes(made)]
        if context.previous is not None:
            tables.append(_changes(months, context.previous))
    return Answer(
        tool="tco",
        headline=_headline(inputs, made, priced),
        lines=list(_lines(inputs, made, priced)),
        tables=tables,
        assumptions=made.assumptions,
        warnings=list(_warnings(inputs, made, priced)),
        plot=_plot(inputs, priced) if priced else None,
    )


def _priced(inputs: TcoInputs, made: Case, option: Option) -> Priced:
    assert option.month is not None  # noqa: S101 - only of what is possible
    month = cache(option.month)  # years of one load are one month
    return Priced(
        option=option,
        month=month(made.load),
        years=years(
            month,
            made.load,
            count=inputs.years,
            growth=made.growth,
            tax=inputs.tax,
            wacc=inputs.wacc,
            servers=made.servers,
        ),
    )


def preset(inputs: TcoInputs) -> Mapping[str, Any]:
    """What the scenario stands for. Its amounts are in USD."""
    if inputs.scenario is None:
        return {}
    known = scenarios()
    if inputs.scenario not in known:
        raise PlanError(
            f"There is no scenario {inputs.scenario[:64]!r}; there are {', '.join(known)}.", param="scenario"
        )
    if inputs.currency != "USD":
        raise PlanError("Scenarios are in USD: leave out the currency, or the scenario.", param="currency")
    found: Mapping[str, Any] = known[inputs.scenario]["inputs"]
    return found


@cache
def scenarios() -> Mapping[str, Mapping[str, Any]]:
    """The shipped ones by name, each with its title and its inputs."""
    found = {}
    for file in sorted(_SCENARIOS.glob("*.json")):
        told = msgspec.json.decode(file.read_bytes())
        found[file.stem] = {**told, "inputs": _typed(told["inputs"])}
    return found


def _typed(given: Mapping[str, Any]) -> Mapping[str, Any]:
    made = from_json(TcoInputs, given, str)
    return {name: getattr(made, name) for name in given}


def _cheapest(priced: Sequence[Priced]) -> Priced:
    return min(priced, key=lambda each: each.month.total.amount)


def _headline(inputs: TcoInputs, made: Case, priced: Sequence[Priced]) -> str:
    asked = f"{sum(made.load.by_hour):,.0f} requests a day"
    title = f"{scenarios()[inputs.scenario]['title']}: " if inputs.scenario else ""
    if not priced:
        reasons = "; ".join(dict.fromkeys(option.reason for option in made.options))
        return f"{title}There is no way to serve {asked}: {reasons}."
    best = _cheapest(priced)
    each = per_million_of(best.month.total, made.load.month_tokens)
    told = (
        f"{title}{asked} cost least by {_named(made, best.option)}: {_shown(best.month.total)} a month,"
        f" {_shown(each)} per 1M tokens"
    )
    if inputs.budget is not None and best.month.total.amount > inputs.budget:
        told += f", which is over the budget of {inputs.budget:,.2f}"
    last = min(priced, key=lambda one: one.years.total.amount)
    if last is not best:
        told += (
            f"; over {inputs.years} years by {_named(made, last.option)}: {_shown(last.years.total)},"
            f" not {_shown(best.years.total)}"
        )
    others = sorted((one for one in priced if one is not best), key=lambda one: one.month.total.amount)
    if last is best and others:
        told += f"; next is {_named(made, others[0].option)} at {_shown(others[0].month.total)} a month"
    return told + "."


def _named(made: Case, option: Option) -> str:
    if option.key == "api" and isinstance(made.api, Api):
        return f"the API {made.api.price.model}"
    return {
        "on_demand": "renting all hours",
        "on_demand_hours": "renting the hours needed",
        "reserved": "a commitment to rent",
        "spot": "spot machines",
        "own": "own servers",
        "hybrid": f"a hybrid ({option.label})",
    }[option.key]


def _shown(money: Money) -> str:
    return f"{money.amount:,.2f} {money.currency}"


def _options(inputs: TcoInputs, made: Case, priced: Sequence[Priced]) -> Table:
    by_key = {each.key: each for each in priced}
    best = _cheapest(priced) if priced else None
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
        "per_mtok": _fine(per_million_of(cost, made.load.month_tokens)),
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


def _fine(money: Money) -> Decimal:
    return money.amount.quantize(Decimal("0.0001"))


def _months(priced: Sequence[Priced], inputs: TcoInputs) -> Table:
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


def _by_year(inputs: TcoInputs, priced: Sequence[Priced]) -> Table:
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


def _mixes(made: Case) -> Iterator[Table]:
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


def _changes(months: Table, previous: Mapping[str, Any]) -> Table:
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


def _lines(inputs: TcoInputs, made: Case, priced: Sequence[Priced]) -> Iterator[Line]:
    yield from _load_lines(inputs, made)
    for each in priced:
        amounts = [amount for amount in in_cents(list(each.month.parts.values())) if amount]
        yield Line(
            key=f"{each.key}_month",
            label=each.option.label,
            value=money_cell(each.month.total),
            unit=made.currency,
            formula=_FORMULAS[each.key],
            numbers=f"{each.month.numbers}; in all {' + '.join(f'{amount:,.2f}' for amount in amounts)}"
            f" = {each.month.total.amount:,.2f}",
            group="A month",
        )
    yield from _rate_lines(inputs, made)
    yield from _hybrid_lines(made)
    yield from _quick_lines(inputs, made)


def _load_lines(inputs: TcoInputs, made: Case) -> Iterator[Line]:
    asked, group = made.load, "The load"
    yield Line(
        key="requests_month",
        label="requests a month",
        value=round(asked.month_requests),
        formula="requests per day x 365 / 12",
        numbers=f"{sum(asked.by_hour):,.0f} x 30.4167 = {asked.month_requests:,.0f}",
        group=group,
    )
    yield Line(
        key="mtok_month",
        label="tokens a month",
        value=round(asked.month_tokens.millions, 3),
        unit="1M tokens",
        formula="requests a month x (prompt + answer)",
        numbers=f"{asked.month_requests:,.0f} x {asked.input_tokens + asked.output_tokens:,.0f}",
        group=group,
    )
    yield Line(
        key="peak_tok_s",
        label="in the busiest hour",
        value=round(asked.peak.value, 1),
        unit="tokens/s",
        group=group,
    )
    if isinstance(made.copy, Copy):
        needed = made.copy.replica.needed(asked)
        speed = made.copy.replica.speed.value
        yield Line(
            key="replicas_peak",
            label="copies of the model for it",
            value=max(needed),
            formula="ceil(busiest hour / (speed of a copy x utilisation))",
            numbers=f"{asked.peak.value:,.1f} / ({speed:,.1f} x {inputs.utilisation:g})",
            group=group,
        )
    for key, label, size in (
        ("egress_text_gb", "answers as text", inputs.text_bytes),
        ("egress_sse_gb", "answers as events of a token each", inputs.sse_bytes),
    ):
        sent = egress(asked.month_requests, asked.output_tokens, bytes_per_token=size)
        yield Line(
            key=key,
            label=label,
            value=round(sent.gb, 3),
            unit="GB a month",
            formula="requests a month x output tokens x bytes per token",
            numbers=f"{asked.month_requests:,.0f} x {asked.output_tokens:,.0f} x {size:g}",
            group=group,
        )


def _rate_lines(inputs: TcoInputs, made: Case) -> Iterator[Line]:
    """Per million tokens where machines are used as much as `utilisation` says, all month."""
    group = f"Per 1M tokens, at {inputs.utilisation:.0%} of capacity all month"
    if isinstance(made.api, Api):
        price = made.api.price
        yield Line(
            key="api_mtok",
            label="API, at any load",
            value=_fine(blended(price.input, price.output, inputs.input_tokens, inputs.output_tokens)),
            unit=made.currency,
            formula="(p_in t_in + p_out t_out) / (t_in + t_out)",
            numbers=f"({price.input.amount:g} x {inputs.input_tokens:,} + {price.output.amount:g} x"
            f" {inputs.output_tokens:,}) / {inputs.input_tokens + inputs.output_tokens:,}",
            group=group,
        )
    if not isinstance(made.rented, Impossible):
        rented = made.rented
        cost = rented.price_h * HOURS_PER_MONTH
        yield _rate("rented_mtok", "rented", cost, rented.replica.speed * rented.replicas, inputs, group)
    if not isinstance(made.owned, Impossible):
        own = made.owned
        speed = own.replica.speed * (own.replicas * inputs.utilisation)
        busy = own.month_of(made.load.steady(speed), 1)
        yield _rate("own_mtok", "own", busy.total, own.replica.speed * own.replicas, inputs, group)


def _rate(key: str, label: str, cost: Money, speed: TokensPerSecond, inputs: TcoInputs, group: str) -> Line:
    each = per_million(cost, speed, inputs.utilisation)
    return Line(
        key=key,
        label=label,
        value=_fine(each),
        unit=cost.currency,
        formula="month x 1,000,000 / (tokens/s x 3,600 x 730 x utilisation)",
        numbers=f"{cost.amount:,.2f} x 1,000,000 / ({speed.value:,.1f} x 2,628,000 x {inputs.utilisation:g})",
        group=group,
    )


def _hybrid_lines(made: Case) -> Iterator[Line]:
    """What is paid once for all servers, people above all, is left out: it must pay for itself besides."""
    if isinstance(made.hybrid, Impossible) or isinstance(made.hybrid.rest, Api):
        return
    fixed, hourly = made.hybrid.fixed(made.load), made.hybrid.hourly
    yield Line(
        key="server_pays_h",
        label="a server pays if busy for more than",
        value=round(paying_hours(fixed, hourly).value, 1) if hourly.amount else None,
        unit="h a month",
        formula="F / c: what a server costs a month over what its copies cost an hour when rented",
        numbers=f"{fixed.amount:,.2f} / {hourly.amount:,.4f}",
        group="The hybrid",
    )


def _quick_lines(inputs: TcoInputs, made: Case) -> Iterator[Line]:
    if inputs.busy_s is None or isinstance(made.rented, Impossible):
        return
    per_day = sum(made.load.by_hour)
    price = made.rented.price_h / made.rented.replicas
    month = inferences_month(
        price, Seconds(inputs.busy_s), per_day, utilisation=inputs.utilisation, batch=inputs.batch
    )
    yield Line(
        key="by_time_month",
        label="a month",
        value=money_cell(month),
        unit=made.currency,
        formula="inferences per day x s / 3,600 x price per hour x 365 / 12 / utilisation / batch",
        numbers=f"{per_day:,.0f} x {inputs.busy_s:g} / 3,600 x {price.amount:,.4f} x 30.4167"
        f" / {inputs.utilisation:g} / {inputs.batch:g}",
        group="By the time that inferences take",
    )


def _warnings(inputs: TcoInputs, made: Case, priced: Sequence[Priced]) -> Iterator[str]:
    if isinstance(made.copy, Copy) and made.copy.is_estimate:
        yield (
            "Speeds are estimates: the most that the hardware could do, times a share that others measured. Nothing was"
            " measured here; give tok_s once you have."
        )
    from_memory = [each.name for each in made.assumptions if "memory" in each.source]
    if from_memory:
        yield f"Prices that nobody looked up again: {', '.join(from_memory)}."
    by_key = {each.key: each for each in priced}
    own = by_key.get("own")
    if own is not None:
        if own.years.left.amount > 0:
            yield (
                f"After {inputs.years} years own servers would still stand in the books for"
                f" {_shown(own.years.left)}, which their total does not take off."
            )
        share = own.month.parts["staff"] / own.month.total if own.month.total.amount else 0.0
        if share >= 1 / 4:
            yield f"People are {share:.0%} of own servers' month: small fleets are mostly people."
    if "spot" in by_key and isinstance(made.copy, Copy) and max(made.copy.replica.needed(made.load)) == 1:
        yield "One spot machine alone is away whenever it is taken: requests then need another way."


def _plot(inputs: TcoInputs, priced: Sequence[Priced]) -> Plot:
    ticks = [float(year) for year in range(inputs.years + 1)]
    return Plot(
        title=f"Cost over {inputs.years} years",
        x_label="years",
        y_label=f"paid so far, {inputs.currency}",
        series=[
            Series(
                label=each.option.label,
                x=ticks,
                y=[float(money.amount) for money in each.years.so_far],
                is_dashed=each.key in ("hybrid", "on_demand_hours"),  # they often lie on another
            )
            for each in priced
        ],
        marks=list(_crossing(inputs, priced)),
    )


def _crossing(inputs: TcoInputs, priced: Sequence[Priced]) -> Iterator[Mark]:
    """Where own servers have become cheaper than the cheapest way without any."""
    by_key = {each.key: each for each in priced}
    others = [each for each in priced if each.key not in ("own", "hybrid")]
    if "own" not in by_key or not others:
        return
    rival = min(others, key=lambda each: each.years.total.amount)
    gaps = [
        float((own - other).amount)
        for own, other in zip(by_key["own"].years.so_far, rival.years.so_far, strict=True)
    ]
    for year in range(1, inputs.years + 1):
        if gaps[year - 1] > 0 >= gaps[year]:
            at = year - 1 + gaps[year - 1] / (gaps[year - 1] - gaps[year])
            yield Mark(text=f"own beats {rival.option.label}", x=round(at, 2))
            return


TOOL = Tool(
    name="tco",
    help="what API, rented GPUs, own hardware and a hybrid cost, by month, by year and per 1M tokens",
    inputs=TcoInputs,
    plan=plan,
    preset=preset,
    files=("prices",),
    examples=(
        "--scenario startup",
        "--scenario bank --years 3",
        "--requests-per-day 500000 --shape day --gpu H100-80 --api gpt-4o-mini",
        "--currency EUR --exchange USD:EUR=0.92 --tax 0.19 --wacc 0.08",
        "--gpu-price 0.75 --tok-s 700 --busy-s 2 --utilisation 1",
    ),
)
