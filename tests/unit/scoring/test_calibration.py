"""Calibration curves: what they do to a prediction, and how outcomes bend them."""

import math
import random
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from gateway.scoring.calibration import IDENTITY, LEAST, Beta, Calibrator, Isotonic, logit_of, sigmoid
from gateway.scoring.calibration_fit import (
    UNSEEN,
    Cell,
    Sample,
    Spread,
    cells,
    fit,
    fit_beta,
    fit_isotonic,
    fit_platt,
)

FAMILIES = [fit_platt, fit_beta, fit_isotonic]
CHANCES = [n / 50 for n in range(1, 50)]
SAMPLES = st.lists(
    st.builds(Sample, st.floats(0, 1), st.floats(0, 1), st.floats(0, 100)), min_size=0, max_size=60
)


def drawn(truth, count, seed=0):
    """Outcomes of answers of which `truth` tells the chance, given what was predicted."""
    rng = random.Random(seed)
    predictions = [rng.uniform(0.05, 0.98) for _ in range(count)]
    return [Sample(p, float(rng.random() < truth(p))) for p in predictions]


def error(curve, truth, at=CHANCES):
    return sum(abs(curve(p) - truth(p)) for p in at) / len(at)


@given(st.floats(LEAST, 1 - LEAST))
def test_the_identity_changes_nothing(p):
    assert IDENTITY(p) == pytest.approx(p)


@pytest.mark.parametrize("family", FAMILIES)
def test_without_outcomes_nothing_changes(family):
    curve = family([])

    assert [curve(p) for p in CHANCES] == pytest.approx(CHANCES, abs=0.003)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_few_outcomes_move_little_and_many_much(family):
    def moved_by(count):
        return 0.7 - family(cells([Sample(0.7, 0.0)] * count))(0.7)

    assert 0 < moved_by(1) < 0.2
    assert moved_by(1) < moved_by(5) < moved_by(200)
    assert moved_by(200) > 0.6


@pytest.mark.parametrize("family", FAMILIES)
@given(sample=SAMPLES)
def test_a_curve_never_falls_and_stays_a_probability(family, sample):
    curve = family(cells(sample))

    values = [curve(n / 200) for n in range(201)]

    assert all(0 <= value <= 1 for value in values)
    assert all(low <= high + 1e-12 for low, high in pairwise(values))


def test_where_the_order_is_the_wrong_way_round_a_curve_is_level_at_the_mean():
    sample = drawn(lambda p: 1 - p, 2000)
    mean = sum(one.value for one in sample) / len(sample)

    curve = fit_beta(cells(sample))

    assert [curve(p) for p in CHANCES] == pytest.approx([mean] * len(CHANCES), abs=0.03)


@given(st.floats(), st.floats(0, 5), st.floats(0, 5), st.floats(-50, 50))
def test_a_curve_takes_any_number(p, a, b, c):
    q = Beta(a=a, b=b, c=c)(p)

    assert 0 <= q <= 1


@pytest.mark.parametrize("curve", [Beta(a=0.5, b=2.0, c=-1.0), Isotonic(x=(0.2, 0.6), y=(0.1, 0.4))])
def test_a_curve_survives_json(curve):
    assert msgspec.json.decode(msgspec.json.encode(curve), type=Calibrator) == curve


def test_an_isotonic_curve_is_straight_between_its_points_and_level_beyond():
    curve = Isotonic(x=(0.2, 0.6), y=(0.1, 0.5))

    assert [curve(p) for p in (0.0, 0.2, 0.4, 0.6, 1.0)] == pytest.approx([0.1, 0.1, 0.3, 0.5, 0.5])


def test_platts_curve_is_the_penalised_logistic_regression_of_others():
    sample = drawn(lambda p: sigmoid(0.6 * logit_of(p) - 0.8), 300)
    logits = np.array([logit_of(one.p) for one in sample])
    values = np.array([one.value for one in sample])
    # A wide prior on slope and shift is scikit-learn's with a large C.
    theirs = LogisticRegression(C=1e6).fit(logits[:, None], values)

    ours = fit_beta([Cell(one.p, 1.0, one.value) for one in sample], spread=Spread(1e3, 1e3, 0.0))

    assert ours.a == ours.b == pytest.approx(theirs.coef_[0, 0], abs=1e-3)
    assert ours.c == pytest.approx(theirs.intercept_[0], abs=1e-3)


