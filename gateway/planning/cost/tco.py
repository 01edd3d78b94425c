"""What serving a load costs by an API, on rented GPUs, on own ones and on a mix: by month, by year, per million tokens."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import localcontext
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from gateway.planning.contract import (
    Answer,
    Context,
    Mark,
    PlanError,
    Plot,
    Series,
    Tool,
)
from gateway.planning.cost.cashflow import years
from gateway.planning.cost.costs import per_million_of
from gateway.planning.cost.options import Api, Option
from gateway.planning.cost.tco_case import Case, Copy, case
from gateway.planning.cost.tco_inputs import TcoInputs
from gateway.planning.cost.tco_lines import lines
from gateway.planning.cost.tco_tables import (
    Priced,
    changes_table,
    cheapest_of,
    mix_tables,
    months_table,
    options_table,
    years_table,
)
from gateway.planning.reading import from_json
from gateway.planning.units import Money

_SCENARIOS = Path(__file__).parent.parent / "data" / "scenarios"
_DIGITS = 64
"""Of amounts: the largest inputs together make more than the usual 28."""


def plan(inputs: TcoInputs, context: Context) -> Answer:
    with localcontext(prec=_DIGITS):
        return _plan(inputs, context)


def _plan(inputs: TcoInputs, context: Context) -> Answer:
    text = context.files.get("prices")
    made = case(inputs, text)
    priced = [_priced(inputs, made, option) for option in made.options if option.month is not None]
    tables = [options_table(inputs, made, priced)]
    if priced:
        months = months_table(priced, inputs)
        tables += [months, years_table(inputs, priced), *mix_tables(made)]
        if context.previous is not None:
            tables.append(changes_table(months, context.previous))
    return Answer(
        tool="tco",
        headline=_headline(inputs, made, priced),
        lines=list(lines(inputs, made, priced)),
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


def _headline(inputs: TcoInputs, made: Case, priced: Sequence[Priced]) -> str:
    asked = f"{sum(made.load.by_hour):,.0f} requests a day"
    title = f"{scenarios()[inputs.scenario]['title']}: " if inputs.scenario else ""
    if not priced:
        reasons = "; ".join(dict.fromkeys(option.reason for option in made.options))
        return f"{title}There is no way to serve {asked}: {reasons}."
    best = cheapest_of(priced)
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
        "spot": "spot machines, which may be taken away",
        "own": "own servers",
        "hybrid": f"a hybrid ({option.label})",
    }[option.key]


def _shown(money: Money) -> str:
    return f"{money.amount:,.2f} {money.currency}"


def _warnings(inputs: TcoInputs, made: Case, priced: Sequence[Priced]) -> Iterator[str]:
    if isinstance(made.copy, Copy) and made.copy.is_estimate:
        yield (
            "Speeds are estimates: the most that the hardware could do, times a share that others measured. Nothing was"
            " measured here; give tok_s once you have."
        )
    from_memory = [each.name for each in made.assumptions if "memory" in each.source]
    if from_memory:
        yield f"Prices that nobody looked up again: {', '.join(from_memory)}."
    undated = [each.name for each in made.assumptions if each.unit.endswith("per hour") and not each.as_of]
    if undated:
        yield f"The price list does not say of which day it is: {', '.join(undated)}."
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
