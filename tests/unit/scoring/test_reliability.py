"""How true probabilities are: errors, their noise, and the bins of a diagram."""

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss

from gateway.scoring.reliability import (
    brier,
    calibration_error,
    debiased_error,
    error_by_chance,
    reliability,
)


def drawn(count, off=0.0, seed=0):
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.2, 0.8, count)
    return p, (rng.random(count) < p + off).astype(float)


def test_the_error_is_the_mean_distance_of_bins():
    p = np.repeat([0.2, 0.6], 10)
    value = np.r_[np.ones(4), np.zeros(6), np.ones(6), np.zeros(4)]

    assert calibration_error(p, value, bins=2) == pytest.approx((0.2 + 0.0) / 2)


def test_true_predictions_have_the_error_that_chance_makes():
    samples = [drawn(500, seed=seed) for seed in range(40)]

    measured = np.mean([calibration_error(p, value) for p, value in samples])

    assert measured == pytest.approx(np.mean([error_by_chance(p) for p, _ in samples]), rel=0.08)


def test_more_outcomes_leave_less_to_chance():
    assert error_by_chance(drawn(4000)[0]) == pytest.approx(error_by_chance(drawn(1000)[0]) / 2, rel=0.05)


def test_without_bias_an_error_comes_out_as_it_is():
    samples = [drawn(500, off=0.1, seed=seed) for seed in range(40)]

    plain = np.mean([calibration_error(p, value) for p, value in samples])
    debiased = np.mean([debiased_error(p, value) for p, value in samples])

    assert debiased == pytest.approx(0.1, abs=0.005)
    assert plain > debiased + 0.003


def test_true_predictions_have_less_error_without_bias():
    samples = [drawn(500, seed=seed) for seed in range(40)]

    assert np.mean([debiased_error(p, value) for p, value in samples]) < 0.6 * np.mean(
        [calibration_error(p, value) for p, value in samples]
    )


def test_the_brier_score_is_that_of_others():
    p, value = drawn(200)

    assert brier(p, value) == pytest.approx(brier_score_loss(value, p))


def test_bins_hold_equally_many_in_order():
    bins = reliability(*drawn(1003))

    assert {one.count for one in bins} == {100, 101}
    assert all(one.lowest <= one.predicted <= one.highest for one in bins)
    assert all(one.low <= one.observed <= one.high for one in bins)
    assert [one.predicted for one in bins] == sorted(one.predicted for one in bins)


def test_fewer_predictions_than_bins_are_a_bin_each():
    bins = reliability(np.array([0.9, 0.1]), np.array([1.0, 0.0]))

    assert [(one.count, one.predicted) for one in bins] == [(1, 0.1), (1, 0.9)]
    assert debiased_error(np.array([0.9]), np.array([0.0])) == pytest.approx((0.81 - 0.25) ** 0.5)


def test_the_interval_of_a_bin_is_wilsons():
    (one,) = reliability(np.full(10, 0.5), np.r_[np.ones(8), np.zeros(2)], bins=1)

    assert (one.low, one.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_a_bin_in_which_all_were_good_reaches_below_one():
    (one,) = reliability(np.full(20, 0.9), np.ones(20), bins=1)

    assert (one.low, one.high) == pytest.approx((0.8389, 1.0), abs=1e-4)
