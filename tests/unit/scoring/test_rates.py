"""Rates by category: what is learned between trainings of the kinds of prompts that come out otherwise."""

import random

import pytest

from gateway.scoring.calibration import IDENTITY
from gateway.scoring.calibration_fit import Sample, cells
from gateway.scoring.rates import MOST, CategoryRates, Counted, category_rates


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
    rates = category_rates([counted("code", 100, 95), counted("maths", 100, 30), counted("chat", 100, 70)])

    assert shift(rates, "code") > 0.7
    assert shift(rates, "maths") < -1.2
    assert abs(shift(rates, "chat")) < 0.1


def test_a_few_outcomes_shift_little():
    one, four, hundred = (shift(category_rates([counted("maths", n, 0)]), "maths") for n in (1, 4, 100))

    assert -0.2 < one < 0
    assert -0.8 < four < one
    assert hundred == -MOST


def test_differences_that_chance_makes_are_hardly_believed():
    rng = random.Random(5)
    kinds = [counted(f"kind-{n}", 20, sum(rng.random() < 0.7 for _ in range(20))) for n in range(30)]

    rates = category_rates(kinds)

    assert max(abs(shift(rates, kind.category)) for kind in kinds) < 0.35


def test_differences_that_many_categories_show_are_believed_sooner():
    alone = category_rates([counted("maths", 12, 3)])
    among = category_rates(
        [counted("maths", 12, 3), *(counted(f"k{n}", 100, 98 - 90 * (n % 2)) for n in range(8))]
    )

    assert shift(among, "maths") < shift(alone, "maths") - 0.3


def test_no_shift_exceeds_the_bound():
    rates = category_rates([counted("code", 5000, 5000, p=0.1), counted("maths", 5000, 0, p=0.9)])

    assert shift(rates, "code") == MOST
    assert shift(rates, "maths") == -MOST


def test_a_category_that_is_hard_for_one_candidate_is_expected_to_be_for_another():
    rates = category_rates([counted("maths", 200, 60), counted("chat", 200, 150)])

    assert shift(rates, "maths", candidate="cloud/large") < -0.5
    assert shift(rates, "unheard", candidate="cloud/large") == 0.0


def test_a_candidate_that_is_good_at_it_is_told_apart():
    rates = category_rates(
        [
            counted("maths", 200, 60),
            counted("maths", 200, 160, candidate="cloud/large"),
            counted("chat", 200, 140),
        ]
    )

    assert shift(rates, "maths") < -0.7
    assert shift(rates, "maths", candidate="cloud/large") > 0


def test_a_tenants_own_rate_stands_above_what_others_saw():
    others = [counted("maths", 200, 140, tenant=f"t{n}", share=0.5) for n in range(5)]
    rates = category_rates([*others, counted("maths", 200, 60)])

    assert shift(rates, "maths") < -1.0
    assert abs(shift(rates, "maths", tenant="t1")) < 0.35
    assert abs(shift(rates, "maths", tenant="newcomer")) < 0.8


def test_outcomes_of_nobody_in_particular_count_for_all_and_are_no_tenants():
    rates = category_rates([counted("maths", 200, 60, tenant="")])

    assert shift(rates, "maths", tenant="newcomer") < -0.5
    assert rates.tenants == {}
    assert rates.pairs == {}


def test_what_has_no_category_shifts_nothing():
    rates = category_rates([counted("", 200, 20)])

    assert shift(rates, "") == 0.0
