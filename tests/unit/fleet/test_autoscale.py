"""How many servers the load asks for: what the autoscaler promises whatever it is told, and what it does on traces."""

import itertools
import math
import random
from collections.abc import Callable, Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Autoscale
from gateway.fleet.autoscale import Autoscaler
from gateway.fleet.contract import Load

STEP_S = 2.0


def settings(**changes: float) -> Autoscale:
    return msgspec.convert({"max": 10, "target": 0.75, "average_s": 60, "burst_s": 10} | changes, Autoscale)


def fleet(*running: float, queued: float = 0, slots: float = 8) -> dict[str, Load | None]:
    """So many running in each; what waits does so in the first."""
    return {
        f"big-{number}": Load(running=each, queued=queued if number == 0 else 0, slots=slots)
        for number, each in enumerate(running)
    }


def spread(work: float, servers: int, *, slots: float = 8) -> dict[str, Load | None]:
    """So many requests over these servers, of which those that find no place wait."""
    running = min(work, servers * slots)
    return fleet(*[running / servers] * servers, queued=work - running, slots=slots)


class Fleet:
    """Servers that do as the autoscaler says, and are ready `warm_up_s` after they were asked for."""

    def __init__(self, scaling: Autoscale, servers: int, warm_up_s: float = 120.0) -> None:
        self.autoscaler = Autoscaler(scaling)
        self.now_s = 0.0
        self.ready = servers
        self.starting: list[float] = []
        self.warm_up_s = warm_up_s
        self.history: list[int] = []

    def run(self, seconds: float, work: Callable[[float], float]) -> None:
        """`work`: how many requests there are at a time."""
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.ready += sum(at_s <= self.now_s for at_s in self.starting)
            self.starting = [at_s for at_s in self.starting if at_s > self.now_s]
            loads = spread(work(self.now_s), self.ready)
            desired = self.autoscaler.observe(self.now_s, loads, starting=len(self.starting)).servers
            self.history.append(desired)
            self.change(desired - self.ready - len(self.starting))
            self.now_s += STEP_S

    def change(self, by: int) -> None:
        if by > 0:
            self.starting += [self.now_s + self.warm_up_s] * by
        self.ready += min(by, 0)


def turns(history: Sequence[int]) -> int:
    steps = [after - before for before, after in itertools.pairwise(history) if after != before]
    return sum((a > 0) != (b > 0) for a, b in itertools.pairwise(steps))


def settled(servers: int, **changes: float) -> Autoscaler:
    """That has seen a fleet at its target long enough to know no other."""
    autoscaler = Autoscaler(settings(**changes))
    for step in range(200):
        autoscaler.observe(step * STEP_S - 400, spread(6 * servers, servers))
    assert autoscaler.desired == servers
    return autoscaler


def test_servers_at_their_target_stay_as_many() -> None:
    fleet_ = Fleet(settings(), 4)

    fleet_.run(3600, lambda now_s: 24)

    assert set(fleet_.history) == {4}


def test_a_rise_asks_for_more_within_two_steps() -> None:
    autoscaler = settled(2)

    asked = [autoscaler.observe(60.0 * step, spread(16 + 8, 2)).servers for step in (1, 2)]

    assert asked[-1] == 4


def test_what_waits_is_answered_before_the_average_has_risen() -> None:
    autoscaler = settled(4, burst_s=10, average_s=300)

    asked = [autoscaler.observe(STEP_S * step, spread(48, 4)).servers for step in range(6)]

    assert asked[-1] == 6


def test_one_moment_s_queue_starts_nothing() -> None:
    autoscaler = settled(4)

    first = autoscaler.observe(0, spread(40, 4)).servers
    then = [autoscaler.observe(STEP_S * step, spread(24, 4)).servers for step in range(1, 60)]

    assert {first, *then} == {4}


def test_a_fall_is_followed_after_the_cool_down_and_not_before() -> None:
    autoscaler = settled(8, average_s=60, down_after_s=300)

    history = [
        (step * STEP_S, autoscaler.observe(step * STEP_S, spread(12, 8)).servers) for step in range(300)
    ]

    first_s = next(at_s for at_s, servers in history if servers < 8)
    assert 300 <= first_s <= 300 + 60
    assert history[-1][1] < 8


