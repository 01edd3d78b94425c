"""Dividing the engine's time among those who used it."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.share import Meter


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_who_runs_alone_has_all_of_the_time_and_who_has_company_a_part_for_each_answer() -> None:
    clock = Clock()
    meter = Meter(clock)
    clock.now_s += 100  # nobody's

    with meter.running(1) as first:
        clock.now_s += 2
        with meter.running(3) as second:
            clock.now_s += 4
            shares = first(), second()
        clock.now_s += 1

        assert shares == (pytest.approx(3), pytest.approx(3))
        assert first() == pytest.approx(4)


@given(st.lists(st.tuples(st.integers(1, 4), st.floats(0, 100), st.booleans()), max_size=30))
def test_all_shares_together_are_the_time_in_which_anything_ran(
    steps: Sequence[tuple[int, float, bool]],
) -> None:
    clock = Clock()
    meter = Meter(clock)
    running = []
    busy_s = told_s = 0.0

    for answers, seconds, ends_one in steps:
        entry = meter.running(answers)
        running.append((entry, entry.__enter__()))
        clock.now_s += seconds
        busy_s += seconds
        if ends_one:
            entry, share = running.pop(0)
            told_s += share()
            entry.__exit__(None, None, None)
        if not running:
            clock.now_s += 7
    told_s += sum(share() for _, share in running)

    assert told_s == pytest.approx(busy_s)
