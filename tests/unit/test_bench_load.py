"""The arithmetic of the load bench: a wrong formula would look like a fast gateway."""

import random

import pytest

from bench.load.figures import after_warm_up, fit_slope, median_difference, median_ratio


def test_the_ratio_is_the_median_of_the_rounds_not_the_ratio_of_the_medians():
    # The machine was slow for both in the second round, and for one of them in the third.
    ours, theirs = [1000.0, 100.0, 900.0], [100.0, 10.0, 30.0]

    ratio = median_ratio(ours, theirs)

    assert ratio == 10.0


def test_the_difference_is_the_median_of_the_rounds():
    difference = median_difference([3.0, 12.0, 2.5], [1.0, 9.0, 1.0])

    assert difference == 2.0


def test_rounds_that_do_not_pair_up_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        median_ratio([1.0, 2.0], [1.0])


def test_a_straight_line_has_its_slope_and_no_error():
    slope = fit_slope([0.0, 1.0, 2.0, 3.0], [5.0, 5.5, 6.0, 6.5])

    assert slope.value == pytest.approx(0.5)
    assert slope.error == pytest.approx(0.0)
    assert not slope.is_noise


def test_independent_noise_gets_the_textbook_error():
    # Residuals +1 and -1 in turn about a level line: their sum of squares is 8, the spread of x is 42.
    slope = fit_slope([float(x) for x in range(8)], [1.0, -1.0, -1.0, 1.0, 1.0, -1.0, -1.0, 1.0])

    assert slope.value == pytest.approx(0.0)
    assert slope.error == pytest.approx((8 / 6 / 42) ** 0.5, rel=0.05)
    assert slope.is_noise


def test_growth_in_noise_is_found():
    noise = random.Random(1)

    slope = fit_slope([x / 100 for x in range(200)], [x / 100 + noise.gauss(0, 0.1) for x in range(200)])

    assert slope.value == pytest.approx(1.0, abs=3 * slope.error)
    assert not slope.is_noise


def test_residuals_that_hang_together_widen_the_error():
    xs = [float(x) for x in range(100)]
    in_turn = [float(x % 2) for x in range(100)]
    in_steps = [float(x // 25 % 2) for x in range(100)]

    assert fit_slope(xs, in_steps).error > 3 * fit_slope(xs, in_turn).error


def test_two_points_have_no_error_to_give():
    with pytest.raises(ValueError, match="three points"):
        fit_slope([0.0, 1.0], [0.0, 1.0])


def test_the_warm_up_is_a_share_of_the_way_not_of_the_samples():
    points = [(0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (50.0, 2.0), (100.0, 3.0)]

    assert after_warm_up(points, 0.2) == [(50.0, 2.0), (100.0, 3.0)]
