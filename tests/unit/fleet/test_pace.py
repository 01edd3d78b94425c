"""What a full server makes, as it is learnt from servers that are not full."""

import random
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fleet.pace import Counts, Pace, supposed_share


def counted(running: float, speed: float, *, is_queued: bool = False) -> Counts:
    counts = Counts(over_s=60)
    for now_s in range(0, 61, 2):
        counts.add(now_s, now_s * speed, running=running, is_queued=is_queued)
    return counts


def batching(read_s: float, each_s: float) -> Callable[[float], float]:
    """Tokens per second of a server that reads its weights in `read_s` and spends `each_s` on each request."""
    return lambda running: running / (read_s + each_s * running)


def taught(speed: Callable[[float], float], numbers: Iterable[float]) -> Pace:
    pace = Pace()
    for now_s, running in enumerate(numbers):
        pace.forget(now_s * 10)
        pace.learn(counted(running, speed(running)))
    return pace


def test_a_full_server_s_speed_is_known_from_half_full_ones() -> None:
    speed, chance = batching(0.005, 0.0003), random.Random(1)

    pace = taught(speed, (chance.uniform(4, 12) for _ in range(100)))

    assert pace.full_speed(32) == pytest.approx(speed(32))


def test_noise_does_not_mislead_it_much() -> None:
    speed, chance = batching(0.005, 0.0003), random.Random(2)

    pace = taught(
        lambda running: speed(running) * chance.uniform(0.95, 1.05),
        (chance.uniform(4, 20) for _ in range(300)),
    )

    assert pace.full_speed(32) == pytest.approx(speed(32), rel=0.1)


def test_that_requests_are_only_sampled_does_not_make_a_slope() -> None:
    """A server with one place does in twice the time twice as much, however few samples tell that it was busy."""
    pace, chance = Pace(), random.Random(3)

    for now_s in range(2000):
        busy = chance.uniform(0.3, 0.9)
        pace.forget(now_s)
        pace.learn(counted(sum(chance.random() < busy for _ in range(24)) / 24, busy * 100))

    assert pace.full_speed(1) == pytest.approx(100, rel=0.1)


def test_one_number_of_requests_says_nothing_of_others() -> None:
    assert taught(batching(0.005, 0.0003), [8.0] * 100).full_speed(32) is None
    assert Pace().full_speed(32) is None


def test_what_was_longer_ago_counts_less_and_less() -> None:
    slow, fast = batching(0.02, 0.001), batching(0.005, 0.0003)
    pace = taught(slow, (4.0 + each % 9 for each in range(100)))

    for now_s in range(1000, 30_000, 10):
        pace.forget(now_s)
        pace.learn(counted(4 + now_s / 10 % 9, fast(4 + now_s / 10 % 9)))

    assert pace.full_speed(32) == pytest.approx(fast(32), rel=0.02)


def test_where_places_are_unknown_a_server_is_full_when_requests_wait_in_it() -> None:
    pace = Pace()

    pace.learn(counted(8, 500))
    before = pace.full_speed(None)
    pace.learn(counted(40, 900, is_queued=True))

    assert before is None
    assert pace.full_speed(None) == pytest.approx(900)


def test_counters_that_begin_anew_are_no_speed() -> None:
    counts = counted(4, 100)

    counts.add(62, 10, running=4, is_queued=False)
    at_once = counts.speed
    counts.add(64, 210, running=4, is_queued=False)

    assert (at_once, counts.speed) == (None, 100)


def test_before_anything_is_known_half_the_places_are_three_quarters_of_the_work() -> None:
    assert supposed_share(16, 32) == pytest.approx(0.79, abs=0.01)
    assert [supposed_share(running, 1) for running in (0, 0.5, 1, 2)] == [0, 0.5, 1, 1]
    assert supposed_share(32, 32) == 1


amounts = st.floats(0, 1e15)


@given(st.lists(st.tuples(amounts, amounts, st.booleans()), max_size=20), st.floats(1, 1e15))
def test_whatever_it_is_taught_a_full_server_makes_something_finite(
    told: list[tuple[float, float, bool]], places: float
) -> None:
    pace = Pace()

    for now_s, (running, speed, is_queued) in enumerate(told):
        pace.forget(now_s)
        pace.learn(counted(running, speed, is_queued=is_queued))

    for full in (pace.full_speed(places), pace.full_speed(None)):
        assert full is None or 0 < full < float("inf")
