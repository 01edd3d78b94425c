"""The trend with weekdays: known numbers, a band that holds what it says, and Student's t."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.planning.forecasting.linear import Design
from gateway.planning.forecasting.student import below, half_width, incomplete_beta

NOISY = [
    196.93, 207.64, 200.29, 200.72, 194.84, 144.94, 162.34, 215.59, 224.44, 216.49, 219.74, 218.72, 138.01, 169.76,
    227.08, 228.49, 203.7, 204.57, 216.32, 162.88, 173.67, 230.95, 239.25, 226.79, 239.7, 242.23, 171.07, 201.11,
    248.68, 257.86, 237.56, 237.63, 243.87, 188.22, 198.58, 255.48, 248.63, 244.02, 250.75, 273.15, 190.3, 204.44,
]  # fmt: skip

amounts = st.lists(st.floats(0, 1e6), min_size=21, max_size=60)


def fit(days, *, is_weekly=True):
    return Design(range(len(days)), is_weekly=is_weekly).fit(days)


def band(model, first, end, coverage=0.8):
    mean = sum(model.means(end)[first:])
    width = half_width(coverage, model.freedom) * model.deviation(first, end)
    return mean, mean - width, mean + width


@pytest.mark.parametrize("is_weekly", [False, True])
def test_a_line_goes_on_as_it_was(is_weekly):
    model = fit([100 + 2 * day for day in range(28)], is_weekly=is_weekly)

    assert model.means(7) == pytest.approx([156, 158, 160, 162, 164, 166, 168])
    assert band(model, 0, 7) == pytest.approx((1134, 1134, 1134))


def test_a_week_goes_on_as_it_was():
    model = fit([100, 100, 100, 100, 100, 50, 50] * 6)

    assert sum(model.means(7)) == pytest.approx(600)
    assert model.means(7)[5:] == pytest.approx([50, 50])


def test_a_noisy_month_has_known_bands():
    model = fit(NOISY)

    assert band(model, 0, 1) == pytest.approx((265.671, 254.363, 276.979), abs=6e-4)
    assert band(model, 0, 14) == pytest.approx((3570.65, 3503.80, 3637.50), abs=6e-3)
    assert model.sigma == pytest.approx(7.6877, abs=6e-5)


def test_the_reference_arithmetic_agrees(golden):
    golden = golden["fc_noisy"]
    model = fit(golden["series"])

    bands = [band(model, day, day + 1) for day in range(14)]

    assert model.means(14) == pytest.approx(golden["mean"], abs=6e-4)
    assert [low for _, low, _ in bands] == pytest.approx(golden["lo"], abs=6e-4)
    assert [high for _, _, high in bands] == pytest.approx(golden["hi"], abs=6e-4)


def test_four_days_of_five_lie_within_a_band_of_80_percent():
    design, held = Design(range(42), is_weekly=True), 0
    width = half_width(0.8, 34)
    for seed in range(400):
        noise = random.Random(seed)
        days = [200 + 1.5 * day - 60 * (day % 7 in (5, 6)) + noise.gauss(0, 12) for day in range(49)]
        model = design.fit(days[:42])
        held += sum(
            abs(days[42 + day] - mean) <= width * model.deviation(day, day + 1)
            for day, mean in enumerate(model.means(7))
        )

    assert 0.77 < held / 2800 < 0.83


def test_a_level_that_drifts_widens_the_band_of_a_sum():
    noise, days, level = random.Random(1), [], 0.0
    for _ in range(60):
        level = 0.8 * level + noise.gauss(0, 10)
        days.append(300 + level)

    model = fit(days)

    assert model.correlation > 0.4
    assert model.deviation(0, 14) > 1.5 * model.sigma * 14**0.5


def test_days_that_are_missing_change_no_weekday():
    days = [day for day in range(42) if day not in (10, 17, 18, 30)]

    model = Design(days, is_weekly=True).fit([100.0 - 50 * (day % 7 in (5, 6)) + day for day in days])

    assert model.means(7) == pytest.approx([100 - 50 * (day % 7 in (5, 6)) + day for day in range(42, 49)])


@pytest.mark.parametrize("days", [[0, 1], [day for day in range(40) if day % 7 != 3]])
def test_days_that_do_not_tell_all_are_refused(days):
    with pytest.raises(ValueError, match=r"few|never seen"):
        Design(days, is_weekly=True)


@given(amounts, st.integers(1, 40), st.floats(0.05, 0.98))
def test_a_band_holds_its_mean_and_widens_with_its_probability(days, ahead, coverage):
    model = fit(days)

    mean, low, high = band(model, 0, ahead, coverage)
    _, lower, higher = band(model, 0, ahead, coverage + 0.01)

    assert lower <= low <= mean <= high <= higher


@given(amounts, st.integers(1, 40), st.floats(0, 1e5))
def test_what_every_day_gains_the_sum_gains_that_often(days, ahead, more):
    before, after = fit(days), fit([day + more for day in days])

    assert sum(after.means(ahead)) - sum(before.means(ahead)) == pytest.approx(ahead * more, abs=1e-2)


@given(amounts, st.integers(2, 40))
def test_a_sum_is_told_no_worse_than_its_days_together(days, ahead):
    model = fit(days)

    together = sum(model.deviation(day, day + 1) for day in range(ahead))

    assert model.deviation(0, ahead) <= together * (1 + 1e-9)


@given(st.lists(st.floats(-500, 500), min_size=7, max_size=7), st.floats(-5, 5), st.integers(3, 8))
def test_weekdays_are_found_again(week, slope, weeks):
    def real(day):
        return 1000 + week[day % 7] + slope * day

    model = fit([real(day) for day in range(7 * weeks)])

    assert model.means(7) == pytest.approx([real(7 * weeks + day) for day in range(7)], abs=1e-6)


@pytest.mark.parametrize(
    ("coverage", "freedom", "width"),
    [
        (0.8, 1, 3.0776835371752544),
        (0.8, 5, 1.4758840488244815),
        (0.8, 34, 1.30695158712643),
        (0.8, 400, 1.2836715995703045),
        (0.95, 5, 2.5705818356363146),
        (0.999, 2, 31.599054576443616),
    ],
)
def test_the_quantiles_of_students_t_are_exact(coverage, freedom, width):
    assert half_width(coverage, freedom) == pytest.approx(width, rel=1e-11)


@given(st.floats(-50, 50), st.integers(1, 1000))
def test_what_lies_below_and_above_is_all(t, freedom):
    assert below(t, freedom) + below(-t, freedom) == pytest.approx(1, abs=1e-12)


@given(st.floats(0.01, 0.99), st.floats(0.2, 200), st.floats(0.2, 200))
def test_the_incomplete_beta_rises_from_0_to_1(x, a, b):
    assert 0 <= incomplete_beta(0.99 * x, a, b) <= incomplete_beta(x, a, b) * (1 + 1e-9) <= 1 + 1e-9


@pytest.mark.parametrize(("coverage", "freedom"), [(0, 3), (1, 3), (0.8, 0)])
def test_no_band_is_certain_and_none_comes_from_nothing(coverage, freedom):
    with pytest.raises(ValueError, match="coverage"):
        half_width(coverage, freedom)
