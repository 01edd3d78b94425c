"""What a scorer is worth on answers with known worth: by source, on average, and under one threshold."""

import math

import numpy as np
import pytest

from gateway.scoring.evaluation import MEAN, POOLED, calibrated, known_beforehand, results
from gateway.scoring.evaluation_data import Judged, Sides, read, sides
from gateway.scoring.evaluation_files import EvaluationError, EvaluationFile
from tests.fixtures.evaluations import answers, write

SIDES = Sides(("small",), "large")


def by_word(prompts, models):
    """Knows hard prompts by their first word, and how good each model is on them."""
    is_hard = [prompt.startswith("hard") for prompt in prompts]
    known = {"small": {True: 0.2, False: 0.8}}
    p_good = [[known.get(model, {}).get(hard, 0.9) for model in models] for hard in is_hard]
    return Judged([float(hard) for hard in is_hard], p_good)


def by_length(prompts, models):
    return Judged([float(len(prompt)) for prompt in prompts])


@pytest.fixture
def put(tmp_path):
    return lambda rows, name="answers.jsonl": EvaluationFile(write(tmp_path / name, rows))


def tasks(file, judge=by_word, chosen=SIDES, by="source"):
    return read(file, chosen, by, judge).tasks


def measured(found, rounds=50):
    return results(found, rounds, np.random.default_rng(0))


def test_a_scorer_that_knows_the_hard_prompts_beats_what_is_free_to_know(put):
    (one,) = measured(tasks(put(answers(600))))

    assert one.name == "exam"
    assert one.prompts == 600
    assert one.weak == pytest.approx(0.5, abs=0.07)
    assert one.strong == pytest.approx(0.9, abs=0.05)
    assert one.apgr_low < one.apgr < one.apgr_high
    assert one.length == pytest.approx(0.5, abs=0.08)
    assert one.category == pytest.approx(0.5, abs=0.08)
    assert 0.5 < one.over_length_low + one.length < one.apgr < one.oracle
    assert one.cpt50 < 0.35
    assert one.saved90 > 0.4
    assert one.auc > 0.7
    assert one.auc_within > 0.7


def test_of_several_sources_there_is_a_mean_and_one_threshold_for_all(put):
    file = put([*answers(200), *answers(600, source="chat", seed=1)])

    exam, chat, mean, pooled = measured(tasks(file))

    assert [one.name for one in (exam, chat, mean, pooled)] == ["exam", "chat", MEAN, POOLED]
    assert mean.apgr == pytest.approx((exam.apgr + chat.apgr) / 2)
    assert mean.prompts == pooled.prompts == 800
    assert mean.apgr_high - mean.apgr_low < exam.apgr_high - exam.apgr_low
    assert pooled.strong == pytest.approx(1.0)
    assert pooled.apgr == pytest.approx(mean.apgr, abs=0.05)
    assert math.isnan(pooled.apgr_of_quantiles)


def test_one_threshold_counts_each_source_alike(put):
    """A thousand prompts of one source do not drown ten of another."""
    both = put([*answers(100), *answers(2000, source="chat", seed=1)])

    *_, pooled = measured(
        tasks(both, judge=lambda prompts, models: Judged([0.0 if "hard" in p else 1.0 for p in prompts]))
    )

    assert pooled.weak == pytest.approx(sum(one.weak / one.strong for one in measured(tasks(both))[:2]) / 2)


def test_a_source_where_the_strong_model_is_no_better_counts_towards_no_mean(put):
    rows = answers(100, source="odd", seed=3)
    for row in rows:
        row["s:small"], row["s:large"] = 1.0, 0.5

    odd, exam, chat, mean, _ = measured(
        tasks(put([*rows, *answers(200), *answers(200, source="chat", seed=1)]))
    )

    assert math.isnan(odd.apgr)
    assert math.isnan(odd.cpt50)
    assert math.isnan(odd.needed95)
    assert mean.apgr == pytest.approx((exam.apgr + chat.apgr) / 2)
    assert mean.prompts == 400


def test_a_scorer_that_says_nothing_is_chance(put):
    (one,) = measured(tasks(put(answers(100)), judge=lambda prompts, models: Judged([0.5] * len(prompts))))

    assert one.apgr == pytest.approx(0.5)
    assert one.auc == pytest.approx(0.5)


def test_without_resamples_there_are_no_intervals(put):
    (one,) = measured(tasks(put(answers(50))), rounds=0)

    assert math.isnan(one.apgr_low)
    assert not math.isnan(one.apgr)


