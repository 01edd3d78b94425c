"""The part of a break-even's answer that a day's load adds: how many own servers to buy for it."""

import math
from collections.abc import Sequence

import msgspec

from gateway.planning.contract import Answer, Line, money_cell
from gateway.planning.cost.load import Load, load
from gateway.planning.payoff import payback
from gateway.planning.payoff.breakeven_ledger import steps_table
from gateway.planning.payoff.parity import Case
from gateway.planning.payoff.replicas import Busy, paying, shown
from gateway.planning.units import DAYS_PER_MONTH, Hours, Money, Tokens

_GROUP = "At this load"


def extended(answer: Answer, case: Case, requests_per_day: float) -> Answer:
    """Raises PlanError for a shape that is none."""
    inputs, mix, own = case.inputs, case.mix, case.own
    asked = load(requests_per_day, inputs.shape, mix.input_tokens, mix.output_tokens)
    busy = _busy(case, asked)
    fixed = own.month.total
    servers = paying(busy, fixed)
    avoided = Money.of(sum(float(each.spend.amount) * min(1.0, servers / each.need) for each in busy))
    running = own.month.running * servers + own.staff
    gained = avoided - running - own.month.depreciation * servers
    if gained.amount <= 0:
        servers, avoided, running, gained = 0, Money(0), Money(0), Money(0)
    months = payback.months(own.price * servers, avoided - running) if servers else math.inf
    told = f"buy {servers}: paid for {payback.told(months)}" if servers else "buy none"
    steps = [(inputs.model, shown(busy, fixed))]
    return msgspec.structs.replace(
        answer,
        headline=f"{answer.headline} At {requests_per_day:,.0f} requests a day {told}.",
        lines=[*answer.lines, *_lines(case, asked, servers, avoided, running, gained, months)],
        tables=[*answer.tables, steps_table(steps, fixed)],
    )


def _busy(case: Case, asked: Load) -> list[Busy]:
    server = case.copy.speed * (case.inputs.utilisation * case.copies)
    price = max(Money(0), case.mix.price - Money(case.inputs.variable))
    return [
        Busy(
            hours=Hours(DAYS_PER_MONTH),
            need=speed / server,
            spend=price * (Tokens(speed.value * 3600).millions * DAYS_PER_MONTH),
        )
        for speed in asked.speeds
        if speed.value
    ]


def _lines(
    case: Case, asked: Load, servers: int, avoided: Money, running: Money, gained: Money, months: float
) -> Sequence[Line]:
    tokens, price = asked.month_tokens.millions, case.own.price * servers
    depreciation = case.own.month.depreciation * servers
    return [
        Line(key="load_mtok_month", label="tokens", value=tokens, unit="M tokens per month", group=_GROUP),
        Line(
            key="api_month",
            label="by the API alone",
            value=money_cell(case.mix.price * tokens),
            unit="USD",
            formula="tokens x API price",
            numbers=f"{tokens:,.6g} x {case.mix.price.amount:.6g}",
            group=_GROUP,
        ),
        Line(
            key="servers",
            label="own servers to buy",
            value=servers,
            formula="those that avoid more than their month costs, if together they pay for people too",
            group=_GROUP,
        ),
        Line(
            key="load_saving_month",
            label="they save",
            value=money_cell(gained),
            unit="USD",
            formula="avoided - running - price over life",
            numbers=f"{money_cell(avoided)} - {money_cell(running)} - {money_cell(depreciation)} = {money_cell(gained)}",
            group=_GROUP,
        ),
        Line(
            key="load_payback_months",
            label="and are paid for after",
            value=payback.cell(months),
            unit="months",
            formula="price / (avoided - running)",
            numbers=f"{money_cell(price)} / ({money_cell(avoided)} - {money_cell(running)}) = {payback.shown(months)}",
            group=_GROUP,
        ),
    ]
