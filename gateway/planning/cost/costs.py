"""The money of serving models: what is rented, what is owned, per million tokens, over years. Formulas only.

Prices are per hour, per GB (10^9 bytes) and per million tokens; shares, taxes and rates are fractions; a month has 730
hours. All amounts of one call are of one currency: TypeError otherwise. Impossible numbers raise ValueError.
"""

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec

from gateway.planning.units import (
    DAYS_PER_MONTH,
    HOURS_PER_MONTH,
    MONTHS_PER_YEAR,
    Bytes,
    Hours,
    Kilowatts,
    Money,
    Seconds,
    Tokens,
    TokensPerSecond,
    total,
)

MONTH = Hours(HOURS_PER_MONTH)
NOTHING = Bytes(0)


class _Parts(msgspec.Struct, frozen=True, kw_only=True):
    """Every field is an amount, and the total is their sum."""

    def __post_init__(self) -> None:
        _ = self.total  # refuses parts of several currencies here, not where somebody adds them up

    @property
    def parts(self) -> Mapping[str, Money]:
        return {name: getattr(self, name) for name in self.__struct_fields__}

    @property
    def total(self) -> Money:
        return total(list(self.parts.values()))


class CloudMonth(_Parts, frozen=True, kw_only=True):
    compute: Money
    storage: Money
    egress: Money
    extra: Money
    tax: Money
    staff: Money


class OwnMonth(_Parts, frozen=True, kw_only=True):
    depreciation: Money
    """Or the annuity, where capital has a cost."""
    power: Money
    maintenance: Money
    software: Money
    staff: Money
    bandwidth: Money
    colo: Money

    @property
    def running(self) -> Money:
        """What is paid each month once the hardware is bought."""
        return self.total - self.depreciation


def cloud_month(
    *,
    instances: float,
    price_h: Money,
    hours: Hours = MONTH,
    discount: float = 0.0,
    is_committed: bool = False,
    storage: Bytes = NOTHING,
    storage_price: Money | None = None,
    egress: Bytes = NOTHING,
    free_egress: Bytes = NOTHING,
    egress_price: Money | None = None,
    extra: Money | None = None,
    tax: float = 0.0,
    staff: Money | None = None,
) -> CloudMonth:
    """A month of rented machines: (n price (1 - discount) hours + storage + egress beyond the free part + extra)(1 + tax)
    + staff.

    `hours` is how long each instance is on in a month; what is committed is paid for all 730. `storage_price` is per GB
    and month, `egress_price` per GB. Staff is not taxed.
    """
    none = Money(0, price_h.currency)
    compute = price_h * instances * _share_left(discount) * (MONTH if is_committed else hours).value
    kept = (storage_price or none) * storage.gb
    sent = (egress_price or none) * max(0.0, (egress - free_egress).gb)
    extra = extra or none
    return CloudMonth(
        compute=compute,
        storage=kept,
        egress=sent,
        extra=extra,
        tax=(compute + kept + sent + extra) * tax,
        staff=staff or none,
    )


def spot_price(
    on_demand: Money, *, discount: float, interrupts_per_h: float = 0.01, lost_min: float = 10.0
) -> Money:
    """Per useful hour: on_demand (1 - discount) / (1 - interruptions per hour x hours lost by each)."""
    useful = 1 - interrupts_per_h * lost_min / 60
    if useful <= 0:
        raise ValueError("interruptions cost more time than there is")
    return on_demand * _share_left(discount) / useful


def server_price(*, gpus: int, gpu: Money, cpu: Money, memory: Money, disk: Money, network: Money) -> Money:
    """Of one server, `gpu` being the price of each card."""
    return gpu * gpus + cpu + memory + disk + network


def depreciation(capex: Money, *, life_years: float, residual: float = 0.0, wacc: float = 0.0) -> Money:
    """Per month: capex (1 - residual) / months; with a yearly cost of capital the annuity that repays both.

    (capex - residual capex / (1+i)^n) i / (1 - (1+i)^-n) with i = wacc / 12: the textbook formula of a loan with a
    balloon, discounted.
    """
    if life_years <= 0:
        raise ValueError("hardware that lasts no time has no monthly price")
    months = life_years * MONTHS_PER_YEAR
    rate = _decimal(wacc) / MONTHS_PER_YEAR
    grown = (1 + rate) ** _decimal(months)
    if grown == 1:
        return capex * _share_left(residual) / months
    return (capex - capex * residual / grown) * (rate / (1 - 1 / grown))


def power(
    *, servers: float, most: Kilowatts, idle: Kilowatts, utilisation: float, pue: float, price_kwh: Money
) -> Money:
    """Per month: servers (idle + utilisation (most - idle)) PUE 730 price."""
    drawn = (idle + (most - idle) * utilisation) * servers
    return price_kwh * pue * drawn.over(MONTH).value


