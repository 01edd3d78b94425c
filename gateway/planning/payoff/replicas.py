"""How many own servers are worth having when what they cannot serve is paid by the token or the hour."""

import math
from collections.abc import Sequence

import msgspec

from gateway.planning.payoff.measured import by_hour, dollars, to_month
from gateway.planning.traffic import Hour, Traffic
from gateway.planning.units import Hours, Money, TokensPerSecond

_HOUR_S = 3600
_MOST_SHOWN = 6


class Busy(msgspec.Struct, frozen=True, kw_only=True):
    """Hours of a month that are alike."""

    hours: Hours
    need: float
    """Servers that would be busy all the time; a fraction for what is billed by the token, whole for what is rented."""
    spend: Money
    """On all of it, in these hours of the month together."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One more server."""

    number: int
    busy: Hours
    """Of a month, counted as full hours."""
    avoided: Money
    """What would otherwise be paid for what it serves."""
    pays: bool


def step(busy: Sequence[Busy], number: int, fixed: Money) -> Step:
    """Server k serves clip(need - (k - 1), 0, 1) of itself in each hour, and avoids that share of the hour's spend.

    It pays if it avoids more than its `fixed` cost of a month: where spend is c an hour and server, if it is busy for
    more than fixed / c hours.
    """
    worked = avoided = 0.0
    for each in busy:
        share = min(1.0, max(0.0, each.need - number + 1))
        if share:
            worked += each.hours.value * share
            avoided += float(each.spend.amount) * share / each.need
    saved = Money.of(avoided, fixed.currency)
    return Step(number=number, busy=Hours(worked), avoided=saved, pays=saved > fixed)


def paying(busy: Sequence[Busy], fixed: Money) -> int:
    """How many servers pay. Each avoids no more than the one before it, so that the last that pays is found by halving."""
    low, high = 0, math.ceil(max((each.need for each in busy), default=0))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if step(busy, middle, fixed).pays else (low, middle - 1)
    return low


def shown(busy: Sequence[Busy], fixed: Money) -> list[Step]:
    """The first servers, the last that pays and the first that does not."""
    own = paying(busy, fixed)
    return [
        step(busy, number, fixed)
        for number in sorted({*range(1, min(own, _MOST_SHOWN) + 1), max(own, 1), own + 1})
    ]


def worth(hours: Sequence[Hour], variable: Money) -> dict[int, float]:
    """Nano-dollars that are saved in each hour if all of it is served by own machines, by its beginning.

    What was paid, less the own cost per million tokens: where that is more, nothing.
    """
    nano_per_token = float(variable.amount) * 1000
    saved = by_hour(hours, lambda hour: hour.cost - nano_per_token * _tokens(hour))
    return {start_ms: max(0.0, nano) for start_ms, nano in saved.items()}


def needs(hours: Sequence[Hour], server: TokensPerSecond) -> dict[int, float]:
    """Servers that each hour would keep busy, by its beginning. All tokens count, prompts' too."""
    tokens = by_hour(hours, _tokens)
    return {start_ms: TokensPerSecond(count / _HOUR_S) / server for start_ms, count in tokens.items()}


def busy_hours(
    traffic: Traffic, hours: Sequence[Hour], server: TokensPerSecond, variable: Money
) -> list[Busy]:
    """Of a month at the measured rate; hours in which nothing was asked are left out."""
    scale = to_month(traffic)
    saved = worth(hours, variable)
    return [
        Busy(hours=Hours(scale), need=need, spend=dollars(saved[start_ms]) * scale)
        for start_ms, need in needs(hours, server).items()
        if need > 0
    ]


def avoided_by(own: int, hours: Sequence[Hour], server: TokensPerSecond, variable: Money) -> dict[int, float]:
    """Nano-dollars of each hour that so many servers would have saved."""
    saved = worth(hours, variable)
    return {
        start_ms: saved[start_ms] * (min(1.0, own / need) if need else 0.0)
        for start_ms, need in needs(hours, server).items()
    }


def _tokens(hour: Hour) -> int:
    return hour.input_tokens + hour.output_tokens
