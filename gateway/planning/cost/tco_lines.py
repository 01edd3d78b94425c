"""The numbers of `tco` one by one, each with how it was found."""

from collections.abc import Iterator, Sequence

from gateway.planning.contract import Line, money_cell
from gateway.planning.cost.costs import blended, egress, inferences_month, per_million
from gateway.planning.cost.hybrid import paying_hours
from gateway.planning.cost.options import Api
from gateway.planning.cost.tco_case import Case, Copy, Impossible
from gateway.planning.cost.tco_inputs import TcoInputs
from gateway.planning.cost.tco_tables import Priced, fine
from gateway.planning.units import HOURS_PER_MONTH, Money, Seconds, TokensPerSecond, in_cents

_FORMULAS = {
    "api": "(input x p_in + cached x p_cached + output x p_out) (1 + tax)",
    "on_demand": "(n price 730 h + storage + egress beyond the free part + extra)(1 + tax) + staff, n for the peak",
    "on_demand_hours": "(instance-hours x price + storage + egress + extra)(1 + tax) + staff",
    "reserved": "(n price (1 - discount) 730 h + storage + egress + extra)(1 + tax) + staff, n for the peak",
    "spot": "as hours needed, at spot price / (1 - interruptions per hour x hours lost)",
    "own": "depreciation or annuity + servers (idle + u (max - idle)) PUE 730 h price + upkeep + people",
    "hybrid": "min over k of own(k servers) + rest(max(0, need - k))",
}


def lines(inputs: TcoInputs, made: Case, priced: Sequence[Priced]) -> Iterator[Line]:
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
            value=fine(blended(price.input, price.output, inputs.input_tokens, inputs.output_tokens)),
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
        value=fine(each),
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
