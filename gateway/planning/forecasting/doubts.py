"""What a history says against a forecast from it: silence, unusual days, days that follow each other, a growing spread."""

import itertools
import math
import statistics
from collections.abc import Sequence
from datetime import date

from gateway.planning.forecasting.daily import DAY, Daily
from gateway.planning.forecasting.linear import WEEK, Linear
from gateway.planning.forecasting.seasonal import History

_UNUSUAL = 4.0
"""Robust standard deviations."""
_LEAST_DAYS = 14
_LEAST_RUN = 3
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
    if len(silent) > len(daily.days) / 2:
        return (
            f"{counted} of {len(daily.days)} are without any spend: it comes now and then, and a band around a usual day"
            " tells little of that."
        )
    told = f"{counted} without any spend ({_named(silent)}) count as 0. If the service was down, leave them out (leave_out)."
    if len(silent) > 1 and silent[-2:] == [daily.end - 2 * DAY, daily.end - DAY]:
        told += " The last days are among them: if it has stopped for good, this forecast is too high."
    return told


def _unusual(daily: Daily) -> str:
    far = _far(daily)
    newest = [daily.end - back * DAY for back in range(1, len(far) + 1)]
    run = list(itertools.takewhile(lambda day: day in far and far[day] * far[newest[0]] > 0, newest))
    told = []
    if len(run) >= _LEAST_RUN:
        way, wrong = ("above", "low") if far[run[0]] > 0 else ("below", "high")
        told.append(
            f"The last {len(run)} days lie far {way} what came before: if that stays, this forecast is too {wrong}."
        )
        far = {day: share for day, share in far.items() if day not in run}
    if far:
        told.append(
            f"Unlike the others: {_named(list(far))}. They pull the forecast and widen its band;"
            " if they will not come again, leave them out (leave_out)."
        )
    return " ".join(told)


def _far(daily: Daily) -> dict[date, float]:
    """Days with spend unlike the median of their weekday in the weeks around, and by how much, in shares of that.

    Their size is told by the median too: a fit or a standard deviation would follow the very day that is looked for.
    """
    known = [
        (day, amount) for day, amount in zip(daily.days, daily.history, strict=True) if amount is not None
    ]
    if len(known) < _LEAST_DAYS:
        return {}
    least = _LEAST_SHARE * statistics.median(amount for _, amount in known)
    shares = {}
    for day, amount in known:
        around = _around(daily.history, (day - daily.first).days)
        shares[day] = (amount - around) / (max(around, least) or 1.0)
    usual = 1.4826 * statistics.median(abs(share) for share in shares.values())
    silent = set(daily.silent)
    return {
        day: share
        for day, share in shares.items()
        if abs(share) > max(_UNUSUAL * usual, _LEAST_SHARE) and day not in silent
    }


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