def test_the_isotonic_curve_pools_as_others_do():
    rng = random.Random(3)
    found = [Cell(n / 40, 20.0, float(rng.randint(0, 20))) for n in range(1, 40)]
    theirs = IsotonicRegression().fit(
        [cell.p for cell in found], [cell.good / 20 for cell in found], [cell.weight for cell in found]
    )

    ours = fit_isotonic(found, prior=1e-9)

    # Blocks are joined by lines from their middles, theirs by steps: where a block ends both agree on its height.
    heights = {round(float(y), 6) for y in theirs.predict([cell.p for cell in found])}
    assert {round(min(max(y, LEAST), 1 - LEAST), 6) for y in heights} <= {round(y, 6) for y in ours.y}


def test_counting_into_bins_costs_next_to_nothing():
    sample = drawn(lambda p: sigmoid(0.6 * logit_of(p) - 0.8), 500)

    one_by_one = fit_beta([Cell(one.p, 1.0, one.value) for one in sample])

    assert error(fit_beta(cells(sample)), one_by_one) < 0.005


def test_a_weight_is_so_many_outcomes():
    thrice = fit_beta(cells([Sample(0.7, 0.0)] * 3 + [Sample(0.2, 1.0)]))

    assert fit_beta(cells([Sample(0.7, 0.0, 3.0), Sample(0.2, 1.0)])) == thrice
    assert fit_beta(cells([Sample(0.7, 0.0, 0.0)])) == IDENTITY


def test_a_value_between_good_and_bad_is_a_part_of_each():
    assert fit_beta(cells([Sample(0.4, 0.5, 2.0)])) == fit_beta(cells([Sample(0.4, 1.0), Sample(0.4, 0.0)]))


@pytest.mark.parametrize(("slope", "shift"), [(1.0, -1.5), (0.5, 0.5), (0.3, -1.0), (1.6, 0.8)])
def test_two_hundred_outcomes_bring_the_mean_error_below_0_05(slope, shift):
    def truth(p):
        return sigmoid(slope * logit_of(p) + shift)

    errors = [error(fit_beta(cells(drawn(truth, 200, seed))), truth) for seed in range(20)]

    assert sum(errors) / len(errors) < 0.05


def test_a_few_outcomes_leave_predictions_that_are_right_nearly_as_they_are():
    errors = [error(fit_beta(cells(drawn(lambda p: p, 25, seed))), lambda p: p) for seed in range(40)]

    assert sum(errors) / len(errors) < 0.06


def test_beta_bends_where_platt_cannot():
    def truth(p):
        return Beta(a=0.3, b=1.8, c=0.0)(p)

    sample = cells(drawn(truth, 20_000))

    assert error(fit_beta(sample, spread=UNSEEN), truth) < 0.5 * error(fit_platt(sample), truth)


def test_a_simple_family_stands_while_others_are_not_clearly_better():
    assert isinstance(fit([]), Beta)
    few = fit(drawn(lambda p: 0.2 if p < 0.5 else 0.8, 100))
    assert isinstance(few, Beta)
    assert few.a == few.b
    straight = fit(drawn(lambda p: p, 2000))
    assert isinstance(straight, Beta)
    assert straight.a == straight.b


def test_a_step_is_fitted_by_the_isotonic_family():
    def truth(p):
        return 0.1 if p < 0.6 else 0.7

    sample = drawn(truth, 3000)

    curve = fit(sample)

    assert isinstance(curve, Isotonic)
    assert error(curve, truth) < 0.6 * error(fit_beta(cells(sample)), truth)


def test_nothing_of_a_fit_depends_on_chance():
    sample = drawn(math.sqrt, 700)

    assert fit(sample) == fit(list(sample))
