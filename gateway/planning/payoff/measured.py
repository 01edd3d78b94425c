"""What a month would be at the rate that the ledger measured, and how far that can be trusted."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

import msgspec

from gateway.planning.contract import Assumption, Cell, PlanError, asked
from gateway.planning.forecasting.student import half_width
from gateway.planning.traffic import Hour, Traffic
from gateway.planning.units import DAYS_PER_MONTH, HOURS_PER_MONTH, Money

COVERAGE = 0.8
FEWEST_DAYS = 7
"""With fewer whole days there is no band: they say nothing of a week."""
HOUR_MS = 3_600_000
PRICE = Decimal("0.000001")
"""To which prices per million tokens are told."""
_DAY_MS = 24 * HOUR_MS
_WEEK = 7
_DAYS_FOR_WEEKDAYS = 21
_NANO = 1_000_000_000


FromLedger = Annotated[bool, asked("start from what the gateway's ledger measured")]
Tenant = Annotated[str | None, asked("of the ledger's traffic, one tenant's alone")]
From = Annotated[str | None, asked("of the ledger's traffic, from this day on; none: 30 days ago")]
To = Annotated[str | None, asked("of the ledger's traffic, up to this day and without it; none: now")]


class Month(msgspec.Struct, frozen=True, kw_only=True):
    """An amount, and between which it lies in four months of five as long as nothing but chance changes."""

    amount: Money
    low: Money | None = None
    high: Money | None = None
    """None: there were too few days to tell."""


def dollars(nano: float) -> Money:
    return Money(Decimal(nano) / _NANO)


def required(traffic: Traffic | None) -> Traffic:
    """Raises PlanError if there is none, or nothing in it."""
    if traffic is None:
        raise PlanError("The ledger was not read.", param="from_ledger")
    if not traffic.hours and not traffic.cached:
        whose = "the site" if traffic.tenant is None else f"the tenant {traffic.tenant[:64]!r}"
        raise PlanError(f"The ledger has nothing of {whose} {told(traffic)}.", param="from_ledger")
    return traffic


def hours_in(traffic: Traffic) -> float:
    return (traffic.to_ms - traffic.from_ms) / HOUR_MS


def to_month(traffic: Traffic) -> float:
    """By which sums of the period are multiplied to be those of a month."""
    return HOURS_PER_MONTH / hours_in(traffic)


def by_hour(hours: Iterable[Hour], value: Callable[[Hour], float]) -> dict[int, float]:
    """Sums over models, by the hour's beginning."""
    sums: dict[int, float] = {}
    for hour in hours:
        sums[hour.start_ms] = sums.get(hour.start_ms, 0) + value(hour)
    return sums


def month(traffic: Traffic, nano: Mapping[int, float], *, may_be_negative: bool = False) -> Month:
    """Of nano-dollars by the hour's beginning.

    The sum of h days to come varies by s^2 (h + h^2 / n) around n days' mean times h, by Student's t: the spread of
    days adds up as a root, so that the band is narrower than the sum of the days' bounds. s is the spread around each
    weekday's mean once there are three weeks, and days are taken as independent otherwise. Days are of 24 hours,
    counted back from the period's end.
    """
    amount = sum(nano.values()) * to_month(traffic)
    half = _half_width(_days(traffic, nano))
    if half is None:
        return Month(amount=dollars(amount))
    low = amount - half if may_be_negative else max(0.0, amount - half)
    return Month(amount=dollars(amount), low=dollars(low), high=dollars(amount + half))


def told(traffic: Traffic) -> str:
    return f"from {_moment(traffic.from_ms)} to {_moment(traffic.to_ms)} UTC"


def assumptions(traffic: Traffic) -> list[Assumption]:
    """Which traffic an answer rests on."""
    found: dict[str, tuple[Cell, str]] = {
        "period from": (_moment(traffic.from_ms), "UTC"),
        "period to": (_moment(traffic.to_ms), "UTC"),
        "traffic of": (traffic.tenant or "the whole site", ""),
        "requests": (sum(hour.requests for hour in traffic.hours), ""),
        "replies from the cache": (sum(hour.requests for hour in traffic.cached), ""),
    }
    return [
        Assumption(name=name, value=value, unit=unit, origin="ledger")
        for name, (value, unit) in found.items()
    ]


def caveats(traffic: Traffic) -> list[str]:
    """What the period does not tell."""
    days = int((traffic.to_ms - traffic.from_ms) // _DAY_MS)
    if days < FEWEST_DAYS:
        told_hours = (
            f"Measured over {hours_in(traffic):.0f} hours: a month at that rate is a guess, and has no band."
        )
        return [f"{told_hours} It takes {FEWEST_DAYS} whole days to tell."]
    return []


def _days(traffic: Traffic, nano: Mapping[int, float]) -> list[float]:
    """Sums of whole days, the latest first."""
    days = [0.0] * int((traffic.to_ms - traffic.from_ms) // _DAY_MS)
    for start_ms, value in nano.items():
        # An hour that the period cuts counts with the end that it has in it.
        ago = int(max(0, traffic.to_ms - start_ms - HOUR_MS) // _DAY_MS)
        if ago < len(days):
            days[ago] += value
    return days


def _half_width(days: Sequence[float]) -> float | None:
    count = len(days)
    if count < FEWEST_DAYS:
        return None
    step, freedom = (_WEEK, count - _WEEK) if count >= _DAYS_FOR_WEEKDAYS else (1, count - 1)
    groups = [days[start::step] for start in range(step)]
    squares = sum((day - sum(group) / len(group)) ** 2 for group in groups for day in group)
    deviation = math.sqrt(squares / freedom * (DAYS_PER_MONTH + DAYS_PER_MONTH**2 / count))
    return half_width(COVERAGE, freedom) * deviation


def _moment(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