def own_month(
    *,
    servers: float,
    server: Money,
    life_years: float = 5.0,
    residual: float = 0.0,
    wacc: float = 0.0,
    most: Kilowatts,
    idle: Kilowatts | None = None,
    utilisation: float = 1.0,
    pue: float = 1.58,
    price_kwh: Money,
    maintenance: float = 0.15,
    software: Money | None = None,
    staff: Money | None = None,
    bandwidth: Money | None = None,
    colo: Money | None = None,
) -> OwnMonth:
    """A month of own servers. `maintenance` is a share of the purchase per year, `software` an amount per server and
    year; staff, bandwidth and colo are of all servers and a month. Idle, a server draws 0.3 of its most unless told.
    """
    none = Money(0, server.currency)
    capex = server * servers
    return OwnMonth(
        depreciation=depreciation(capex, life_years=life_years, residual=residual, wacc=wacc),
        power=power(
            servers=servers,
            most=most,
            idle=most * 0.3 if idle is None else idle,
            utilisation=utilisation,
            pue=pue,
            price_kwh=price_kwh,
        ),
        maintenance=capex * maintenance / MONTHS_PER_YEAR,
        software=(software or none) * servers / MONTHS_PER_YEAR,
        staff=staff or none,
        bandwidth=bandwidth or none,
        colo=colo or none,
    )


def per_million(month: Money, speed: TokensPerSecond, utilisation: float) -> Money:
    """Per million tokens, of hardware that serves `utilisation` of what it could all month."""
    return per_million_of(month, speed.over(Seconds(HOURS_PER_MONTH * 3600)) * utilisation)


def per_million_of(cost: Money, served: Tokens) -> Money:
    """Per million tokens, of those that were served."""
    if served.value <= 0:
        raise ValueError("without a token served there is no price per token")
    return cost / served.millions


def tokens_cost(
    input_price: Money,
    output_price: Money,
    input_tokens: Tokens,
    output_tokens: Tokens,
    *,
    cached_price: Money | None = None,
    cached_tokens: Tokens | None = None,
) -> Money:
    """What an API bills; prices are per million, and `cached_tokens` are part of `input_tokens`."""
    cached = cached_tokens or Tokens(0)
    fresh = input_tokens - cached
    reused = (input_price if cached_price is None else cached_price) * cached.millions
    return input_price * fresh.millions + reused + output_price * output_tokens.millions


def blended(input_price: Money, output_price: Money, input_tokens: float, output_tokens: float) -> Money:
    """Per million tokens of a mix: (p_in t_in + p_out t_out) / (t_in + t_out)."""
    both = input_tokens + output_tokens
    if both <= 0:
        raise ValueError("a mix of no tokens has no price")
    return (input_price * input_tokens + output_price * output_tokens) / both


def egress(
    requests: float, output_tokens: float, *, bytes_per_token: float = 5.0, framing: Bytes = NOTHING
) -> Bytes:
    """What leaves: requests x (output tokens x bytes per token + framing of each answer). Text has about 5 B per token;
    a stream that sends every token as its own event about 250 B.
    """
    return (Bytes(output_tokens * bytes_per_token) + framing) * requests


def inference_cost(price_h: Money, busy: Seconds, *, utilisation: float = 1.0, batch: float = 1.0) -> Money:
    """Of one inference that keeps a machine busy for so long, beside `batch - 1` others, on one that is paid while it
    idles too.
    """
    return price_h * busy.hours.value / utilisation / batch


def inferences_month(
    price_h: Money, busy: Seconds, per_day: float, *, utilisation: float = 1.0, batch: float = 1.0
) -> Money:
    return inference_cost(price_h, busy, utilisation=utilisation, batch=batch) * per_day * DAYS_PER_MONTH


def npv(flows: Sequence[Money], rate: float, *, per_year: int = 1) -> Money:
    """Today's worth of amounts, the first of which falls due now and each next a period later.

    `rate` is per year and divided, not rooted, by `per_year`, as loans and the annuity above do: 12 for months.
    """
    step = 1 + _decimal(rate) / per_year
    return total([flow / step**at for at, flow in enumerate(flows)])


def breakeven_tokens(fixed_month: Money, api: Money, variable: Money | None = None) -> Tokens:
    """Tokens per month from which a fixed cost beats a price per million; infinitely many where the price is no higher
    than the own variable cost per million. Whether the hardware can serve so many is for the caller to see.
    """
    saved = api - (variable or Money(0, api.currency))
    return Tokens(fixed_month / saved * 1e6 if saved.amount > 0 else math.inf)


def requests_per_second(month: Tokens, tokens_per_request: float) -> float:
    """An even load of so many tokens a month."""
    return month.value / tokens_per_request / (HOURS_PER_MONTH * 3600)


def _share_left(taken: float) -> Decimal:
    return 1 - _decimal(taken)


def _decimal(number: float) -> Decimal:
    return Decimal(repr(float(number)))
