"""The simulated fleet of bench/worker: where theory knows the answer, it gives it."""

import math

import pytest

from bench.worker.day import Fixed
from bench.worker.simulated import Fleet, Moment, Simulation, arrivals, figures

HOUR_S = 3600.0


class UpThenDown:
    def wanted(self, seen: Moment) -> int:
        return 6 if seen.now_s < HOUR_S / 2 else 2


def hour(fleet: Fleet, scaler: Fixed | UpThenDown, rate: float, first: int) -> Simulation:
    simulation = Simulation(fleet, scaler, every_s=5, warm_up_s=120, seed=1)
    simulation.run(lambda at_s: rate, rate, first, until_s=HOUR_S)
    return simulation


def test_a_fixed_fleet_is_as_full_as_its_share_of_the_rate() -> None:
    fleet = Fleet("", 1.0)

    told = figures(fleet, hour(fleet, Fixed(10), 5.0, 10).day)

    assert told.places == pytest.approx(0.5, abs=0.03)
    assert told.service_s == pytest.approx(1.0, rel=0.03)
    assert told.refused == 0


def test_servers_that_batch_slow_down_and_get_more_done() -> None:
    fleet = Fleet("", 10.0, 32, (32 / 12 - 1) / 31)

    assert 32 * fleet.speed(32) == pytest.approx(10.0)
    assert 32 * fleet.speed(32) / fleet.speed(1) == pytest.approx(12)


def test_every_request_is_served_refused_or_still_there() -> None:
    fleet = Fleet("", 1.0, 4, 0.5)

    simulation = hour(fleet, Fixed(3), 5.0, 3)

    came = sum(at_s <= HOUR_S - 5 for at_s in arrivals(lambda at_s: 5.0, 5.0, 1, HOUR_S))
    there = sum(server.count for servers in simulation._ready for server in servers)
    assert len(simulation.day.served_s) + simulation.day.refused + there == came
    assert simulation.day.refused > 0


def test_what_starts_is_paid_for_and_what_leaves_serves_to_the_end() -> None:
    fleet = Fleet("", 0.1)

    day = hour(fleet, UpThenDown(), 0.02, 2).day

    assert day.most == 6
    assert math.isclose(day.paid_s, HOUR_S * 4, rel_tol=0.05)
    assert day.turns == 1
    assert day.refused == 0
