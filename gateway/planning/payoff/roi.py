"""When a project that saves money has paid for itself, and what it returns: from figures, or as the ledger measured."""

import math
from decimal import Decimal
from typing import Annotated

import msgspec

from gateway.planning.contract import (
    Answer,
    Assumption,
    Context,
    Inputs,
    Line,
    Mark,
    PlanError,
    Plot,
    Series,
    Tool,
    asked,
    money_cell,
)
from gateway.planning.cost.costs import npv
from gateway.planning.cost.prices import api_prices
from gateway.planning.payoff import measured, payback
from gateway.planning.payoff.measured import Month
from gateway.planning.traffic import Traffic
from gateway.planning.units import MONTHS_PER_YEAR, Money, in_cents

_USD = "USD"
_LONGEST_PLOT = 120
_PARTS = {
    "spent_month": "spent",
    "saved_by_routing_month": "saved by routing",
    "saved_by_cache_month": "saved by the cache",
}


class RoiInputs(Inputs, frozen=True, kw_only=True):
    cost: Annotated[Decimal, asked("what it costs once", unit="USD", ge=0)]
    saving_month: Annotated[
        Decimal | None,
        asked("what it saves each month; left out with from_ledger", unit="USD per month", ge=0),
    ] = None
    run_cost_month: Annotated[
        Decimal,
        asked(
            "what it costs each month itself: the gateway's machines, own GPUs, staff",
            unit="USD per month",
            ge=0,
        ),
    ] = Decimal(0)
    months: Annotated[int, asked("over which its return is told", unit="months", ge=1, le=600)] = 12
    rate: Annotated[
        float,
        asked(
            "cost of capital, for its worth today", unit="share per year", source="an assumption", ge=0, le=10
        ),
    ] = 0.10
    from_ledger: measured.FromLedger = False
    tenant: measured.Tenant = None
    from_: measured.From = msgspec.field(default=None, name="from")
    to: measured.To = None
    reference: Annotated[
        str | None,
        asked(
            "where every request would have gone without the gateway: a model here, UPSTREAM/MODEL, or one of the price"
            " list; none: the config's planning.reference"
        ),
    ] = None


class Saving(msgspec.Struct, frozen=True, kw_only=True):
    """What a month saves, and where that comes from."""

    month: Month
    lines: tuple[Line, ...] = ()
    assumptions: tuple[Assumption, ...] = ()
    warnings: tuple[str, ...] = ()


class Return(msgspec.Struct, frozen=True, kw_only=True):
    net: Money
    """Saved each month, what it costs itself taken off."""
    payback: float
    discounted: float
    roi: float | None
    """None: it cost nothing."""
    npv: Money


def returned(cost: Money, net: Money, *, months: int, rate: float) -> Return:
    """payback = cost / net; ROI(n) = (n net - cost) / cost; NPV = -cost + sum net / (1 + rate/12)^i, i = 1..n."""
    return Return(
        net=net,
        payback=payback.months(cost, net),
        discounted=payback.discounted_months(cost, net, rate),
        roi=(net * months - cost) / cost if cost.amount else None,
        npv=npv([-cost, *[net] * months], rate, per_year=MONTHS_PER_YEAR),
    )


def plan(inputs: RoiInputs, context: Context) -> Answer:
    """Raises PlanError."""
    saving = _measured(measured.required(context.traffic)) if inputs.from_ledger else _given(inputs)
    cost, run = Money(inputs.cost), Money(inputs.run_cost_month)
    found = returned(cost, saving.month.amount - run, months=inputs.months, rate=inputs.rate)
    return Answer(
        tool="roi",
        headline=_headline(found, inputs),
        lines=[*saving.lines, *_lines(inputs, saving.month, found)],
        assumptions=saving.assumptions,
        warnings=saving.warnings,
        plot=_plot(inputs, saving.month, found),
    )


def _given(inputs: RoiInputs) -> Saving:
    if inputs.saving_month is None:
        raise PlanError(
            "Say what it saves each month, or have it measured (from_ledger).", param="saving_month"
        )
    return Saving(month=Month(amount=Money(inputs.saving_month)))


def _measured(traffic: Traffic) -> Saving:
    """The baseline is each request at the reference's price of today, what was answered from the cache included."""
    if traffic.reference_model is None:
        raise PlanError(
            "Say where every request would have gone without the gateway (reference, or planning.reference in the config).",
            param="reference",
        )
    rows = (*traffic.hours, *traffic.cached)
    saved = measured.by_hour(rows, lambda hour: (hour.reference_cost or 0) - hour.cost)
    month = measured.month(traffic, saved, may_be_negative=True)
    scale = measured.to_month(traffic)
    baseline = measured.dollars(sum(hour.reference_cost or 0 for hour in rows)) * scale
    by_cache = measured.dollars(sum(hour.reference_cost or 0 for hour in traffic.cached)) * scale
    spent = measured.dollars(sum(hour.cost for hour in rows)) * scale
    # The parts are shown beside their sum: to the cent they must be it.
    parts = [money_cell(spent), *in_cents([baseline - by_cache - spent, by_cache])]
    lines = (
        _amount("baseline_month", f"every request at {traffic.reference_model}", sum(parts, Decimal(0))),
        *(_amount(key, label, part) for (key, label), part in zip(_PARTS.items(), parts, strict=True)),
        Line(
            key="saved_share",
            label="saved",
            value=float(100 * (baseline - spent).amount / baseline.amount) if baseline.amount else None,
            unit="%",
            group="Measured, per month",
        ),
    )
    return Saving(
        month=month,
        lines=lines,
        assumptions=(*measured.assumptions(traffic), _reference(traffic.reference_model)),
        warnings=(*measured.caveats(traffic), *_caveats(traffic)),
    )


