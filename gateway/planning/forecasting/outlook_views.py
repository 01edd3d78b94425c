"""A forecast as lines, tables and diagrams."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

import msgspec

from gateway.planning.contract import Cell, Column, Line, Mark, Plot, Series, Table, money_cell
from gateway.planning.forecasting.daily import DAY, Daily
from gateway.planning.forecasting.outlook import Band, Outlook
from gateway.planning.forecasting.seasonal import Choice
from gateway.planning.units import Money

_MOST_PLOTTED = 120
"""Days of the past that a diagram shows."""


def cents(amount: float, currency: str) -> Decimal:
    return money_cell(Money.of(amount, currency))


def budget_lines(outlook: Outlook, budget: Decimal, currency: str) -> list[Line]:
    reach, breach = outlook.reach(), outlook.months[0].breach
    return [
        Line(key="budget", label="budget of a month", value=budget, unit=currency, group="Budget"),
        Line(
            key="budget_probability",
            label="reached this month, likely",
            value=None if breach is None else round(100 * breach, 2),
            unit="%",
            formula="P(T > (budget - month) / s) of Student's t",
            group="Budget",
        ),
        Line(
            key="budget_day",
            label="reached on",
            value=_written(reach.middle),
            group="Budget",
        ),
        Line(
            key="budget_earliest",
            label="at the earliest",
            value=_written(reach.earliest),
            group="Budget",
        ),
        Line(
            key="budget_latest",
            label="at the latest",
            value=_written(reach.latest),
            group="Budget",
        ),
    ]


def day_table(outlook: Outlook, currency: str, share: str) -> Table:
    """To the end of this month."""
    has_budget = outlook.days[0].breach is not None
    rows: list[dict[str, Cell]] = [
        {
            "day": each.day.isoformat(),
            "weekday": each.day.strftime("%a"),
            "mean": cents(each.spend.mean, currency),
            "low": cents(each.spend.low, currency),
            "high": cents(each.spend.high, currency),
            "month_so_far": cents(each.month_so_far.mean, currency),
            "month_low": cents(each.month_so_far.low, currency),
            "month_high": cents(each.month_so_far.high, currency),
            "breach_percent": None if each.breach is None else round(100 * each.breach, 1),
        }
        for each in outlook.this_month
    ]
    return Table(
        key="forecast_days",
        title=f"Day by day, with {share} between low and high",
        columns=[
            Column(key="day", label="day"),
            Column(key="weekday", label=""),
            Column(key="mean", label="spend", unit=currency),
            Column(key="low", label="low", unit=currency),
            Column(key="high", label="high", unit=currency),
            Column(key="month_so_far", label="month so far", unit=currency),
            Column(key="month_low", label="low", unit=currency),
            Column(key="month_high", label="high", unit=currency),
            *([Column(key="breach_percent", label="budget reached", unit="%")] if has_budget else []),
        ],
        rows=rows,
    )


def month_table(outlook: Outlook, currency: str, share: str) -> Table:
    has_budget = outlook.months[0].breach is not None
    return Table(
        key="forecast_months",
        title=f"Month by month, with {share} between low and high",
        columns=[
            Column(key="month", label="month"),
            Column(key="mean", label="spend", unit=currency),
            Column(key="low", label="low", unit=currency),
            Column(key="high", label="high", unit=currency),
            *([Column(key="breach_percent", label="budget reached", unit="%")] if has_budget else []),
        ],
        rows=[
            {
                "month": f"{each.first:%Y-%m}",
                "mean": cents(each.total.mean, currency),
                "low": cents(each.total.low, currency),
                "high": cents(each.total.high, currency),
                "breach_percent": None if each.breach is None else round(100 * each.breach, 1),
            }
            for each in outlook.months
        ],
    )


def model_table(choice: Choice, currency: str) -> Table:
    return Table(
        key="models",
        title="Mean error of a day when each was tried on the last weeks, up to 14 days ahead",
        columns=[
            Column(key="model", label="model"),
            Column(key="error", label="error", unit=currency),
            Column(key="is_chosen", label="chosen"),
        ],
        rows=[
            {"model": name, "error": cents(error, currency), "is_chosen": name == choice.model.name}
            for name, error in choice.errors.items()
        ],
    )


def daily_plot(daily: Daily, outlook: Outlook, currency: str, share: str) -> Plot:
    past = list(zip(daily.days, daily.history, strict=True))[-_MOST_PLOTTED:]
    known = [(day, amount) for day, amount in past if amount is not None]
    return _plot(
        f"Spend per day; the band holds {share} of days",
        f"spend per day ({currency})",
        known,
        [(each.day, each.spend) for each in outlook.days],
        share,
    )


def month_plot(daily: Daily, outlook: Outlook, budget: Decimal, currency: str, share: str) -> Plot:
    """Spend adding up over the month, against its budget."""
    first, spent = daily.end.replace(day=1), 0.0
    past: list[tuple[date, float]] = []
    for at in range((daily.end - first).days):
        spent += daily.spent.get(first + at * DAY, 0.0)
        past.append((first + at * DAY, spent))
    plot = _plot(
        f"Spend in {first:%B %Y}; the band holds {share}",
        f"spend since the month began ({currency})",
        past,
        [(each.day, each.month_so_far) for each in outlook.this_month],
        share,
    )
    mark = Mark(text=f"budget {budget:,.2f} {currency}", y=float(budget))
    return msgspec.structs.replace(plot, marks=[mark])


def _plot(
    title: str,
    y_label: str,
    past: Sequence[tuple[date, float]],
    ahead: Sequence[tuple[date, Band]],
    share: str,
) -> Plot:
    """What comes begins where what was ends, so that the lines meet."""
    met = [(day, Band(amount, amount, amount)) for day, amount in past[-1:]]
    told = [*met, *ahead]
    forecast = Series(
        label=f"forecast, {share}",
        x=[day.isoformat() for day, _ in told],
        y=[band.mean for _, band in told],
        low=[band.low for _, band in told],
        high=[band.high for _, band in told],
        is_dashed=True,
    )
    spent = Series(label="spent", x=[day.isoformat() for day, _ in past], y=[amount for _, amount in past])
    return Plot(title=title, x_label="", y_label=y_label, series=[spent, forecast] if past else [forecast])


def _written(day: date | None) -> str | None:
    return None if day is None else day.isoformat()
