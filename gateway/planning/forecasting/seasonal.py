"""Daily spend from weeks that repeat: the last one again, or damped Holt-Winters; and which model a history has earned."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from gateway.planning.forecasting.linear import WEEK, Design, Linear, Model

WARM_UP = 2 * WEEK
"""Days that set the start of level, slope and season; errors count after them."""
HORIZON = 14
RECENT = 56
"""Days whose errors tell how far the next ones will lie: spend that grew was once more certain."""
MOST_ORIGINS = 8
"""A week apart, back to the first 21 days; what follows the last one ends with the history."""
LEAST_TO_CHOOSE = 56
LEAST_WEEKLY = 21

State = tuple[float, float, list[float]]
"""Level, slope, and what each weekday adds, beginning with that of the next day."""

History = Sequence[float | None]
"""One amount a day, in order; None for a day that says nothing of the others. A day's weekday is its place modulo 7."""


class Weights(NamedTuple):
    """How much of a day's error goes into the level, the slope and its weekday, and what a day leaves of the slope."""

    level: float
    slope: float
    season: float
    damping: float


LAST_WEEK = Weights(0.0, 0.0, 1.0, 0.0)
"""Each day is the same day of the week before: seasonal naive."""


class Smoothing:
    """Additive exponential smoothing with a damped slope and a weekly season, ETS(A,Ad,A): Hyndman et al., Forecasting
    with Exponential Smoothing (2008), ch. 6.

    An error of one day lives on in the j-th day after it with the share c_j, so that h days sum to something with the
    variance s^2 sum (1 + c_1 + ... + c_j)^2. s comes from the errors of forecasts made at each day of the history for up
    to 14 days ahead, each over its own spread.
    """

    def __init__(self, name: str, weights: Weights, history: History) -> None:
        self.name = name
        self._weights = weights
        self._history = history
        self._shares = [1.0]
        self._lasting = [1.0]
        self._all_states = list(self._states())
        self._end = self._all_states[-1]
        known = sum(amount is not None for amount in history[WARM_UP:])
        self.freedom = max(1, known - (len(weights) if weights.level else 0))

    def means(self, days: int) -> list[float]:
        return _means(*self._end, self._weights.damping, days)

    def deviation(self, first: int, end: int) -> float:
        lasting = self._lasting_to(end)
        inside = sum(lasting[day] ** 2 for day in range(end - first))
        before = sum((lasting[day] - lasting[day - (end - first)]) ** 2 for day in range(end - first, end))
        return self.sigma * math.sqrt(inside + before)

    @cached_property
    def sigma(self) -> float:
        """Of a day's error one day ahead."""
        spreads = [self._spread(day) for day in range(HORIZON)]
        squares, count = 0.0, 0
        # Every other day: their errors overlap anyway.
        for at in range(max(WARM_UP, len(self._history) - RECENT), len(self._history), 2):
            state, ahead = self._all_states[at], self._history[at : at + HORIZON]
            told = _means(*state, self._weights.damping, len(ahead))
            for mean, actual, spread in zip(told, ahead, spreads, strict=False):
                if actual is not None:
                    squares += (actual - mean) ** 2 / spread
                    count += 1
        return math.sqrt(squares / count)

    def _states(self) -> Iterator[State]:
        """Before each day of the history, and after the last."""
        weights = self._weights
        level, slope, season = _start(self._history) if weights.level else _first_week(self._history)
        yield level, slope, season
        for amount in self._history:
            level += weights.damping * slope
            error = 0.0 if amount is None else amount - level - season[0]
            level += weights.level * error
            slope = weights.damping * slope + weights.slope * error
            season = [*season[1:], season[0] + weights.season * error]
            yield level, slope, season

    def _spread(self, day: int) -> float:
        """Variance of the day so far ahead, in that of the day after the history."""
        self._lasting_to(day + 1)
        return sum(share**2 for share in self._shares[: day + 1])

    def _lasting_to(self, days: int) -> list[float]:
        """What an error has added to the sum of its own day and so many days after it."""
        weights = self._weights
        while len(self._lasting) < days:
            day = len(self._lasting)
            damped = sum_of_powers(weights.damping, day)
            share = weights.level + weights.slope * damped + weights.season * (day % WEEK == 0)
            self._shares.append(share)
            self._lasting.append(self._lasting[-1] + share)
        return self._lasting


def sum_of_powers(base: float, count: int) -> float:
    """base + base^2 + ... + base^count."""
    return base * (1 - base**count) / (1 - base)


def _means(level: float, slope: float, season: Sequence[float], damping: float, days: int) -> list[float]:
    told = []
    for day in range(days):
        slope *= damping
        level += slope
        told.append(level + season[day % WEEK])
    return told


def _first_week(history: History) -> State:
    return 0.0, 0.0, _without_gaps(history[:WARM_UP])[:WEEK]


def _start(history: History) -> State:
    """From the first two weeks."""
    first = _without_gaps(history[:WARM_UP])
    mean = sum(first) / WARM_UP
    slope = (sum(first[WEEK:]) - sum(first[:WEEK])) / WEEK**2
    flat = [amount - slope * (day - (WARM_UP - 1) / 2) for day, amount in enumerate(first)]
    season = [(flat[day] + flat[day + WEEK]) / 2 - mean for day in range(WEEK)]
    return mean - slope * (WARM_UP + 1) / 2, slope, season