def test_servers_go_one_after_the_other_so_that_what_it_does_to_the_rest_is_seen() -> None:
    autoscaler = settled(40, max=50, average_s=60, down_after_s=300)

    history = [autoscaler.observe(step * STEP_S, spread(0, 40)).servers for step in range(1200)]

    falls = [step for step in range(1, 1200) if history[step] < history[step - 1]]
    assert all(history[step] >= history[step - 1] - max(1, history[step - 1] // 10) for step in falls)
    assert all((later - earlier) * STEP_S >= 60 for earlier, later in itertools.pairwise(falls))
    assert history[-1] < 10


def test_a_short_pause_stops_nothing() -> None:
    fleet_ = Fleet(settings(), 8)
    fleet_.run(600, lambda now_s: 48)

    fleet_.run(240, lambda now_s: 0)
    fleet_.run(600, lambda now_s: 48)

    assert set(fleet_.history) == {8}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("work", [9.0, 23.9, 30.0, 50.0])
def test_noise_of_five_percent_makes_it_turn_round_twice_an_hour_at_most(work: float, seed: int) -> None:
    chance = random.Random(seed)
    fleet_ = Fleet(settings(), 4)
    fleet_.run(900, lambda now_s: work)
    before = len(fleet_.history)

    fleet_.run(3600, lambda now_s: work * chance.uniform(0.95, 1.05))

    assert turns(fleet_.history[before:]) <= 2


def test_requests_per_second_of_the_articles_give_their_numbers_of_servers() -> None:
    """KEDA's 1 to 10 servers at 10 requests per second each: 35/s are 4, 95/s 10, none 1."""
    for rate, expected in ((35, 4), (95, 10), (0, 1)):
        autoscaler = Autoscaler(settings(target=1, tolerance=0, places_each=10))
        loads: dict[str, Load | None] = {str(number): Load(running=rate / 5) for number in range(5)}

        desired = [autoscaler.observe(at_s, loads) for at_s in range(900)][-1]

        assert desired.servers == expected


def test_a_queue_asks_for_twice_as_many_and_then_waits_to_see() -> None:
    autoscaler = settled(4, max=1000, burst_s=STEP_S)

    assert autoscaler.observe(2, spread(32 + 10_000, 4)).servers == 8
    assert autoscaler.observe(4, spread(32 + 10_000, 4)).servers == 8
    assert autoscaler.observe(6, spread(64 + 10_000, 8)).servers == 16


def test_starting_servers_count_as_there() -> None:
    autoscaler = Autoscaler(settings())

    desired = autoscaler.observe(0, spread(6, 1), starting=3)

    assert desired.servers == 4


def test_before_any_reading_there_are_to_be_as_many_as_there_are() -> None:
    autoscaler = Autoscaler(settings(min=2))

    asked = [
        autoscaler.observe(0, {}, starting=3).servers,
        autoscaler.observe(2, {"a": None}, starting=2).servers,
        autoscaler.observe(4, {"a": Load()}, starting=0).servers,
    ]

    assert asked == [3, 3, 2]
    assert autoscaler.desired is None


@pytest.mark.fault("S20")
def test_servers_that_tell_nothing_stay() -> None:
    autoscaler = settled(5)

    for step in range(500):
        autoscaler.observe(step * STEP_S, {f"big-{number}": None for number in range(5)})
        desired = autoscaler.observe(step * STEP_S + 1, {}).servers

    assert desired == 5


def test_one_silent_server_is_kept_beside_those_that_can_go() -> None:
    autoscaler = settled(5)

    for step in range(800):
        desired = autoscaler.observe(step * STEP_S, fleet(2, 2, 0, 0) | {"big-9": None}).servers

    assert desired == 2


def test_a_silent_server_is_taken_to_be_as_busy_as_the_others() -> None:
    autoscaler = settled(2, burst_s=STEP_S)

    desired = autoscaler.observe(2, fleet(8, queued=4) | {"big-9": None}).servers

    assert desired == 3


@pytest.mark.parametrize("figure", [math.nan, math.inf, -math.inf, -1.0])
def test_figures_that_are_none_are_ignored(figure: float) -> None:
    broken = Load(
        running=figure,
        queued=figure,
        slots=figure,
        kv_use=figure,
        generated_tokens=figure,
        prompt_tokens=figure,
    )
    autoscaler = settled(3)

    for step in range(500):
        desired = autoscaler.observe(step * STEP_S, dict.fromkeys("abc", broken)).servers

    assert desired == 3


def test_after_a_long_gap_nothing_is_stopped_at_once() -> None:
    autoscaler = settled(6)

    asked = [autoscaler.observe(10_000 + step, spread(0, 6)).servers for step in range(300)]

    assert set(asked) == {6}


def test_a_server_that_does_not_tell_its_places_is_as_full_as_its_memory() -> None:
    autoscaler = settled(2, burst_s=STEP_S, average_s=STEP_S)

    desired = autoscaler.observe(2, {name: Load(running=90, queued=0, kv_use=0.98) for name in "ab"})

    assert desired.servers == 3


def test_places_can_be_said_for_servers_that_do_not_tell_them() -> None:
    autoscaler = Autoscaler(settings(places_each=64))

    desired = autoscaler.observe(0, {name: Load(running=64, queued=32, kv_use=0.2) for name in "ab"})

    assert desired.servers == 4


def test_tokens_per_second_near_what_a_server_can_ask_for_more_however_many_places_are_free() -> None:
    autoscaler = settled(2, tokens_per_s_each=1000)

    for step in range(1, 60):
        loads: dict[str, Load | None] = {
            name: Load(running=2, queued=0, slots=8, generated_tokens=980.0 * STEP_S * step) for name in "ab"
        }
        desired = autoscaler.observe(STEP_S * step, loads)

    assert desired.servers == 3


def test_nothing_is_stopped_for_free_places_alone_while_servers_that_batch_are_not_known() -> None:
    autoscaler = Autoscaler(settings())

    for step in range(400):
        load = Load(running=6, queued=0, slots=32, generated_tokens=300.0 * STEP_S * step)
        desired = autoscaler.observe(STEP_S * step, {"a": load, "b": load})

    assert desired.servers == 2


def test_the_speed_at_which_requests_wait_is_learnt_as_the_most_that_a_server_can() -> None:
    autoscaler = Autoscaler(settings(average_s=20, down_after_s=60))

    def at(step: int, *, queued: float, tokens: float) -> int:
        return autoscaler.observe(STEP_S * step, {"a": Load(queued=queued, generated_tokens=tokens)}).servers

    busy = [at(step, queued=3, tokens=1000.0 * step) for step in range(60)]
    idle = [at(step, queued=0, tokens=60_000.0 + 100 * (step - 60)) for step in range(60, 160)]

    assert busy[-1] > 1
    assert idle[-1] == 1


def test_counters_that_begin_anew_are_no_speed() -> None:
    autoscaler = settled(2, tokens_per_s_each=1000)

    for step in range(1, 500):
        tokens = 750.0 * STEP_S * (step % 50)
        desired = autoscaler.observe(
            STEP_S * step,
            {name: Load(running=4, queued=0, slots=8, generated_tokens=tokens) for name in "ab"},
        )

    assert desired.servers == 2


figures = st.one_of(st.none(), st.floats(), st.integers(0, 10_000).map(float))
loads_of_one = st.one_of(
    st.none(),
    st.builds(
        Load,
        running=figures,
        queued=figures,
        slots=figures,
        kv_use=figures,
        generated_tokens=figures,
        prompt_tokens=figures,
    ),
)
readings = st.lists(
    st.tuples(
        st.floats(0, 400),
        st.dictionaries(st.sampled_from("abcde"), loads_of_one, max_size=5),
        st.integers(0, 5),
    ),
    max_size=30,
)
bounds = st.tuples(st.integers(1, 6), st.integers(0, 20))


@given(readings, bounds, st.booleans())
def test_whatever_it_is_told_it_stays_within_its_bounds(
    told: list[tuple[float, dict[str, Load | None], int]], bounds: tuple[int, int], is_by_tokens: bool
) -> None:
    least, more = bounds
    speed = {"tokens_per_s_each": 100.0} if is_by_tokens else {}
    autoscaler, now_s = Autoscaler(settings(min=least, max=least + more, **speed)), 0.0

    for after_s, loads, starting in told:
        now_s += after_s
        desired = autoscaler.observe(now_s, loads, starting=starting)

        assert isinstance(desired.servers, int)
        assert least <= desired.servers <= least + more
        assert desired.reason
        assert "nan" not in desired.reason


sound = st.lists(
    st.tuples(st.floats(0.5, 60), st.lists(st.integers(0, 8), min_size=1, max_size=5)),
    min_size=1,
    max_size=20,
)


@given(sound, st.integers(0, 50), st.integers(0, 50))
def test_a_longer_queue_never_asks_for_fewer(
    told: list[tuple[float, list[int]]], queued: int, more: int
) -> None:
    shorter, longer = Autoscaler(settings()), Autoscaler(settings())

    now_s = 0.0
    for after_s, running in told:
        now_s += after_s
        few = shorter.observe(now_s, fleet(*running, queued=queued))
        many = longer.observe(now_s, fleet(*running, queued=queued + more))

        assert many.servers >= few.servers


@given(st.lists(st.floats(0, 30), min_size=1, max_size=60), st.floats(0.5, 20))
def test_fewer_only_when_nothing_asked_for_more_for_the_whole_cool_down(
    works: list[float], step_s: float
) -> None:
    autoscaler, now_s, asked_at = Autoscaler(settings(average_s=step_s, burst_s=step_s)), 0.0, (0.0, 4)
    autoscaler.observe(now_s, spread(24, 4))

    for work in works:
        now_s += step_s
        before = autoscaler.desired
        after = autoscaler.observe(now_s, spread(work, 4)).servers
        assert before is not None
        if work / 8 / 0.75 > before - 1:
            asked_at = (now_s, before)

        assert after >= before or now_s - asked_at[0] >= 300
