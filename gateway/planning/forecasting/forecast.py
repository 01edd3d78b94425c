"""The tool `forecast`: what will be spent by the end of the month and after, with bands, and when a budget is reached."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Literal

from gateway.planning.contract import (
    Answer,
    Assumption,
    Context,
    Inputs,
    Line,
    PlanError,
    Tool,
    asked,
)
from gateway.planning.forecasting import outlook_views as views
from gateway.planning.forecasting.daily import DAY, Daily, days_of, from_file, from_list, from_traffic, zone
from gateway.planning.forecasting.doubts import doubts
from gateway.planning.forecasting.outlook import Outlook, month_after
from gateway.planning.forecasting.seasonal import LEAST_WEEKLY, Choice, chosen, fit_linear
from gateway.planning.forecasting.student import half_width
from gateway.planning.units import Money, in_cents

LEAST_DAYS = 7


class ForecastInputs(Inputs, frozen=True, kw_only=True):
    from_ledger: Annotated[bool, asked("from what the gateway has billed")] = False
    tenant: Annotated[str, asked("of the ledger: whose spend; without it the whole site's")] = ""
    from_: Annotated[str, asked("of the ledger: first day")] = ""
    days: Annotated[
        int, asked("of the ledger: how far back, without a first day", unit="days", ge=1, le=3650)
    ] = 400
    to: Annotated[str, asked("of the ledger: the day before which it ends; without it now")] = ""
    file: Annotated[
        str, asked("a file of days and amounts: CSV or JSON, as `weighbridge spend --by day` writes it")
    ] = ""
    daily: Annotated[str, asked("amounts by commas, one a day up to yesterday")] = ""
    timezone: Annotated[str, asked("in which the ledger's days and months begin")] = "UTC"
    coverage: Annotated[float, asked("how likely what comes lies in a band", gt=0.01, lt=0.9999)] = 0.8
    months: Annotated[int, asked("to forecast after this one", unit="months", ge=0, le=24)] = 0
    budget: Annotated[Decimal | None, asked("of a month: when is it reached, and how likely", gt=0)] = None
    leave_out: Annotated[
        tuple[str, ...],
        asked("days that say nothing of others: outages, a launch; 2026-11-03 or 2026-11-03/2026-11-05"),
    ] = ()
    gaps: Annotated[
        Literal["zero", "leave-out"],
        asked("of a file: days that it does not have were without spend, or are not known"),
    ] = "zero"
    currency: Annotated[str, asked("of the amounts; the ledger's are in USD")] = "USD"


def plan(inputs: ForecastInputs, context: Context) -> Answer:
    daily = _daily(inputs, context)
    days = sum(amount is not None for amount in daily.history)
    if days < LEAST_DAYS:
        return _run_rate(inputs, daily, days)
    choice = chosen(daily.history)
    outlook = Outlook(
        choice.model,
        daily,
        coverage=inputs.coverage,
        months=inputs.months,
        budget=None if inputs.budget is None else float(inputs.budget),
    )
    currency, share = inputs.currency, _share(inputs)
    tables = [views.day_table(outlook, currency, share)]
    if inputs.months:
        tables.insert(0, views.month_table(outlook, currency, share))
    if choice.errors:
        tables.append(views.model_table(choice, currency))
    return Answer(
        tool="forecast",
        headline=_headline(inputs, outlook),
        lines=_lines(inputs, daily, choice, outlook, days),
        tables=tables,
        assumptions=[
            Assumption(
                name="days that it rests on",
                value=f"{daily.first} to {daily.end - DAY}",
                origin="ledger" if inputs.from_ledger else "given",
            )
        ],
        warnings=_warnings(inputs, daily, choice, outlook, days, date.fromisoformat(context.today)),
        plot=views.daily_plot(daily, outlook, currency, share)
        if inputs.budget is None
        else views.month_plot(daily, outlook, inputs.budget, currency, share),
    )


def _daily(inputs: ForecastInputs, context: Context) -> Daily:
    given = [name for name in ("from_ledger", "file", "daily") if getattr(inputs, name)]
    if len(given) != 1:
        raise PlanError(
            "Say where the days come from: one of from_ledger, file or daily"
            + (f", not {' and '.join(given)} at once." if given else "."),
            param="from_ledger",
        )
    left_out, today = days_of(inputs.leave_out), date.fromisoformat(context.today)
    if inputs.file:
        return from_file(context.files.get("file", inputs.file), today, left_out, gaps=inputs.gaps)
    if inputs.daily:
        return from_list(inputs.daily, today, left_out)
    if context.traffic is None:
        raise PlanError("There is no ledger to read.", param="from_ledger")
    if inputs.currency != "USD":
        raise PlanError("The ledger's money is in USD.", param="currency")
    return from_traffic(context.traffic, zone(inputs.timezone), left_out)


def _run_rate(inputs: ForecastInputs, daily: Daily, days: int) -> Answer:
    """Of the whole days of this month; where it has none, of all there are."""
    known = {day: amount for day, amount in zip(daily.days, daily.history, strict=True) if amount is not None}
    month = daily.end.replace(day=1)
    amounts = [amount for day, amount in known.items() if day >= month] or list(known.values())
    rate = sum(amounts) / len(amounts) if amounts else None
    left = (month_after(daily.end, 1) - daily.end).days
    rest = max(rate or 0.0, daily.so_far) + (rate or 0.0) * (left - 1)
    spent, rest_cents = in_cents([Money.of(part, inputs.currency) for part in (daily.in_month, rest)])
    whole = "day is" if days == 1 else "days are"
    headline = f"{days} whole {whole} too few for a forecast: it takes {LEAST_DAYS}."
    if rate is not None:
        headline += f" At the rate so far {month:%B %Y} comes to {spent + rest_cents:,.2f} {inputs.currency}, no interval."
    unit = inputs.currency
    return Answer(
        tool="forecast",
        headline=headline,
        lines=[
            Line(
                key="month_to_date",
                label=f"spent in {month:%B %Y} before {daily.end}",
                value=spent,
                unit=unit,
            ),
            Line(
                key="run_rate_day",
                label="rate of a day",
                value=None if rate is None else views.cents(rate, unit),
                unit=unit,
            ),
            Line(
                key="run_rate_month",
                label=f"{month:%B %Y} at that rate, no interval",
                value=None if rate is None else spent + rest_cents,
                unit=unit,
                formula="spent + rate x days left",
                numbers=f"{spent} + {rate or 0:,.2f} x {left} = {spent + rest_cents}",
            ),
            Line(key="days", label="whole days known", value=days, unit="days"),
        ],
        warnings=["A rate knows no weekdays, no trend and no error: it is no forecast."],
    )


def _headline(inputs: ForecastInputs, outlook: Outlook) -> str:
    month, share = outlook.months[0], _share(inputs)
    told = (
        f"{month.first:%B %Y} will come to {month.total.mean:,.2f} {inputs.currency}, with {share} between"
        f" {month.total.low:,.2f} and {month.total.high:,.2f}."
    )
    if inputs.budget is None:
        return told
    budget = f"The budget of {inputs.budget:,.2f} {inputs.currency}"
    breach, reach = month.breach or 0.0, outlook.reach()
    if outlook.is_reached:
        return f"{told} {budget} is reached already."
    if reach.middle is None:
        before = f", and not before {reach.earliest}" if reach.earliest else ""
        return f"{told} {budget} is probably not reached: {breach:.1%} likely{before}."
    if reach.earliest == reach.latest:
        return f"{told} {budget} is reached on {reach.middle}, with {share} on that very day."
    upto = f"and {reach.latest}" if reach.latest else f"and next month; this month it is {breach:.1%} likely"
    return f"{told} {budget} is reached on {reach.middle}, with {share} between {reach.earliest} {upto}."


def _lines(inputs: ForecastInputs, daily: Daily, choice: Choice, outlook: Outlook, days: int) -> list[Line]:
    month, currency, share, model = outlook.months[0], inputs.currency, _share(inputs), choice.model
    parts = (daily.in_month, month.total.mean - daily.in_month)
    known, rest = in_cents([Money.of(part, currency) for part in parts])
    spread = (
        f"{half_width(inputs.coverage, model.freedom):.4f} x "
        f"{model.deviation(0, (month_after(daily.end, 1) - daily.end).days):,.4f}"
    )
    name = f"{month.first:%B %Y}"
    lines = [
        Line(key="month_to_date", label=f"spent in {name} before {daily.end}", value=known, unit=currency),
        Line(key="rest_of_month", label=f"forecast from {daily.end} on", value=rest, unit=currency),
        Line(
            key="month_end",
            label=f"{name} in all",
            value=known + rest,
            unit=currency,
            formula="spent + sum of the days to come",
            numbers=f"{known} + {rest} = {known + rest}",
        ),
        Line(
            key="month_end_low",
            label=f"with {share} above",
            value=max(known, views.cents(month.total.low, currency)),
            unit=currency,
            formula="month - t s, and no less than what is spent; s^2 is the variance of the sum",
            numbers=f"{known + rest} - {spread}",
        ),
        Line(
            key="month_end_high",
            label="and below",
            value=views.cents(month.total.high, currency),
            unit=currency,
            formula="month + t s",
            numbers=f"{known + rest} + {spread}",
        ),
        Line(key="model", label="told by", value=model.name),
        Line(key="days", label="whole days known", value=days, unit="days"),
        Line(
            key="sigma", label="usual error of a day", value=views.cents(model.sigma, currency), unit=currency
        ),
    ]
    if inputs.budget is None:
        return lines
    return [*lines, *views.budget_lines(outlook, inputs.budget, currency)]


def _warnings(
    inputs: ForecastInputs, daily: Daily, choice: Choice, outlook: Outlook, days: int, today: date
) -> list[str]:
    told = ["It carries on what has been: a launch, a new tenant, other prices or routes are in no band."]
    if days < LEAST_WEEKLY:
        told.append(
            f"{days} days tell of a trend and not of weekdays, which takes {LEAST_WEEKLY}: if weekends differ, the band"
            " is too narrow."
        )
    begun, month = min(daily.spent), daily.end.replace(day=1)
    # Before a ledger's first entry nothing was spent; before a list's first day something may have been.
    if begun > month and (inputs.from_ or not inputs.from_ledger):
        told.append(f"What was spent from {month} to {begun - DAY} is not known, and the month lacks it.")
    if daily.end < today:
        told.append(f"Nothing is known from {daily.end} on: days that are past are forecast too.")
    told += doubts(daily, fit_linear(daily.history), is_trend=choice.model.name.startswith("trend"))
    if len(outlook.days) > days:
        told.append(f"It looks {len(outlook.days)} days ahead from {days}: farther than it has seen.")
    if outlook.is_clipped:
        told.append("The trend falls below 0, where spend does not go: those days are told as 0.")
    return told


def _share(inputs: ForecastInputs) -> str:
    return f"{100 * inputs.coverage:.4g} %"


TOOL = Tool(
    name="forecast",
    help="What will be spent by the end of the month and after it, with bands, and when a budget is reached.",
    inputs=ForecastInputs,
    plan=plan,
    files=("file",),
    examples=(
        "--daily 14.1,15.3,14.8,16.0,15.2,9.1,8.7,15.9,16.4,15.8,17.1,16.6,9.8,9.5 --budget 400",
        "--daily 200,202,204,206,208,210,212,214,216,218 --months 2 --coverage 0.9 --currency EUR",
    ),
)
