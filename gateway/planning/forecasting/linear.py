"""Daily spend as a line with a step for each weekday, by least squares, with intervals for days and for sums of days."""

import math
from collections.abc import Sequence
from operator import mul
from typing import Protocol

WEEK = 7
_LONGEST_LAG = 100
_MOST_CORRELATED = 0.95
"""Beyond it days tell next to nothing of their mean."""


class Model(Protocol):
    """What tells the days ahead; day 0 is the first one after those it was fitted to. In the unit of the amounts."""

    name: str
    freedom: int
    """Degrees of freedom of its Student t."""

    @property
    def sigma(self) -> float:
        """Standard deviation of a day's error, were the model known exactly."""
        ...

    def means(self, days: int) -> list[float]: ...

    def deviation(self, first: int, end: int) -> float:
        """Standard deviation of what the days from `first` to before `end` will sum to, around the sum of their means."""
        ...


class Design:
    """Of the days that were seen: what a fit needs of them and not of their amounts, worked out once.

    `days` are whole numbers in order, not all of them need be there; a day's weekday is its number modulo 7. `end` is
    the first day ahead, by default the one after the last.
    Raises ValueError for fewer days than there are coefficients, or a weekday that was never seen.
    """

    def __init__(self, days: Sequence[int], *, is_weekly: bool, end: int | None = None) -> None:
        self.is_weekly = is_weekly
        self.days = days
        self.end = days[-1] + 1 if end is None else end
        self._centre = (days[0] + days[-1]) / 2
        self.rows = [self.row(day) for day in days]
        count = len(self.rows[0])
        if len(days) <= count:
            raise ValueError(f"{len(days)} days are too few for {count} coefficients")
        columns = list(zip(*self.rows, strict=True))
        self.inverse = _inverse([[dot(a, b) for b in columns] for a in columns])
        self._columns = columns

    def row(self, day: int) -> list[float]:
        """1, the day, and whether it is each weekday but the first."""
        steps = [float(day % WEEK == weekday) for weekday in range(1, WEEK)] if self.is_weekly else []
        return [1.0, day - self._centre, *steps]

    def sum_of_rows(self, first: int, end: int) -> list[float]:
        """Of the days from `first` to before `end`."""
        count = end - first
        steps = [
            float((end - weekday + WEEK - 1) // WEEK - (first - weekday + WEEK - 1) // WEEK)
            for weekday in range(1, WEEK)
        ]
        return [count, count * ((first + end - 1) / 2 - self._centre), *(steps if self.is_weekly else [])]

    def fit(self, amounts: Sequence[float]) -> "Linear":
        moments = [dot(column, amounts) for column in self._columns]
        return Linear(self, [dot(row, moments) for row in self.inverse], amounts)


class Linear:
    """y = a + b t + a step for the weekday, with errors of one size on all days.

    A sum of h days with rows X_f varies by s^2 (h + 1'X_f (X'X)^-1 X_f'1), a day by the same with h = 1 (Draper and
    Smith, Applied Regression Analysis, ch. 3 and 8): so its band is narrower than the sum of the days' bounds. Where
    each error follows the one of the day before with the correlation r, h grows by 2 sum_k (h - k) r^k, and the second
    term by (1 + r) / (1 - r).
    """

    def __init__(self, design: Design, coefficients: Sequence[float], amounts: Sequence[float]) -> None:
        self.name = "trend and weekdays" if design.is_weekly else "trend"
        self.freedom = len(amounts) - len(coefficients)
        self.slope = coefficients[1]
        self.residuals = [
            amount - dot(row, coefficients) for row, amount in zip(design.rows, amounts, strict=True)
        ]
        self.sigma = math.sqrt(dot(self.residuals, self.residuals) / self.freedom)
        self.correlation = _correlation(design.days, self.residuals)
        self._design = design
        self._coefficients = coefficients

    def means(self, days: int) -> list[float]:
        end = self._design.end
        return [dot(self._design.row(day), self._coefficients) for day in range(end, end + days)]

    def deviation(self, first: int, end: int) -> float:
        summed = self._design.sum_of_rows(self._design.end + first, self._design.end + end)
        spread = [dot(row, summed) for row in self._design.inverse]
        count, r = end - first, self.correlation
        own = (
            count + 2 * sum((count - lag) * r**lag for lag in range(1, min(count, _LONGEST_LAG)))
            if r
            else count
        )
        return self.sigma * math.sqrt(own + dot(summed, spread) * (1 + r) / (1 - r))


def _correlation(days: Sequence[int], residuals: Sequence[float]) -> float:
    """Of a day's residual with that of the day before; 0 where chance alone would do as much once in forty times."""
    squares = dot(residuals, residuals)
    pairs = sum(
        a * b
        for a, b, day, next_ in zip(residuals, residuals[1:], days, days[1:], strict=False)
        if next_ == day + 1
    )
    found = pairs / squares if squares else 0.0
    return min(found, _MOST_CORRELATED) if found > 2 / math.sqrt(len(days)) else 0.0


def dot(a: Sequence[float], b: Sequence[float]) -> float:
    found: float = sum(map(mul, a, b))
    return found


def _inverse(matrix: list[list[float]]) -> list[list[float]]:
    """By Gauss-Jordan elimination with pivots; raises ValueError for a singular one."""
    size = len(matrix)
    rows = [[*row, *(float(at == one) for one in range(size))] for at, row in enumerate(matrix)]
    for at in range(size):
        pivot = max(range(at, size), key=lambda row: abs(rows[row][at]))
        rows[at], rows[pivot] = rows[pivot], rows[at]
        head = rows[at][at]
        if abs(head) < 1e-9:
            raise ValueError("some weekday was never seen")
        rows[at] = [value / head for value in rows[at]]
        for other in range(size):
            if other != at and (factor := rows[other][at]):
                rows[other] = [a - factor * b for a, b in zip(rows[other], rows[at], strict=True)]
    return [row[size:] for row in rows]
