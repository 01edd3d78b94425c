"""How a model worker is watched and started again: over a process that does as it is told, and a clock that is moved."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.cli.supervisor import (
    EVERY_S,
    KILL_AFTER_S,
    SILENT_S,
    START_S,
    WELL_S,
    Health,
    Supervisor,
    told,
)
from gateway.clock import ManualClock
from tests.fixtures.replicas import at_once

TICK_S = 0.5


class ScriptedWorker:
    """Starts at once; tests say what becomes of it."""

    name = "worker `own`: own"
    log = Path("worker-own.log")

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.exit_code: int | None = None
        self.is_well = True
        self.otherwise: Health = "silent"
        """What it is when it is not well."""
        self.heeds_sigterm = True
        self.dies_at_once = False
        self.refusals: list[OSError] = []
        self.will_complain = ""
        self.events: list[tuple[str, float]] = []
        """What was done to it, and when."""

    def start(self) -> None:
        self._note("start")
        if self.refusals:
            raise self.refusals.pop()
        self.exit_code = 1 if self.dies_at_once else None

    def health(self) -> Health:
        return "ready" if self.is_well else self.otherwise

    def terminate(self) -> None:
        self._note("terminate")
        if self.heeds_sigterm:
            self.exit_code = 0

    def kill(self) -> None:
        self._note("kill")
        self.exit_code = -9

    def complaint(self) -> str:
        return self.will_complain

    def _note(self, what: str) -> None:
        self.events.append((what, self._clock.monotonic()))


class Watched:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.worker = ScriptedWorker(self.clock)
        self.said: list[str] = []
        self.supervisor = Supervisor(self.worker, self.clock, self.said.append, at_once)
        self.supervisor.start()

    def passes(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK_S)):
            self.clock.advance(TICK_S)
            self.supervisor.look()

    def times(self, what: str) -> Sequence[float]:
        return [at for event, at in self.worker.events if event == what]


@pytest.fixture
def watched() -> Watched:
    """It is well already."""
    watched = Watched()
    watched.supervisor.look()
    watched.worker.events.clear()
    return watched


def pauses(watched: Watched) -> list[str]:
    """As they were announced."""
    return [line.split(" in ")[1].split(" s;")[0] for line in watched.said if "starting it again" in line]


@pytest.mark.fault("S19")
def test_a_worker_that_died_is_started_again_after_a_second(watched: Watched) -> None:
    watched.worker.exit_code = -11

    watched.passes(5)

    died, well = watched.said
    assert died == (
        "worker `own`: own ended with exit code -11 (Segmentation fault); starting it again in 1 s; "
        "see worker-own.log"
    )
    assert well == "worker `own`: own is well again"
    assert len(watched.times("start")) == 1


@pytest.mark.fault("S19")
def test_pauses_double_up_to_a_minute_and_never_end(watched: Watched) -> None:
    watched.worker.dies_at_once = True
    watched.worker.exit_code = 1

    watched.passes(24 * 3600)

    assert pauses(watched)[:9] == ["1", "2", "4", "8", "16", "32", "60", "60", "60"]
    starts = watched.times("start")
    assert starts[-1] - starts[-2] == pytest.approx(60, abs=2 * TICK_S)


def test_a_minute_in_good_health_begins_the_pauses_anew(watched: Watched) -> None:
    for _ in range(3):
        watched.worker.exit_code = 1
        watched.passes(10)
    watched.passes(WELL_S)

    watched.worker.exit_code = 1
    watched.passes(10)

    assert pauses(watched) == ["1", "2", "4", "1"]


def test_an_hour_in_which_it_never_was_well_does_not(watched: Watched) -> None:
    watched.worker.is_well = False
    watched.worker.exit_code = 1
    watched.passes(START_S - 10)

    watched.worker.exit_code = 1
    watched.passes(10)

    assert pauses(watched) == ["1", "2"]


@pytest.mark.fault("S20")
def test_a_worker_that_is_not_well_for_too_long_is_stopped_and_started_again(watched: Watched) -> None:
    watched.worker.is_well = False

    watched.passes(SILENT_S + 2 * EVERY_S)

    assert watched.said[0] == "worker `own`: own has not been well for 30 s; stopping it"
    assert "ended with exit code 0; starting it again in 1 s" in watched.said[1]
    assert [event for event, _ in watched.worker.events] == ["terminate", "start"]


@pytest.mark.fault("S20")
def test_one_that_does_not_hear_is_killed(watched: Watched) -> None:
    watched.worker.is_well = watched.worker.heeds_sigterm = False

    watched.passes(SILENT_S + 2 * EVERY_S + KILL_AFTER_S)

    asked, killed = watched.times("terminate")[0], watched.times("kill")[0]
    assert killed - asked == pytest.approx(KILL_AFTER_S, abs=TICK_S)
    assert "ended with exit code -9 (Killed); starting it again in 1 s" in watched.said[1]


def test_a_short_silence_is_forgotten(watched: Watched) -> None:
    for is_well in (False, True, False, True):
        watched.worker.is_well = is_well
        watched.passes(SILENT_S - EVERY_S)

    assert watched.worker.events == []
    assert watched.said == []


def test_time_in_which_nobody_looked_is_no_silence(watched: Watched) -> None:
    watched.clock.advance(3600)
    watched.worker.is_well = False

    watched.passes(SILENT_S - EVERY_S)

    assert watched.worker.events == []


def test_a_worker_that_loads_again_has_as_long_as_the_first_time(watched: Watched) -> None:
    watched.worker.exit_code = 1
    watched.worker.is_well = False

    watched.passes(START_S)
    assert watched.times("terminate") == []
    watched.passes(10)

    assert len(watched.times("terminate")) == 1
    assert "worker `own`: own has not been well for 600 s; stopping it" in watched.said


def test_a_machine_that_has_no_room_for_a_process_is_asked_again(watched: Watched) -> None:
    watched.worker.refusals = [OSError(12, "Cannot allocate memory")]
    watched.worker.exit_code = -9

    watched.passes(10)

    assert "cannot be started: Cannot allocate memory; starting it again in 2 s" in watched.said[1]
    assert watched.said[-1] == "worker `own`: own is well again"


def test_what_it_says_has_to_be_changed_is_passed_on(watched: Watched) -> None:
    watched.worker.exit_code = 2
    watched.worker.will_complain = "--model m.gguf: there is no such file"

    watched.passes(1)

    assert "ended with exit code 2: --model m.gguf: there is no such file; starting" in watched.said[0]


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("dies", "ended with exit code 1"),
        ("cannot be started", "cannot be started: Cannot allocate memory"),
        ("hangs", "was not ready within 600 s"),
    ],
)
def test_one_that_never_was_well_is_left_to_who_started_it(what: str, why: str) -> None:
    watched = Watched()
    watched.worker.is_well = False
    watched.worker.dies_at_once = what == "dies"
    watched.worker.refusals = [OSError(12, "Cannot allocate memory")] if what == "cannot be started" else []

    watched.supervisor.start()
    watched.passes(START_S + EVERY_S)

    assert watched.supervisor.failure == why
    assert watched.said == []
    assert len(watched.times("start")) == 2


def test_one_that_misses_a_look_stays_ready(watched: Watched) -> None:
    watched.worker.is_well = False

    watched.passes(2 * EVERY_S)

    assert watched.supervisor.state == "ready"


def test_one_that_says_it_is_unready_is_not_ready(watched: Watched) -> None:
    watched.worker.is_well, watched.worker.otherwise = False, "unready"

    watched.passes(2 * EVERY_S)

    assert watched.supervisor.state == "unwell"


@pytest.mark.fault("S19")
def test_one_that_drains_on_its_own_gets_no_requests_and_all_its_time(watched: Watched) -> None:
    watched.worker.is_well, watched.worker.otherwise = False, "leaving"

    watched.passes(10 * SILENT_S)

    assert watched.supervisor.state == "unwell"
    assert watched.worker.events == []


def test_a_pause_is_told_apart_from_a_start(watched: Watched) -> None:
    watched.worker.exit_code = 1
    watched.passes(TICK_S)
    assert watched.supervisor.state == "waiting"

    watched.worker.is_well = False
    watched.passes(2)

    assert watched.supervisor.state == "starting"
    assert watched.supervisor.restarts == 1


def test_an_exit_by_a_signal_is_named() -> None:
    assert told(1) == "exit code 1"
    assert told(-6) == "exit code -6 (Aborted)"
