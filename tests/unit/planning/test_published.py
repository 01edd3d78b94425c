"""What was measured and published stands where the planner's numbers say that it may."""

import pytest

from bench.planner import run as published


@pytest.fixture(scope="module")
def cells():
    return [(row, published.predicted(row), int(row["max_context"])) for row in published.measured()]


def test_a_server_started_wherever_the_planner_says_that_it_fits_and_nowhere_else(cells):
    assert len(cells) == 64
    assert all((predicted > 0) == (measured > 0) for _, predicted, measured in cells)


def test_the_longest_context_is_an_upper_bound_and_mostly_met(cells):
    assert all(predicted >= measured for _, predicted, measured in cells)
    over = {(row["gpus"], row["model"]) for row, predicted, measured in cells if predicted > measured}
    assert over == {("1", "Llama-3.1-70B"), ("4", "Mixtral-8x22B")}


def test_no_server_was_faster_than_its_bound(cells):
    assert all(float(row["tokens_s"]) <= published.bound(row) for row, _, _ in cells if row["tokens_s"])


def test_calculators_without_grouped_heads_are_off_by_the_factors_that_the_page_says():
    of = published.model("llama-3-8b").architecture
    true = of.kv(8192).value

    factors = {name: round(formula(of, 8192) / true, 2) for name, formula in published.CACHES.items()}

    assert factors == {
        "this planner": 1,
        "EleutherAI/cookbook 069ae2e": 2,
        "RahulSChand/gpu_poor ad2fc0e": 8,
        "sterlenjohnson/ViVi-Buddy": 4,
        "microsoft/vidur 7d47513": 1,
    }
