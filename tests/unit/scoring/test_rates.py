"""Rates by category: what is learned between trainings of the kinds of prompts that come out otherwise."""

import random

import pytest

from gateway.scoring.calibration import IDENTITY
from gateway.scoring.calibration_fit import Sample, cells
from gateway.scoring.rates import MOST, MOST_SHARED, CategoryRates, Counted, category_rates


def counted(category, count, good, *, p=0.7, tenant="acme", candidate="local/small", share=1.0):
    sample = [Sample(p, float((n + 1) * good // count > n * good // count)) for n in range(count)]
    return Counted(
        tenant=tenant,
        candidate=candidate,
        category=category,
        cells=cells(sample),
        curve=IDENTITY,
        share=share,
    )


def shift(rates, category, tenant="acme", candidate="local/small"):
    return rates.shift(tenant, candidate, category)


def test_nothing_is_known_without_outcomes():
    assert shift(CategoryRates(), "code") == 0.0
    assert shift(category_rates([]), "code") == 0.0


def test_a_category_that_comes_out_as_predicted_does_not_shift():
    assert shift(category_rates([counted("code", 100, 70)]), "code") == pytest.approx(0, abs=0.01)


def test_what_comes_out_better_goes_up_and_what_comes_out_worse_goes_down():
    rates = category_rates([counted("code", 100, 90), counted("maths", 100, 50), counted("chat", 100, 70)])

    assert shift(rates, "code") > 0.7
    assert shift(rates, "maths") < -0.6
    assert abs(shift(rates, "chat")) < 0.1


def test_a_few_outcomes_shift_little():
    def maths(bad):
        return shift(category_rates([counted("maths", bad, 0), counted("chat", 1000, 700)]), "maths")

    assert -0.2 < maths(1) < 0
    assert -0.8 < maths(4) < maths(1)
    assert maths(100) < -1.8


def test_what_is_off_in_everything_is_not_the_categories_business():
    alone = category_rates([counted("maths", 200, 20)])
    two = category_rates([counted("maths", 200, 20), counted("chat", 200, 20)])

    assert shift(alone, "maths") == pytest.approx(0.0, abs=1e-6)
    assert shift(two, "maths") == pytest.approx(0.0, abs=1e-6)


def test_differences_that_chance_makes_are_hardly_believed():
    rng = random.Random(5)
    kinds = [counted(f"kind-{n}", 20, sum(rng.random() < 0.7 for _ in range(20))) for n in range(30)]

    rates = category_rates(kinds)

    assert max(abs(shift(rates, kind.category)) for kind in kinds) < 0.35


def test_differences_that_many_categories_show_are_believed_sooner():
    even = [counted(f"k{n}", 100, 70) for n in range(8)]
    uneven = [counted(f"k{n}", 100, 50 + 40 * (n % 2)) for n in range(8)]

    alone, among = (category_rates([counted("maths", 12, 3), *others]) for others in (even, uneven))

    assert shift(among, "maths") < shift(alone, "maths") - 0.3


def test_no_shift_exceeds_the_bound():
    rates = category_rates([counted("code", 5000, 5000, p=0.1), counted("maths", 5000, 0, p=0.9)])

    assert shift(rates, "code") == MOST
    assert shift(rates, "maths") == -MOST


def test_what_others_saw_moves_a_newcomer_by_no_more_than_a_logit():
    spite = [counted("code", 5000, 0, tenant="spite"), counted("chat", 5000, 5000, tenant="spite")]

    rates = category_rates(spite)

    assert shift(rates, "code", tenant="spite") < -1.5
    assert shift(rates, "code", tenant="newcomer") == -2 * MOST_SHARED


def test_a_category_that_is_hard_for_one_candidate_is_expected_to_be_for_another():
    rates = category_rates([counted("maths", 200, 60), counted("chat", 200, 150)])

    assert shift(rates, "maths", candidate="cloud/large") < -0.5
    assert shift(rates, "unheard", candidate="cloud/large") == 0.0


def test_a_candidate_that_is_good_at_it_is_told_apart():
    rates = category_rates(
        [
            counted("maths", 200, 60),
            counted("chat", 200, 180),
            counted("maths", 200, 180, candidate="cloud/large"),
            counted("chat", 200, 100, candidate="cloud/large"),
        ]
    )

    assert shift(rates, "maths") < -0.7
    assert shift(rates, "maths", candidate="cloud/large") > 0


def test_a_tenants_own_rate_stands_above_what_others_saw():
    names = [f"t{n}" for n in range(5)]
    others = [counted(kind, 200, 140, tenant=name, share=0.5) for name in names for kind in ("maths", "chat")]
    rates = category_rates([*others, counted("maths", 200, 60), counted("chat", 200, 160)])

    assert shift(rates, "maths") < -0.8
    assert abs(shift(rates, "maths", tenant="t1")) < 0.35
    assert abs(shift(rates, "maths", tenant="newcomer")) < 0.8


def test_outcomes_of_nobody_in_particular_count_for_all_and_are_no_tenants():
    rates = category_rates([counted("maths", 200, 60, tenant=""), counted("chat", 200, 170, tenant="")])

    assert shift(rates, "maths", tenant="newcomer") < -0.4
    assert rates.tenants == {}
    assert rates.pairs == {}


def test_what_has_no_category_shifts_nothing():
    rates = category_rates([counted("", 200, 20)])

    assert shift(rates, "") == 0.0
