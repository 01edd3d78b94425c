"""From when own machines are cheaper: months until they are paid for, and the load from which they beat an API."""

import math

from gateway.planning.contract import (
    Answer,
    Cell,
    Column,
    Context,
    Line,
    Plot,
    Table,
    Tool,
    money_cell,
)
from gateway.planning.cost.costs import requests_per_second
from gateway.planning.payoff import breakeven_ledger, breakeven_load, breakeven_plots, measured, payback
from gateway.planning.payoff.breakeven_inputs import BreakevenInputs
from gateway.planning.payoff.measured import Month
from gateway.planning.payoff.moving import move
from gateway.planning.payoff.parity import Case, Parity, api_mix, case_of, measured_mix
from gateway.planning.payoff.sides import Rent, copy_of, own_side
from gateway.planning.units import (
    DAYS_PER_MONTH,
    HOURS_PER_MONTH,
    MONTHS_PER_YEAR,
    Money,
    in_cents,
)


def plan(inputs: BreakevenInputs, context: Context) -> Answer:
    """Raises PlanError."""
    own = own_side(inputs)
    if inputs.from_ledger:
        traffic = measured.required(context.traffic)
        moved = move(inputs, traffic, own)
        first = moved.targets[0]
        case = case_of(inputs, own, measured_mix(traffic, first.hours), first.copy, first.name)
        return breakeven_ledger.extended(_answer(case), inputs, traffic, own, moved)
    mix = api_mix(inputs)
    copy = copy_of(inputs, inputs.model, mix.input_tokens, mix.output_tokens)
    case = case_of(inputs, own, mix, copy, inputs.model)
    if inputs.requests_per_day is None:
        return _answer(case)
    return breakeven_load.extended(_answer(case), case, inputs.requests_per_day)


def _answer(case: Case) -> Answer:
    parity = case.parities[0]
    rent = case.rents[0]
    months = payback.months(case.own.price, rent.month.total - case.own.running)
    return Answer(
        tool="breakeven",
        headline=_headline(case, rent, months, parity),
        lines=[*_own_lines(case), *_rent_lines(case, rent, months), *_token_lines(case, parity)],
        tables=[_rents_table(case), _parities_table(case)],
        assumptions=[
            *case.mix.assumptions,
            *case.copy.assumptions,
            *case.own.assumptions,
            *case.rent_assumptions,
        ],
        warnings=_warnings(case),
        plot=_plot(case, rent, months, parity),
    )


def _plot(case: Case, rent: Rent, months: float, parity: Parity) -> Plot:
    if case.inputs.diagram == "months":
        return breakeven_plots.over_months(
            price=case.own.price,
            running=case.own.running,
            instead=Month(amount=rent.month.total),
            label=rent.label,
            months=months,
        )
    return breakeven_plots.over_load(
        price=case.mix.price,
        variable=Money(case.inputs.variable),
        own=case.own.whole,
        rented=rent.month.total / case.copies,
        server=parity.capacity * case.copies,
        copy=parity.capacity,
        breakeven=None if parity.why_never else parity.tokens * case.copies,
        load=case.mix.load,
    )


def _headline(case: Case, rent: Rent, months: float, parity: Parity) -> str:
    server = f"An own server of {case.inputs.server_gpus} x {case.inputs.gpu}"
    if math.isinf(months):
        against_rent = f"{server} never pays against {rent.label}"
    elif too_long := _why_too_long(case, months):
        against_rent = f"{server} never pays against the same {rent.label}: it would {payback.told(months)}, and {too_long}"
    else:
        against_rent = f"{server} has paid for itself {payback.told(months)} of the same {rent.label}"
    price = f"an API at USD {case.mix.price.amount:,.4g} per 1M tokens"
    if parity.why_never:
        return f"{against_rent}; against {price} a copy of the model never does: {parity.why_never}."
    first = (parity.tokens * case.copies).millions
    each = f", {parity.tokens.millions:,.0f}M for each of its {case.copies} copies" if case.copies > 1 else ""
    return f"{against_rent}; against {price} it pays from {first:,.0f}M tokens a month on{each}."