def _without_gaps(history: History) -> list[float]:
    """A gap counts as the mean of the others."""
    known = [amount for amount in history if amount is not None]
    mean = sum(known) / len(known) if known else 0.0
    return [mean if amount is None else amount for amount in history]


def fitted_weights(history: History) -> Weights:
    """Those with the least squared errors one day ahead, by a pattern search within 0 <= slope <= level <= 1,
    season <= 1 - level and 0.8 <= damping <= 0.98."""
    start = _start(history)

    def errors(at: Sequence[float]) -> float:
        return _squares(history, start, _weights(at))

    return _weights(_lowest(errors, (0.3, 0.1, 0.2, 0.5)))


def _weights(at: Sequence[float]) -> Weights:
    """Of a point in the unit cube."""
    level = 0.001 + 0.998 * at[0]
    return Weights(level, level * at[1], (1 - level) * at[2], 0.8 + 0.18 * at[3])


def _squares(history: History, start: State, weights: Weights) -> float:
    level, slope, season = start[0], start[1], list(start[2])
    alpha, beta, gamma, damping = weights
    squares, weekday = 0.0, 0
    for at, amount in enumerate(history):
        slope *= damping
        level += slope
        if amount is not None:
            error = amount - level - season[weekday]
            level += alpha * error
            slope += beta * error
            season[weekday] += gamma * error
            if at >= WARM_UP:
                squares += error * error
        weekday = weekday + 1 if weekday < WEEK - 1 else 0
    return squares


def _lowest(of: Callable[[Sequence[float]], float], start: Sequence[float]) -> Sequence[float]:
    """Tries a step either way along each axis of the unit cube, and halves the step when none helps."""
    best, least, step = list(start), of(start), 0.25
    while step > 0.02:
        improved = False
        for axis in range(len(best)):
            for way in (step, -step):
                tried = [*best]
                tried[axis] = min(1.0, max(0.0, tried[axis] + way))
                if tried != best and (value := of(tried)) < least:
                    best, least, improved = tried, value, True
                    break
        if not improved:
            step /= 2
    return best


Trial = Sequence[tuple[int, Model]]
"""Days on which the history was cut, each with the model fitted to what came before."""


class Widened:
    """A model whose sums came out farther from what it had told than it said they would, with bands as wide as that."""

    def __init__(self, model: Model, factor: float) -> None:
        self.name = model.name
        self.freedom = model.freedom
        self.factor = factor
        self._model = model

    @property
    def sigma(self) -> float:
        return self._model.sigma

    def means(self, days: int) -> list[float]:
        return self._model.means(days)

    def deviation(self, first: int, end: int) -> float:
        return self.factor * self._model.deviation(first, end)


class Choice(NamedTuple):
    model: Model
    errors: dict[str, float]
    """Mean absolute error of a day, up to 14 days ahead, by model; empty where the history is too short to compare."""


def chosen(history: History) -> Choice:
    """A trend; from 21 days on with weekdays; from 56 on what did best on the last weeks of the history itself.

    Raises ValueError for a history without two days more than a trend needs.
    """
    linear = fit_linear(history)
    if sum(amount is not None for amount in history) < LEAST_TO_CHOOSE:
        return Choice(linear, {})
    # From the whole history: four weights hardly remember its last days, and from its first weeks they are poor.
    weights = fitted_weights(history)
    candidates: dict[str, Callable[[History], Model]] = {
        linear.name: fit_linear,
        "same day last week": lambda past: Smoothing("same day last week", LAST_WEEK, past),
        "damped Holt-Winters": lambda past: Smoothing("damped Holt-Winters", weights, past),
    }
    trials = {
        name: [(origin, fit(history[:origin])) for origin in _origins(history)]
        for name, fit in candidates.items()
    }
    errors = {name: _rolling_error(history, trial) for name, trial in trials.items()}
    best = min(errors, key=lambda name: errors[name])
    factor = _missed(history, trials[best])
    return Choice(Widened(candidates[best](history), factor), errors)


def fit_linear(history: History) -> Linear:
    days = [day for day, amount in enumerate(history) if amount is not None]
    amounts = [amount for amount in history if amount is not None]
    weekdays = [day % WEEK for day in days]
    is_weekly = len(days) >= LEAST_WEEKLY and min(map(weekdays.count, range(WEEK))) > 1
    return Design(days, is_weekly=is_weekly, end=len(history)).fit(amounts)


def _origins(history: History) -> list[int]:
    last = len(history) - HORIZON
    return [day for day in range(last % WEEK, last + 1, WEEK) if day >= LEAST_WEEKLY][-MOST_ORIGINS:]


def _rolling_error(history: History, trial: Trial) -> float:
    errors = []
    for origin, model in trial:
        told = model.means(HORIZON)
        errors += [
            abs(actual - mean)
            for actual, mean in zip(history[origin : origin + HORIZON], told, strict=True)
            if actual is not None
        ]
    return sum(errors) / len(errors)


def _missed(history: History, trial: Trial) -> float:
    """How many times as far as told the sums of 14 days lay, at the origins; 1 where they lay no farther."""
    squares = []
    for origin, model in trial:
        ahead = history[origin : origin + HORIZON]
        if any(amount is None for amount in ahead):
            continue
        error = sum(amount or 0.0 for amount in ahead) - sum(model.means(HORIZON))
        deviation = model.deviation(0, HORIZON)
        if deviation > 1e-9 * abs(error):
            squares.append((error / deviation) ** 2)
    return max(1.0, math.sqrt(sum(squares) / len(squares))) if squares else 1.0
