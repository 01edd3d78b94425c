"""Days and months ahead with their bands, and when a budget will be reached."""

import math
from collections.abc import Sequence
from datetime import date

import msgspec

from gateway.planning.forecasting.daily import DAY, Daily
from gateway.planning.forecasting.linear import Model
from gateway.planning.forecasting.student import below, half_width


class Band(msgspec.Struct, frozen=True):
    """Between `low` and `high` lies what is told with the chosen probability."""

    mean: float
    low: float
    high: float


class Day(msgspec.Struct, frozen=True, kw_only=True):
    day: date
    spend: Band
    month_so_far: Band
    """All of its month up to the end of the day."""
    breach: float | None
    """Probability that the budget of its month has been reached by then; None without a budget."""


class Month(msgspec.Struct, frozen=True, kw_only=True):
    first: date
    total: Band
    breach: float | None


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """Days of this month on which its budget is reached; None: not in this month."""

    earliest: date | None
    """By the upper bound of what the month has come to."""
    middle: date | None
    latest: date | None


class Outlook:
    """From the first day that is not over to the end of its month, and for `months` more.

    The band of a sum comes from the variance of that sum. Nothing is told below 0, or below what is already spent; the
    sum of a month never falls, so neither do its bounds.
    """

    def __init__(
        self,
        model: Model,
        daily: Daily,
        *,
        coverage: float = 0.8,
        months: int = 0,
        budget: float | None = None,
    ) -> None:
        self._model = model
        self._width = half_width(coverage, model.freedom)
        self._budget = budget
        ahead = (month_after(daily.end, months + 1) - daily.end).days
        told = model.means(ahead)
        self.is_clipped = min(told) < -model.sigma
        means = [max(0.0, mean) for mean in told]
        means[0] = max(means[0], daily.so_far)
        self._means = means
        self._so_far = daily.so_far
        days: list[Day] = []
        self.months: list[Month] = []
        at, base = 0, daily.in_month
        while at < ahead:
            first = daily.end + at * DAY
            end = at + (month_after(first, 1) - first).days
            days += self._month(first, at, end, base)
            self.months.append(
                Month(first=first.replace(day=1), total=days[-1].month_so_far, breach=days[-1].breach)
            )
            at, base = end, 0.0
        self.days: Sequence[Day] = days
        self.is_reached = budget is not None and daily.in_month + daily.so_far >= budget

    @property
    def this_month(self) -> Sequence[Day]:
        end = month_after(self.days[0].day, 1)
        return [each for each in self.days if each.day < end]

    def reach(self) -> Reach:
        """Of this month's budget; without one it is never reached."""
        budget = math.inf if self._budget is None else self._budget
        return Reach(
            earliest=next((each.day for each in self.this_month if each.month_so_far.high >= budget), None),
            middle=next((each.day for each in self.this_month if each.month_so_far.mean >= budget), None),
            latest=next((each.day for each in self.this_month if each.month_so_far.low >= budget), None),
        )

    def _month(self, first: date, start: int, end: int, base: float) -> list[Day]:
        found: list[Day] = []
        known = base + (self._so_far if start == 0 else 0.0)
        mean, low, high, breach = base, known, 0.0, 0.0
        for at in range(start, end):
            mean += self._means[at]
            deviation = self._model.deviation(start, at + 1)
            low = max(low, mean - self._width * deviation)
            high = max(high, mean + self._width * deviation)
            breach = max(breach, self._breach(known, mean, deviation))
            found.append(
                Day(
                    day=first + (at - start) * DAY,
                    spend=self._spend(at),
                    month_so_far=Band(mean, low, high),
                    breach=None if self._budget is None else breach,
                )
            )
        return found

    def _spend(self, at: int) -> Band:
        mean, width = self._means[at], self._width * self._model.deviation(at, at + 1)
        return Band(mean, max(self._so_far if at == 0 else 0.0, mean - width), mean + width)

    def _breach(self, known: float, mean: float, deviation: float) -> float:
        if self._budget is None:
            return 0.0
        if known >= self._budget:
            return 1.0
        if deviation <= 1e-9 * abs(mean):
            return float(mean >= self._budget)
        return below((mean - self._budget) / deviation, self._model.freedom)


def month_after(day: date, months: int) -> date:
    """The first day of the month that is so many after this one's."""
    counted = day.year * 12 + day.month - 1 + months
    return date(counted // 12, counted % 12 + 1, 1)