def test_the_weak_side_may_be_the_mean_of_some(put):
    rows = [row | {"s:tiny": 0.0, "c:tiny": 0.0} for row in answers(100)]

    (task,) = tasks(put(rows), chosen=Sides(("small", "tiny"), "large"))

    assert task.pair.weak.mean() == pytest.approx(np.mean([row["s:small"] for row in rows]) / 2)
    assert task.pair.cost[0].mean() == pytest.approx(0.0005)
    assert task.values.shape == (100, 3)


def test_rows_that_lack_something_are_left_out_and_counted(put):
    rows = answers(10)
    rows[0]["s:small"] = None
    rows[1]["prompt"] = ""
    rows[2]["prompt"] = None

    reading = read(put(rows), SIDES, "source", by_word)

    assert reading.left_out == 3
    assert len(reading.tasks[0].score) == 7


def test_a_scorer_is_not_asked_about_nothing(put):
    rows = [row | {"s:small": None} for row in answers(1024)]

    reading = read(
        put([*rows, *answers(4, seed=1)]),
        SIDES,
        "source",
        lambda prompts, models: by_word(prompts or [1 / 0], models),
    )

    assert (reading.left_out, len(reading.tasks[0].score)) == (1024, 4)


def test_costs_that_are_not_known_of_each_answer_are_not_known(put):
    rows = answers(10)
    rows[0]["c:small"] = None

    (one,) = measured(tasks(put(rows)))

    assert math.isnan(one.saved90)


def test_without_a_source_the_file_is_one(put):
    rows = [
        {"prompt": row["prompt"], "s:small": row["s:small"], "s:large": row["s:large"]} for row in answers(60)
    ]

    (task,) = tasks(put(rows))
    (one,) = measured([task])

    assert task.name == "answers"
    assert math.isnan(one.category)
    assert math.isnan(one.auc_within)
    assert [name for name, _ in known_beforehand(task)] == ["length"]


def test_any_column_can_tell_the_tasks_apart(put):
    found = tasks(put(answers(60)), by="category")

    assert sorted(task.name for task in found) == ["maths", "trivia"]


def test_by_default_the_best_stands_against_one_of_the_lower(put):
    file = put(
        [{"prompt": "a", **{f"s:m{n}": n / 10 for n in (3, 0, 9, 1, 2, 4)}}, {"prompt": "b", "s:m9": 0.8}]
    )

    assert sides(file) == Sides(("m1",), "m9")
    assert sides(put(answers(20), "two.csv")) == SIDES


def test_one_model_alone_cannot_be_compared(put):
    with pytest.raises(EvaluationError, match="two models with scores are needed, and there are 1"):
        sides(put([{"prompt": "a", "s:x": 1, "s:y": None}]))


def test_a_file_without_usable_rows_is_told(put):
    with pytest.raises(EvaluationError, match="no row has a prompt and a score of each of small and large"):
        read(put([row | {"s:large": None} for row in answers(3)]), SIDES, "source", by_word)


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (lambda prompts: [float("nan")] * len(prompts), "no finite number for the prompt 'easy question 0"),
        (lambda prompts: [1.0], "1 scores for 10 prompts"),
    ],
)
def test_a_scorer_that_returns_nonsense_is_told(put, scores, said):
    with pytest.raises(EvaluationError, match=said):
        tasks(put(answers(10)), judge=lambda prompts, models: Judged(scores(prompts)))


def test_how_true_p_good_is_told_for_each_model(put):
    (task,) = tasks(put(answers(1000)))

    small, large = calibrated(task, np.random.default_rng(0))

    assert (small.model, large.model) == ("small", "large")
    assert small.predicted == pytest.approx(0.5, abs=0.01)
    assert small.error < 0.05
    assert small.auc > 0.7
    assert small.debiased < 0.05
    assert small.error_after < 0.06


def test_after_a_sample_of_outcomes_p_good_is_truer(put):
    def sure(prompts, models):
        return Judged([0.0] * len(prompts), [[0.9, 0.9]] * len(prompts))

    (task,) = tasks(put(answers(1000)), judge=sure)

    small, _ = calibrated(task, np.random.default_rng(0))

    assert small.error == pytest.approx(0.4, abs=0.06)
    assert small.error_after < 0.07
    assert small.debiased_after < 0.05


def test_a_small_file_tells_nothing_of_after_a_sample(put):
    (task,) = tasks(put(answers(300)))

    assert math.isnan(calibrated(task, np.random.default_rng(0))[0].error_after)


def test_a_scorer_without_p_good_is_not_asked_how_true_it_is(put):
    (task,) = tasks(put(answers(30)), judge=by_length)

    assert calibrated(task, np.random.default_rng(0)) == []