def _own_lines(case: Case) -> list[Line]:
    own, group = case.own, "An own server"
    month = own.month
    parts = in_cents([month.power, month.maintenance, month.software, month.colo, own.staff])
    return [
        Line(key="server_price", label="its price", value=money_cell(own.price), unit="USD", group=group),
        Line(
            key="own_running_month",
            label="a month of running it",
            value=money_cell(own.running),
            unit="USD",
            formula="power + maintenance + software + colo + staff",
            numbers=f"{' + '.join(str(part) for part in parts)} = {sum(parts)}",
            group=group,
        ),
        Line(
            key="own_month",
            label="with its price over its life",
            value=money_cell(own.whole),
            unit="USD",
            group=group,
        ),
    ]


def _rent_lines(case: Case, rent: Rent, months: float) -> list[Line]:
    own, inputs, group = case.own, case.inputs, "Bought or rented"
    saved = rent.month.total - own.running
    lines = [
        Line(
            key="rented_month", label=rent.label, value=money_cell(rent.month.total), unit="USD", group=group
        ),
        Line(
            key="payback_months",
            label="the own server is paid for after",
            value=payback.cell(months),
            unit="months",
            formula="price / (rented month - running month)",
            numbers=f"{money_cell(own.price)} / ({money_cell(rent.month.total)} - {money_cell(own.running)}) = {payback.shown(months)}",
            group=group,
        ),
    ]
    if inputs.wacc:
        later = payback.discounted_months(own.price, saved, inputs.wacc)
        lines.append(
            Line(
                key="discounted_payback_months",
                label="the same, discounted",
                value=payback.cell(later),
                unit="months",
                formula="-ln(1 - price i / saved) / ln(1 + i), i = wacc / 12",
                numbers=f"i = {inputs.wacc / 12:.6g}, saved = {money_cell(saved)}: {payback.shown(later)}",
                group=group,
            )
        )
    share = 1 - inputs.discount
    return [
        *lines,
        Line(
            key="commit_utilisation",
            label="a commitment pays from this share of all hours on",
            value=100 * share,
            unit="%",
            formula="1 - discount",
            numbers=f"1 - {inputs.discount:g} = {share:g}",
            group=group,
        ),
        Line(
            key="commit_hours",
            label="which are",
            value=share * HOURS_PER_MONTH,
            unit="h per month",
            group=group,
        ),
    ]


def _token_lines(case: Case, parity: Parity) -> list[Line]:
    mix, tokens, group = case.mix, parity.tokens, f"One copy of {case.name} against the API"
    qps = requests_per_second(tokens, mix.tokens)
    variable = case.inputs.variable
    return [
        Line(
            key="api_blended",
            label="the API, for this mix of tokens",
            value=mix.price.amount.quantize(measured.PRICE),
            unit="USD per 1M tokens",
            formula=mix.formula,
            numbers=mix.numbers,
            group=group,
        ),
        Line(
            key="breakeven_mtok_month",
            label="an own copy, on its share of a server, pays from",
            value=parity.cell(tokens.millions),
            unit="M tokens per month",
            formula="month of a copy / (API price - variable cost)",
            numbers=f"{money_cell(parity.fixed)} / ({mix.price.amount:.6g} - {variable}) = {payback.shown(tokens.millions)}",
            group=group,
        ),
        Line(
            key="breakeven_server_mtok_month",
            label="a whole server",
            value=parity.cell(tokens.millions * case.copies),
            unit="M tokens per month",
            formula="that x copies on a server",
            numbers=f"{payback.shown(tokens.millions)} x {case.copies} = {payback.shown(tokens.millions * case.copies)}",
            group=group,
        ),
        Line(
            key="breakeven_mtok_day",
            label="a copy, by the day",
            value=parity.cell(tokens.millions / DAYS_PER_MONTH),
            unit="M tokens per day",
            group=group,
        ),
        Line(
            key="breakeven_qps",
            label="a copy, by the second",
            value=parity.cell(qps),
            unit="requests per second",
            formula="tokens / tokens of a request / (730 x 3600)",
            numbers=f"{payback.shown(tokens.value)} / {mix.tokens:,.6g} / 2628000 = {payback.shown(qps)}",
            group=group,
        ),
        Line(
            key="capacity_mtok_month",
            label="a copy serves at most",
            value=parity.capacity.millions,
            unit="M tokens per month",
            formula="tokens/s x utilisation x 730 x 3600",
            numbers=f"{case.copy.speed.value:,.6g} x {case.inputs.utilisation:g} x 2628000 = {parity.capacity.value:,.6g}",
            group=group,
        ),
    ]


