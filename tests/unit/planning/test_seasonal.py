"""Smoothing, and the choice of a model by how it did on the history's own last weeks."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.planning.forecasting.seasonal import LAST_WEEK, Smoothing, Weights, chosen, fitted_weights
from gateway.planning.forecasting.student import half_width

HOLT = Weights(level=0.3, slope=0.05, season=0.2, damping=0.9)

histories = st.lists(st.floats(0, 1e5), min_size=56, max_size=90)


def drifting(seed, days):
    """A level that wanders, with weekends."""
    noise, level, found = random.Random(seed), 500.0, []
    for day in range(days):
        level += noise.gauss(0, 8)
        found.append(level - 100 * (day % 7 > 4) + noise.gauss(0, 10))
    return found


def test_last_week_comes_again():
    week = [10.0, 20, 30, 40, 50, 60, 70]

    model = Smoothing("", LAST_WEEK, [0.0] * 21 + week + week[:3])

    assert model.means(9) == [40, 50, 60, 70, 10, 20, 30, 40, 50]


def test_weeks_without_noise_go_on_and_have_no_band():
    model = Smoothing("", HOLT, [100.0, 100, 100, 100, 100, 50, 50] * 9)

    assert model.means(7) == pytest.approx([100, 100, 100, 100, 100, 50, 50])
    assert model.deviation(0, 30) == pytest.approx(0, abs=1e-9)


def test_a_slope_is_damped():
    model = Smoothing("", HOLT, [100.0 + 2 * day for day in range(70)])

    rises = [b - a for a, b in zip(model.means(60), model.means(60)[1:], strict=False)]

    assert 0 < rises[-1] < rises[0] <= 2.5


def test_a_gap_changes_nothing_but_what_is_known():
    days: list[float | None] = [100.0, 100, 100, 100, 100, 50, 50] * 9
    days[30] = days[40] = None

    assert Smoothing("", HOLT, days).means(7) == pytest.approx([100, 100, 100, 100, 100, 50, 50])
    assert Smoothing("", LAST_WEEK, days).means(7) == pytest.approx([100, 100, 100, 100, 100, 50, 50])


def test_errors_of_one_weekday_add_up_week_by_week():
    model = Smoothing("", LAST_WEEK, drifting(1, 70))

    assert model.deviation(0, 1) == pytest.approx(model.sigma)
    assert model.deviation(7, 8) == pytest.approx(model.sigma * 2**0.5)
    assert model.deviation(0, 7) == pytest.approx(model.sigma * 7**0.5)
    # Each weekday's first error counts twice, its second once.
    assert model.deviation(0, 14) == pytest.approx(model.sigma * (7 * 2**2 + 7) ** 0.5)


def test_a_wandering_level_is_not_taken_for_a_trend():
    choice = chosen(drifting(3, 120))

    assert choice.model.name == "damped Holt-Winters"
    assert set(choice.errors) == {"trend and weekdays", "same day last week", "damped Holt-Winters"}
    assert choice.errors[choice.model.name] == min(choice.errors.values())


def test_a_short_history_is_not_asked_which_model_is_best():
    assert chosen(drifting(3, 55)).errors == {}
    assert chosen(drifting(3, 20)).model.name == "trend"
    assert chosen(drifting(3, 21)).model.name == "trend and weekdays"


def test_bands_of_a_wandering_level_hold_what_they_say():
    days = sums = held = within = 0
    for seed in range(60):
        history = drifting(seed, 84 + 14)
        model = Smoothing("", fitted_weights(history[:84]), history[:84])
        width, means = half_width(0.8, model.freedom), model.means(14)
        held += sum(
            abs(history[84 + day] - mean) <= width * model.deviation(day, day + 1)
            for day, mean in enumerate(means)
        )
        within += abs(sum(history[84:]) - sum(means)) <= width * model.deviation(0, 14)
        days, sums = days + 14, sums + 1

    assert 0.7 < held / days < 0.9
    assert 0.65 < within / sums < 0.95


@given(histories)
def test_fitted_weights_lie_where_they_may(history):
    weights = fitted_weights(history)

    assert 0 < weights.level <= 1
    assert 0 <= weights.slope <= weights.level
    assert 0 <= weights.season <= 1 - weights.level
    assert 0.8 <= weights.damping <= 0.98


@given(histories, st.floats(0, 1e4))
def test_what_every_day_gains_the_sum_gains_that_often(history, more):
    for weights in (HOLT, LAST_WEEK):
        before = Smoothing("", weights, history)
        after = Smoothing("", weights, [amount + more for amount in history])

        assert sum(after.means(30)) - sum(before.means(30)) == pytest.approx(30 * more, abs=1e-3)


@given(histories, st.integers(2, 30))
def test_a_sum_is_told_no_worse_than_its_days_together(history, ahead):
    for weights in (HOLT, LAST_WEEK):
        model = Smoothing("", weights, history)
        together = sum(model.deviation(day, day + 1) for day in range(ahead))

        assert model.deviation(0, ahead) <= together * (1 + 1e-9)


@given(histories)
def test_some_model_is_chosen_whatever_was_spent(history):
    choice = chosen(history)

    assert choice.model.deviation(0, 30) >= 0
    assert choice.model.freedom > 0


def test_a_model_that_missed_by_more_than_it_said_says_more():
    noise = random.Random(2)
    growing = [20 * 1.02**day * noise.lognormvariate(0, 0.1) for day in range(150)]
    choice = chosen(growing)

    plain = Smoothing(choice.model.name, fitted_weights(growing), growing)

    assert choice.model.deviation(0, 14) > 1.2 * plain.deviation(0, 14)
    assert choice.model.means(14) == plain.means(14)


def test_old_errors_do_not_narrow_what_is_told_today():
    noise = random.Random(4)
    calm_then_wild = [300 + noise.gauss(0, 2 if day < 120 else 40) for day in range(180)]

    assert Smoothing("", HOLT, calm_then_wild).sigma > 25
