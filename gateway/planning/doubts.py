"""What a history says against a forecast from it: silence, unusual days, days that follow each other, a growing spread."""

import math
import statistics
from collections.abc import Sequence
from datetime import date

from gateway.planning.daily import DAY, Daily
from gateway.planning.linear import WEEK, Linear
from gateway.planning.seasonal import History

_UNUSUAL = 4.0
"""Robust standard deviations."""
_LEAST_DAYS = 14
_LEAST_SHARE = 0.25
"""Of a usual day: what is less matters to nobody."""
_WEEKS = 2
_WIDER = 2.0
_NAMED = 4
_LEAST_THIRD = 7


def doubts(daily: Daily, fitted: Linear, *, is_trend: bool) -> list[str]:
    """`fitted` is the line through the days that were not left out, `is_trend` whether the forecast rests on it."""
    return [
        text
        for text in (
            _silence(daily),
            _unusual(daily),
            _following(fitted) if is_trend else "",
            _wider(fitted.residuals),
        )
        if text
    ]


def _silence(daily: Daily) -> str:
    silent = daily.silent
    if not silent:
        return ""
    counted = "1 day" if len(silent) == 1 else f"{len(silent)} days"
    told = f"{counted} without any spend ({_named(silent)}) count as 0. If the service was down, leave them out (leave_out)."
    if len(silent) > 1 and silent[-2:] == [daily.end - 2 * DAY, daily.end - DAY]:
        told += " The last days are among them: if it has stopped for good, this forecast is too high."
    return told


def _unusual(daily: Daily) -> str:
    """Against the median of the same weekday in the weeks around, and by the median of such differences: a fit or a
    standard deviation would follow the very day that is looked for."""
    known = [
        (day, amount) for day, amount in zip(daily.days, daily.history, strict=True) if amount is not None
    ]
    if len(known) < _LEAST_DAYS:
        return ""
    history = daily.history
    differences = {day: amount - _around(history, (day - daily.first).days) for day, amount in known}
    usual = 1.4826 * statistics.median(abs(difference) for difference in differences.values())
    least = max(_UNUSUAL * usual, _LEAST_SHARE * statistics.median(amount for _, amount in known))
    silent = set(daily.silent)
    far = [day for day, difference in differences.items() if abs(difference) > least and day not in silent]
    if not far:
        return ""
    return (
        f"Unlike the others: {_named(far)}. They pull the forecast and widen its band;"
        " if they will not come again, leave them out (leave_out)."
    )


def _around(history: History, at: int) -> float:
    near = [
        history[other] for other in range(at % WEEK, len(history), WEEK) if abs(other - at) <= _WEEKS * WEEK
    ]
    return statistics.median(amount for amount in near if amount is not None)


def _following(fitted: Linear) -> str:
    if not fitted.correlation:
        return ""
    return (
        f"A day above the trend is followed by another (correlation {fitted.correlation:.2f}):"
        " the level moves, and a trend tells less of the month's end than of tomorrow."
    )


def _wider(residuals: Sequence[float]) -> str:
    """The last third against the first."""
    third = len(residuals) // 3
    if third < _LEAST_THIRD:
        return ""
    first, last = (math.hypot(*part) for part in (residuals[:third], residuals[-third:]))
    if last <= _WIDER * first or not first:
        return ""
    return (
        f"Spend varies {last / first:.1f} times as much as at the start, which a band of one width for all days"
        " does not follow: expect more than it says, or begin later."
    )


def _named(days: Sequence[date]) -> str:
    more = f" and {len(days) - _NAMED} more" if len(days) > _NAMED else ""
    return ", ".join(day.isoformat() for day in days[:_NAMED]) + more
