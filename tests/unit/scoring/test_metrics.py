"""The measures of a routing scorer, against plain readings of their definitions and against others' code."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import roc_auc_score

from gateway.scoring import metrics
from gateway.scoring.metrics import Pair

RNG = np.random.default_rng(0)


def pair(weak, strong, **more):
    return Pair(weak=np.array(weak, dtype=float), strong=np.array(strong, dtype=float), **more)


def some(count=400, levels=7, seed=0):
    """Scores with ties, and answers whose gain they tell something of."""
    rng = np.random.default_rng(seed)
    score = rng.integers(0, levels, count).astype(float)
    weak = (rng.random(count) < 0.6 - 0.35 * score / levels).astype(float)
    strong = (rng.random(count) < 0.85).astype(float)
    cost = (rng.uniform(1, 2, count), rng.uniform(10, 30, count))
    return score, pair(weak, strong, cost=cost, category=rng.integers(0, 4, count))


def plain_apgr(score, two):
    """Of every threshold one point, and trapezoids between them."""
    points = [(0.0, 0.0)]
    for threshold in sorted(set(score), reverse=True):
        chosen = score >= threshold
        points.append((chosen.mean(), two.gain[chosen].sum() / two.gain.sum()))
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(points))


def test_apgr_is_the_area_over_all_thresholds():
    score, two = some()

    assert metrics.apgr(score, two) == pytest.approx(plain_apgr(score, two))


def test_a_score_that_says_nothing_recovers_half():
    _, two = some()

    assert metrics.apgr(np.ones(400), two) == pytest.approx(0.5)


def test_a_score_turned_round_recovers_what_it_left():
    score, two = some()

    assert metrics.apgr(-score, two) == pytest.approx(1 - metrics.apgr(score, two))


def test_whoever_knows_each_gain_recovers_more_than_all():
    two = pair([0, 1, 1, 1], [1, 0, 1, 1.5])

    assert metrics.apgr(two.gain, two) > 1


@given(st.floats(0.1, 10), st.floats(-5, 5))
def test_only_the_order_of_scores_counts(scale, shift):
    score, two = some(60)

    assert metrics.apgr(score * scale + shift, two) == pytest.approx(metrics.apgr(score, two))


def test_where_the_strong_model_is_not_better_there_is_nothing_to_recover():
    assert math.isnan(metrics.apgr(np.arange(3.0), pair([1, 1, 0], [0, 1, 1])))
    assert math.isnan(metrics.apgr_of_quantiles(np.arange(3.0), pair([1, 1, 0], [0, 1, 1])))


def test_a_weight_is_so_many_prompts():
    score, two = some(50)
    weight = RNG.integers(1, 4, 50)
    index = np.repeat(np.arange(50), weight)
    repeated = pair(two.weak[index], two.strong[index])

    assert metrics.apgr(score, two, weight.astype(float)) == pytest.approx(
        metrics.apgr(score[index], repeated)
    )


def test_apgr_by_deciles_is_that_of_eleven_thresholds():
    score = np.arange(100.0)
    # Only the last tenth gains: nine tenths of the calls are for nothing.
    two = pair(np.zeros(100), np.r_[np.zeros(90), np.ones(10)])

    assert metrics.apgr_of_quantiles(score, two) == pytest.approx(0.95)
    assert metrics.apgr_of_quantiles(-score, two) == pytest.approx(0.05)


def test_apgr_by_deciles_lies_near_the_exact_one():
    score, two = some(2000, levels=200)

    assert metrics.apgr_of_quantiles(score, two) == pytest.approx(metrics.apgr(score, two), abs=0.01)
    assert math.isnan(metrics.apgr_of_quantiles(np.ones(2000), two))


def test_call_performance_is_the_share_that_recovers_so_much():
    two = pair(np.zeros(10), [1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
    curve = metrics.trade_off(-np.arange(10.0), two)

    assert metrics.call_performance(curve, 0.5) == pytest.approx(0.2)
    assert metrics.call_performance(curve, 0.8) == pytest.approx(0.32)
    assert metrics.call_performance(metrics.trade_off(np.arange(10.0), two), 0.5) == pytest.approx(0.8)


def test_savings_are_told_where_that_part_of_the_quality_is_reached():
    cost = (np.full(10, 1.0), np.full(10, 10.0))
    two = pair(np.r_[np.ones(8), 0, 0], np.ones(10), cost=cost)
    curve = metrics.trade_off(np.r_[np.zeros(8), 1.0, 2.0], two)

    # With one strong call of ten, quality is 0.9.
    assert metrics.share_needed(curve, 0.9) == pytest.approx(0.1)
    assert metrics.saved(curve, 0.9) == pytest.approx(1 - (9 * 1 + 10) / 100)
    assert metrics.saved(curve, 0.5) == pytest.approx(0.9)
    assert math.isnan(metrics.saved(metrics.trade_off(two.gain, pair(two.weak, two.strong)), 0.9))


def test_a_quality_that_no_share_reaches_needs_all():
    curve = metrics.trade_off(np.arange(3.0), pair([0, 0, 0], [1, 0, 1]))

    assert metrics.share_needed(curve, 2.0) == 1.0
    assert metrics.share_needed(curve, -1.0) == 0.0


@given(
    arrays.arrays(float, 30, elements=st.integers(0, 5).map(float)),
    arrays.arrays(bool, 30),
    arrays.arrays(float, 30, elements=st.integers(1, 3).map(float)),
)
def test_auc_is_that_of_others(score, is_positive, weight):
    ours = metrics.auc(score, is_positive, weight)

    if 0 < is_positive.sum() < 30:
        assert ours == pytest.approx(roc_auc_score(is_positive, score, sample_weight=weight))
    else:
        assert math.isnan(ours)


def test_a_score_that_only_knows_the_category_is_chance_within():
    category = np.repeat([0, 1], 200)
    is_positive = RNG.random(400) < np.where(category == 1, 0.8, 0.2)

    assert metrics.auc(category.astype(float), is_positive) > 0.7
    assert metrics.auc_within(category.astype(float), is_positive, category) == pytest.approx(0.5)
    assert math.isnan(metrics.auc_within(np.ones(4), np.ones(4, dtype=bool), np.zeros(4, dtype=int)))


def test_resamples_draw_as_many_as_there_are():
    blocks = list(metrics.resamples(50, 20, np.random.default_rng(1)))

    weights = np.concatenate(blocks)

    assert weights.shape == (20, 50)
    assert (weights.sum(axis=1) == 50).all()


def test_many_resamples_are_drawn_in_blocks():
    blocks = list(metrics.resamples(1_500_000, 2, np.random.default_rng(1)))

    assert [block.shape for block in blocks] == [(1, 1_500_000)] * 2


def test_resampled_areas_are_those_of_the_weights_one_by_one():
    score, two = some(80)
    weights = metrics.resample(80, 5, np.random.default_rng(2))

    areas = metrics.resampled_apgr(np.stack([score, -score]), two, weights)

    assert areas[0] == pytest.approx([metrics.apgr(score, two, weight) for weight in weights])
    assert areas[1] == pytest.approx([metrics.apgr(-score, two, weight) for weight in weights])


def test_the_interval_of_resamples_holds_the_truth_about_as_often_as_it_says():
    score, everything = some(100_000)
    truth = metrics.apgr(score, everything)
    rng = np.random.default_rng(3)
    inside = 0
    for _ in range(60):
        index = rng.integers(0, 100_000, 400)
        sample = pair(everything.weak[index], everything.strong[index])
        (areas,) = metrics.resampled_apgr(score[index][None], sample, metrics.resample(400, 200, rng))
        low, high = np.quantile(areas, [0.025, 0.975])
        inside += low <= truth <= high

    assert inside >= 53
