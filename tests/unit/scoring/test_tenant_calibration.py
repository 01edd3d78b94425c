"""What tenants' outcomes make of predictions: pooled, bounded, forgotten, and never in the way of a request."""

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.scoring.calibration import logit_of, sigmoid
from gateway.scoring.contract import Calibration
from gateway.scoring.levels import ENOUGH, HALF_LIFE_MS, shares
from gateway.scoring.tenants import TenantCalibration
from gateway.values import OutcomeRow, Score

NOW = 1_790_000_000_000
SMALL, LARGE, OTHER = "local/small", "cloud/large", "local/other"


def row(value, p=0.7, **changes):
    usual = {"tenant": "acme", "model": "small", "candidate": SMALL, "source": "judge", "created_ms": NOW}
    return OutcomeRow(**(usual | changes), value=float(value), p_good=p)


def rows(count, good, p=0.7, **changes):
    """The good ones spread evenly, as they would come."""
    return [row((n + 1) * good // count > n * good // count, p, **changes) for n in range(count)]


def learnt(*outcomes, now_ms=NOW, **settings):
    return TenantCalibration(**settings).refreshed(outcomes, now_ms)


def adjusted(calibration, tenant="acme", candidate=SMALL, p=0.7, category=""):
    score = Score(complexity=0.4, p_good={candidate: p}, category=category)
    return calibration.adjust(tenant, score).p_good[candidate]


def test_it_is_a_calibration():
    calibration: Calibration = TenantCalibration()

    assert calibration.adjust("acme", Score(complexity=0.1, p_good={})).p_good == {}


def test_without_outcomes_a_score_stays_as_it_is():
    score = Score(complexity=0.4, p_good={SMALL: 0.7}, category="code")

    assert TenantCalibration().adjust("acme", score) is score
    assert learnt().adjust("acme", score).p_good[SMALL] == pytest.approx(0.7)


def test_what_the_scorer_itself_said_is_kept_beside_it():
    score = Score(complexity=0.4, p_good={SMALL: 0.7}, category="code", is_partial=True)

    after = learnt(*rows(50, 10)).adjust("acme", score)

    assert after.raw == {SMALL: 0.7}
    assert (after.complexity, after.category, after.is_partial) == (0.4, "code", True)


def test_a_default_that_stands_for_a_score_is_left_alone():
    score = Score(complexity=0.5, p_good={SMALL: 0.7}, is_degraded=True)

    assert learnt(*rows(50, 10)).adjust("acme", score) is score


def test_two_hundred_outcomes_set_the_level():
    calibration = learnt(*rows(200, 60))

    assert adjusted(calibration) == pytest.approx(0.3, abs=0.02)


def test_the_order_of_predictions_stays():
    rng = random.Random(1)
    found = [row(rng.random() < 0.5, p=rng.random()) for _ in range(300)]
    calibration = learnt(*found)

    values = [adjusted(calibration, p=n / 100) for n in range(101)]

    assert values == sorted(values)


def test_another_tenant_learns_of_it_less_than_who_saw_it():
    calibration = learnt(*rows(200, 60), *rows(200, 140, tenant="globex"))

    assert adjusted(calibration, "acme") < adjusted(calibration, "nobody") < adjusted(calibration, "globex")
    assert adjusted(calibration, "acme") == pytest.approx(0.3, abs=0.05)
    assert adjusted(calibration, "globex") == pytest.approx(0.7, abs=0.05)


def test_a_candidate_that_the_tenant_has_no_outcomes_of_moves_with_his_others():
    calibration = learnt(*rows(200, 60), *rows(400, 280, tenant="globex"), *rows(400, 280, tenant="initech"))

    assert adjusted(calibration, "acme", LARGE) < adjusted(calibration, "globex", LARGE) - 0.05


def test_a_tenants_few_outcomes_weigh_against_what_all_others_saw():
    others = [*rows(300, 210, tenant="globex"), *rows(300, 210, tenant="initech")]

    few, many = (adjusted(learnt(*others, *rows(count, 0))) for count in (5, 200))

    assert 0.4 < few < 0.65
    assert many < 0.1


def test_outcomes_of_nobody_in_particular_teach_everyone():
    calibration = learnt(*rows(200, 60, tenant="", source="evaluation"))

    assert adjusted(calibration, "acme") < 0.45


def test_old_outcomes_are_forgotten():
    old = rows(200, 20, created_ms=NOW - 6 * HALF_LIFE_MS)
    new = rows(100, 90)

    assert adjusted(learnt(*old, *new)) > 0.8
    assert adjusted(learnt(*old, *new, now_ms=NOW - 6 * HALF_LIFE_MS)) < 0.5


def test_time_alone_leads_back_to_the_prediction():
    found = rows(50, 5)

    after = [adjusted(learnt(*found, now_ms=NOW + months * HALF_LIFE_MS)) for months in (0, 3, 6, 24)]

    assert after == sorted(after)
    assert after[-1] == pytest.approx(0.7, abs=0.01)


def test_what_an_earlier_artefact_predicted_counts_for_less():
    before = rows(100, 10, created_ms=NOW - 1)
    since = rows(100, 90)

    assert adjusted(learnt(*before, *since, since_ms=NOW)) > adjusted(learnt(*before, *since)) + 0.1


def test_one_user_cannot_outvote_all_others():
    others = [one for n in range(30) for one in rows(20, 16, p=0.8, user=f"user-{n}", source="feedback")]
    spite = rows(5000, 0, p=0.8, user="spite", source="feedback")

    assert adjusted(learnt(*others, *spite), p=0.8) > 0.35
    assert adjusted(learnt(*others, *[msgspec.structs.replace(one, user="") for one in spite]), p=0.8) < 0.15


def test_one_source_cannot_outvote_all_others():
    judged = rows(300, 60)
    deferred = rows(20_000, 16_000, source="deferral")

    assert adjusted(learnt(*judged, *deferred)) < 0.55


def test_one_tenant_cannot_outvote_all_others():
    others = [one for n in range(20) for one in rows(50, 35, tenant=f"tenant-{n}")]

    calibration = learnt(*others, *rows(20_000, 0, tenant="spite"))

    assert adjusted(calibration, "newcomer") > 0.3
    assert adjusted(calibration, "tenant-1") > 0.55


def test_alone_one_counts_for_enough():
    assert shares({"ann": 5000.0}) == {"ann": ENOUGH / 5000}
    assert shares({"ann": 5000.0, "bob": 1000.0}) == {"ann": 0.2, "bob": 1.0}
    assert shares({"ann": 50.0, "bob": 10.0}) == {"ann": 1.0, "bob": 1.0}
    assert shares({"ann": 0.0}) == {"ann": 1.0}


@pytest.mark.parametrize(
    "useless",
    [
        row(0, p=None),
        row(0, p=float("nan")),
        row(0, p=1.5),
        row(float("nan")),
        row(7),
        row(0, weight=0.0),
        row(0, weight=float("nan")),
        row(0, candidate=""),
    ],
)
def test_what_cannot_be_learned_from_is_passed_over(useless):
    assert adjusted(learnt(*[useless] * 50)) == pytest.approx(0.7)


@given(
    st.lists(
        st.builds(
            OutcomeRow,
            tenant=st.sampled_from(["", "acme", "globex"]),
            user=st.sampled_from(["", "ann"]),
            model=st.just("m"),
            candidate=st.sampled_from(["", SMALL, LARGE]),
            source=st.sampled_from(["feedback", "deferral", "judge", "evaluation"]),
            value=st.floats(),
            weight=st.floats(0, 100),
            p_good=st.none() | st.floats(),
            category=st.sampled_from(["", "code", "maths"]),
            created_ms=st.integers(0, 2 * NOW),
        ),
        max_size=40,
    ),
    st.floats(),
)
def test_no_outcome_and_no_prediction_raises(found, p):
    calibration = learnt(*found)

    for tenant in ("acme", "nobody", ""):
        for category in ("", "code", "unheard"):
            assert 0 <= adjusted(calibration, tenant, SMALL, p, category) <= 1
            assert 0 <= adjusted(calibration, tenant, OTHER, p, category) <= 1


def test_a_refreshed_calibration_leaves_the_one_before_as_it_was():
    before = learnt(*rows(200, 60))
    was = adjusted(before)

    after = before.refreshed(rows(200, 180), NOW)

    assert adjusted(before) == was
    assert adjusted(after) > was + 0.3


def test_a_tenant_sample_of_two_hundred_brings_the_calibration_error_below_0_05():
    """On simulated tenants whose answers are worse than predicted, by how much differing between candidates."""
    errors = []
    for seed in range(12):
        rng = random.Random(seed)
        shift, slope = rng.gauss(-1, 0.7), max(rng.gauss(0.8, 0.3), 0.1)
        chances = [rng.betavariate(3, 1.5) for _ in range(1200)]
        truths = [sigmoid(slope * logit_of(p) + shift) for p in chances]
        calibration = learnt(
            *[row(rng.random() < truths[n], chances[n], tenant="t", user=f"u{n % 3}") for n in range(200)]
        )
        after = [adjusted(calibration, "t", p=p) for p in chances[200:]]
        errors.append(
            sum(abs(one - truth) for one, truth in zip(after, truths[200:], strict=True)) / len(after)
        )

    assert sum(errors) / len(errors) < 0.05