def _rents_table(case: Case) -> Table:
    def row(rent: Rent) -> dict[str, Cell]:
        saved = rent.month.total - case.own.running
        months = payback.months(case.own.price, saved)
        return {
            "way": rent.label,
            "month_usd": money_cell(rent.month.total),
            "payback_months": payback.cell(months),
            "discounted_months": payback.cell(
                payback.discounted_months(case.own.price, saved, case.inputs.wacc)
            ),
            "why": _why_too_long(case, months),
        }

    discounted = (
        [Column(key="discounted_months", label="discounted", unit="months")] if case.inputs.wacc else []
    )
    return Table(
        key="renting",
        title="When an own server has paid for itself, against the same GPUs",
        columns=[
            Column(key="way", label=""),
            Column(key="month_usd", label="a month", unit="USD"),
            Column(key="payback_months", label="paid for after", unit="months"),
            *discounted,
            Column(key="why", label="why not"),
        ],
        rows=[row(rent) for rent in case.rents],
    )


def _why_too_long(case: Case, months: float) -> str:
    if math.isinf(months):
        return f"running an own one costs {money_cell(case.own.running):,}"
    life = case.inputs.life * MONTHS_PER_YEAR
    return f"it lasts {life:g} months" if months > life else ""


def _parities_table(case: Case) -> Table:
    def row(parity: Parity) -> dict[str, Cell]:
        return {
            "way": parity.label,
            "fixed_usd": money_cell(parity.fixed),
            "mtok_month": parity.cell(parity.tokens.millions),
            "mtok_day": parity.cell(parity.tokens.millions / DAYS_PER_MONTH),
            "qps": parity.cell(requests_per_second(parity.tokens, case.mix.tokens)),
            "load_percent": parity.cell(100 * (parity.tokens / parity.capacity)),
            "why": parity.why_never,
        }

    return Table(
        key="tokens",
        title="From which load on a copy of the model is cheaper than the API",
        columns=[
            Column(key="way", label=""),
            Column(key="fixed_usd", label="a month of it", unit="USD"),
            Column(key="mtok_month", label="pays from", unit="M tokens/month"),
            Column(key="mtok_day", label="a day", unit="M tokens"),
            Column(key="qps", label="requests", unit="1/s"),
            Column(key="load_percent", label="of what it serves", unit="%"),
            Column(key="why", label="why never"),
        ],
        rows=[row(parity) for parity in case.parities],
    )


def _warnings(case: Case) -> list[str]:
    told = []
    if case.inputs.tok_s is None:
        told.append("The speed is an estimate, not a measurement: give what your own hardware does (tok_s).")
    staff, whole = case.own.staff, case.own.whole
    if staff / whole > 0.25:
        told.append(
            f"People are {staff / whole:.0%} of an own server's month: that share falls as servers are added."
        )
    return told


TOOL = Tool(
    name="breakeven",
    help="From when own machines are cheaper than rented ones or an API.",
    inputs=BreakevenInputs,
    plan=plan,
    examples=(
        "--api gpt-4o --gpu A100-80",
        "--api gpt-4o-mini --gpu H100 --tok-s 3281.19 --utilisation 1",
        "--api gpt-4o --requests-per-day 50000 --shape office --wacc 0.08",
    ),
)