def _amount(key: str, label: str, amount: Decimal) -> Line:
    return Line(key=key, label=label, value=amount, unit=_USD, group="Measured, per month")


def _reference(name: str) -> Assumption:
    listed = api_prices().get(name)
    if listed:
        return Assumption(
            name="reference", value=name, origin="catalogue", source=listed.source, as_of=listed.as_of
        )
    return Assumption(name="reference", value=name, origin="ledger", source="the gateway's price book, today")


def _caveats(traffic: Traffic) -> list[str]:
    tokens = "The baseline takes the reference to have needed as many tokens as the models that answered did"
    found = [f"{tokens}; other models count and say more or less."]
    free = sorted({hour.model for hour in traffic.hours if not hour.cost})
    if free:
        found.append(
            f"Free in the price book: {', '.join(free[:8])}. What their hardware costs belongs in run_cost_month."
        )
    return found


def _headline(found: Return, inputs: RoiInputs) -> str:
    if math.isinf(found.payback):
        return (
            f"It never pays for itself: it saves USD {money_cell(found.net):,} a month once what it costs each month"
            " is taken off."
        )
    at_once = (
        "It pays at once" if found.payback == 0 else f"It has paid for itself {payback.told(found.payback)}"
    )
    return f"{at_once}; in {inputs.months} months it is worth USD {money_cell(found.npv):,} of today."


def _lines(inputs: RoiInputs, saving: Month, found: Return) -> list[Line]:
    cost, net, months, step = inputs.cost, money_cell(found.net), inputs.months, inputs.rate / MONTHS_PER_YEAR
    run = Money(inputs.run_cost_month)
    lines = [
        Line(key="saving_month", label="saved each month", value=money_cell(saving.amount), unit=_USD),
        *_band("saving_month", saving, Money(0)),
        Line(
            key="net_month",
            label="net of what it costs each month",
            value=net,
            unit=_USD,
            formula="saving - run cost",
            numbers=f"{money_cell(saving.amount)} - {inputs.run_cost_month} = {net}",
        ),
        *_band("net_month", saving, run),
        Line(
            key="payback_months",
            label="paid for itself after",
            value=payback.cell(found.payback),
            unit="months",
            formula="cost / (saving - run cost)",
            numbers=f"{cost} / {net} = {payback.shown(found.payback)}",
        ),
    ]
    if saving.low is not None and saving.high is not None:
        ends = [payback.months(Money(cost), end - run) for end in (saving.high, saving.low)]
        lines += [
            Line(key=f"payback_months_{name}", label=f"  {name} end", value=payback.cell(end), unit="months")
            for name, end in zip(("early", "late"), ends, strict=True)
        ]
    return [
        *lines,
        Line(
            key="discounted_payback_months",
            label="the same, discounted",
            value=payback.cell(found.discounted),
            unit="months",
            formula="-ln(1 - cost i / net) / ln(1 + i), i = rate / 12",
            numbers=f"-ln(1 - {cost} x {step:.6g} / {net}) / ln(1 + {step:.6g}) = {payback.shown(found.discounted)}",
        ),
        Line(
            key="roi",
            label=f"return in {months} months",
            value=found.roi,
            unit="times its cost",
            formula="(n net - cost) / cost",
            numbers=f"({months} x {net} - {cost}) / {cost} = {found.roi:.6g}"
            if found.roi is not None
            else "",
        ),
        Line(
            key="npv",
            label=f"net present value of {months} months",
            value=money_cell(found.npv),
            unit=_USD,
            formula="-cost + sum of net / (1 + rate/12)^i",
            numbers=f"-{cost} + sum of {net} / (1 + {step:.6g})^i for i = 1..{months} = {money_cell(found.npv)}",
        ),
    ]


def _band(key: str, saving: Month, run: Money) -> list[Line]:
    return [
        Line(key=f"{key}_{name}", label=f"  {name} end of its band", value=money_cell(end - run), unit=_USD)
        for name, end in (("low", saving.low), ("high", saving.high))
        if end is not None
    ]


def _plot(inputs: RoiInputs, saving: Month, found: Return) -> Plot:
    is_finite = not math.isinf(found.payback)
    last = min(_LONGEST_PLOT, max(inputs.months, math.ceil(found.payback * 1.25) if is_finite else 0))
    run = Money(inputs.run_cost_month)

    def so_far(each_month: Money | None) -> list[float] | None:
        if each_month is None:
            return None
        return [float(((each_month - run) * month - Money(inputs.cost)).amount) for month in range(last + 1)]

    marks = [Mark(text="it has paid for itself", x=found.payback, y=0.0)] if found.payback <= last else []
    return Plot(
        title="Saved so far, what it cost taken off",
        x_label="months",
        y_label="USD",
        series=[
            Series(
                label="saved - cost",
                x=[float(month) for month in range(last + 1)],
                y=so_far(saving.amount) or [],
                low=so_far(saving.low),
                high=so_far(saving.high),
            )
        ],
        marks=[Mark(text="", y=0.0), *marks],
    )


TOOL = Tool(
    name="roi",
    help="When what saves money has paid for itself, and what it returns.",
    inputs=RoiInputs,
    plan=plan,
    examples=(
        "--cost 28000 --saving-month 14000",
        "--cost 2000 --saving-month 1000 --run-cost-month 250 --months 24",
    ),
)
