"""When an upstream is left alone, and how it is taken back."""

import pytest

from gateway.clock import ManualClock
from gateway.upstreams.breaker import Breaker, judge
from gateway.upstreams.contract import UpstreamError

pytestmark = pytest.mark.fault("S3")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def breaker(clock: ManualClock) -> Breaker:
    return Breaker(clock, random=lambda: 0.5)


def fail(breaker: Breaker, times: int = 5) -> None:
    for _ in range(times):
        breaker.permit()
        breaker.record("failed")


def test_four_failures_in_a_row_are_borne_and_the_fifth_is_not(breaker: Breaker) -> None:
    fail(breaker, 4)
    after_four = breaker.permit()
    breaker.record("failed")

    assert (after_four, breaker.is_open, breaker.permit()) == (True, True, False)


def test_a_success_breaks_the_row(breaker: Breaker) -> None:
    fail(breaker, 4)
    breaker.record("ok")
    fail(breaker, 4)

    assert not breaker.is_open


def test_a_call_that_says_nothing_of_the_server_changes_nothing(breaker: Breaker) -> None:
    fail(breaker, 4)
    breaker.record("unknown")
    fail(breaker, 1)

    assert breaker.is_open


def test_half_of_twenty_calls_in_ten_seconds_are_too_many(breaker: Breaker) -> None:
    for _ in range(9):
        breaker.record("ok")
        breaker.record("failed")
    breaker.record("ok")
    before = breaker.is_open
    breaker.record("failed")

    assert (before, breaker.is_open) == (False, True)


def test_calls_of_more_than_ten_seconds_ago_are_forgotten(breaker: Breaker, clock: ManualClock) -> None:
    for _ in range(9):
        breaker.record("failed")
        breaker.record("ok")
    breaker.record("ok")
    clock.advance(11)
    fail(breaker, 1)

    assert not breaker.is_open


def test_after_the_cool_down_one_call_at_a_time_may_try(breaker: Breaker, clock: ManualClock) -> None:
    fail(breaker)
    clock.advance(0.9)
    too_early = breaker.permit()
    clock.advance(0.2)

    assert (too_early, breaker.is_open) == (False, False)
    assert (breaker.permit(), breaker.permit(), breaker.is_open) == (True, False, True)


def test_a_trial_that_succeeds_takes_the_server_back(breaker: Breaker, clock: ManualClock) -> None:
    fail(breaker)
    clock.advance(1.1)
    breaker.permit()
    breaker.record("ok")

    fail(breaker, 4)

    assert not breaker.is_open


def test_a_trial_that_has_begun_to_answer_lets_the_others_in(breaker: Breaker, clock: ManualClock) -> None:
    fail(breaker)
    clock.advance(1.1)
    breaker.permit()

    breaker.answered()

    assert breaker.permit()


def test_a_trial_that_says_nothing_makes_room_for_another(breaker: Breaker, clock: ManualClock) -> None:
    fail(breaker)
    clock.advance(1.1)
    breaker.permit()

    breaker.record("unknown")

    assert breaker.permit()


def test_each_failed_trial_doubles_the_cool_down_up_to_a_minute(breaker: Breaker, clock: ManualClock) -> None:
    fail(breaker)
    waits = []
    for _ in range(1100):
        waited = 0
        while breaker.is_open:
            clock.advance(1)
            waited += 1
        waits.append(waited)
        fail(breaker, 1)

    assert waits[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert waits[-1] == 60


def test_a_success_makes_the_next_cool_down_short_again(breaker: Breaker, clock: ManualClock) -> None:
    fail(breaker)
    clock.advance(1.1)
    fail(breaker, 1)
    clock.advance(2.1)
    breaker.permit()
    breaker.record("ok")

    fail(breaker)
    clock.advance(1.1)

    assert breaker.permit()


@pytest.mark.parametrize(("chance", "cool_down_s"), [(0.0, 0.75), (1.0, 1.25)])
def test_chance_spreads_the_cool_down(clock: ManualClock, chance: float, cool_down_s: float) -> None:
    breaker = Breaker(clock, random=lambda: chance)
    fail(breaker)

    clock.advance(cool_down_s - 0.01)
    before = breaker.is_open
    clock.advance(0.02)

    assert (before, breaker.is_open) == (True, False)


def test_answers_to_calls_made_before_it_opened_do_not_close_it(breaker: Breaker) -> None:
    fail(breaker)

    breaker.record("ok")
    breaker.answered()

    assert breaker.is_open


@pytest.mark.parametrize(("asked_s", "given_s"), [(3, 3), (500, 60)])
def test_a_server_that_asks_for_rest_gets_it(
    breaker: Breaker, clock: ManualClock, asked_s: float, given_s: float
) -> None:
    breaker.rest(asked_s)

    clock.advance(given_s - 0.1)
    before = breaker.permit()
    clock.advance(0.2)

    assert (before, breaker.permit()) == (False, True)


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (UpstreamError("connect", ""), "failed"),
        (UpstreamError("timeout", "", may_have_charged=True), "failed"),
        (UpstreamError("timeout", ""), "unknown"),
        (UpstreamError("interrupted", ""), "failed"),
        (UpstreamError("invalid", ""), "failed"),
        (UpstreamError("refused", "", status=500), "failed"),
        (UpstreamError("refused", ""), "failed"),
        (UpstreamError("refused", "", status=400), "ok"),
        (UpstreamError("refused", "", status=401), "ok"),
        (UpstreamError("busy", "", status=503), "failed"),
        (UpstreamError("busy", "", status=429), "unknown"),
        (UpstreamError("busy", "", status=529), "failed"),
        (UpstreamError("busy", ""), "unknown"),
        (UpstreamError("untranslatable", "", status=400), "unknown"),
    ],
)
def test_only_the_servers_own_failures_count(error: UpstreamError, verdict: str) -> None:
    assert judge(error) == verdict
