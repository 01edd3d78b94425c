"""The replicas of a worker: how many, on which GPUs, and how they give way to others; over processes that do as told."""

from collections.abc import Callable, Sequence

import msgspec
import pytest

from gateway.cli.fleet import Fleet, NeverReadyError
from gateway.cli.replica import NOTICE_S
from gateway.cli.supervisor import START_S
from gateway.clock import ManualClock
from gateway.config import Worker
from gateway.fleet.contract import Load
from tests.fixtures.replicas import LOADING_S, FakeLauncher, FakeProcess, at_once

TICK_S = 0.25


class Installation:
    def __init__(self, *, is_required: bool = False, **settings: object) -> None:
        self.clock = ManualClock()
        self.launcher = FakeLauncher(self.clock)
        self.said: list[str] = []
        self.settings = worker(**settings)
        self.fleet = Fleet(
            "big",
            self.settings,
            self.launcher,
            clock=self.clock,
            say=self.said.append,
            ask=at_once,
            is_required=is_required,
        )

    def passes(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK_S)):
            self.fleet.look()
            self.clock.advance(TICK_S)

    def becomes(self, **settings: object) -> None:
        self.settings = msgspec.structs.replace(self.settings, **settings)
        self.fleet.apply(self.settings)

    def until_settled(self) -> list[list[str]]:
        """The rosters on the way."""
        before = len(self.launcher.rosters)
        for _ in range(10_000):
            if self.fleet.is_settled:
                return self.launcher.rosters[before:]
            self.passes(TICK_S)
        raise AssertionError(self.said)

    @property
    def running(self) -> list[FakeProcess]:
        return [process for process in self.launcher.launched if process.pid is not None]

    @property
    def models(self) -> list[str]:
        return [process.model for process in self.running]

    @property
    def roster(self) -> list[str]:
        return self.launcher.rosters[-1]

    def process(self, label: str) -> FakeProcess:
        return [each for each in self.launcher.launched if each.label == label][-1]


def worker(**settings: object) -> Worker:
    return msgspec.convert({"model": "v1", "serves": ["big"], "drain_s": 60, **settings}, Worker)


def running(**settings: object) -> Installation:
    """All replicas are ready."""
    installation = Installation(**settings)
    installation.passes(LOADING_S + 2)
    assert installation.fleet.is_complete
    return installation


def test_replicas_start_together_and_are_listed_once_they_are_ready() -> None:
    installation = Installation(replicas=3)

    installation.passes(LOADING_S - 1)
    assert installation.launcher.rosters == [[]]
    installation.passes(2)

    assert installation.roster == ["big-1", "big-2", "big-3"]
    assert installation.said == []


def test_one_with_a_port_has_the_worker_s_name() -> None:
    assert running(port=8101).roster == ["big"]


@pytest.mark.fault("S19")
def test_a_replica_that_dies_leaves_the_roster_and_comes_back_on_its_gpus() -> None:
    installation = running(replicas=2, gpus=["0", "1"])
    died = installation.process("big-2")

    died.dies(-9)
    installation.passes(TICK_S)
    assert installation.roster == ["big-1"]
    installation.passes(LOADING_S + 3)

    assert installation.roster == ["big-1", "big-2"]
    assert installation.fleet.state.replicas[1].restarts == 1
    assert died.gpus == ("1",)
    assert len(installation.launcher.launched) == 2


@pytest.mark.fault("S20")
def test_a_replica_that_says_it_is_unwell_gets_no_requests_until_it_is_well_again() -> None:
    installation = running(replicas=2)
    installation.process("big-1").is_well = False
    installation.passes(3)
    assert installation.roster == ["big-2"]

    installation.process("big-1").is_well = True
    installation.passes(3)

    assert installation.roster == ["big-1", "big-2"]


def test_each_replica_has_gpus_of_its_own() -> None:
    installation = running(replicas=2, gpus=["0", "1", "2", "3"], gpus_each=2)

    assert [process.gpus for process in installation.running] == [("0", "1"), ("2", "3")]


def test_a_changed_model_is_rolled_out_without_a_moment_with_fewer_replicas() -> None:
    installation = running(replicas=2)

    installation.becomes(model="v2")
    rosters = installation.until_settled()

    assert installation.models == ["v2", "v2"]
    assert rosters == [["big-2", "big-3"], ["big-3", "big-1"]]
    assert installation.said[-1] == "worker `big` is changed: 2 replicas of v2"


def test_a_replaced_replica_has_two_seconds_without_new_requests_before_it_is_asked_to_end() -> None:
    installation = running()
    old = installation.process("big-1")

    installation.becomes(model="v2")
    while installation.roster != ["big-2"]:
        installation.passes(TICK_S)
    left_at = installation.clock.monotonic()
    installation.until_settled()

    assert old.terminated_at is not None
    assert old.terminated_at - left_at == pytest.approx(NOTICE_S, abs=2 * TICK_S)


def test_one_that_does_not_end_in_its_time_is_killed() -> None:
    installation = running(replicas=2, drain_s=1)
    stubborn = installation.process("big-2")
    stubborn.terminate = lambda: None  # type: ignore[method-assign]  # it does not hear

    installation.becomes(replicas=1)
    installation.passes(30)

    assert stubborn.exit_code == -9


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ("refused", "`big-3` ended with exit code 2: it takes 60 GiB, and 24 are free"),
        ("slow", f"`big-3` was not ready within {START_S:.0f} s"),
    ],
)
def test_a_model_that_does_not_start_changes_nothing_and_says_why(model: str, why: str) -> None:
    installation = running(replicas=2)

    installation.becomes(model=model)
    rosters = installation.until_settled()
    installation.passes(60)

    assert rosters == []
    assert installation.models == ["v1", "v1"]
    assert installation.said[-1] == f"worker `big` stays as it was, with v1: {why}; see worker-big-3.log"


def test_a_later_change_is_tried_again() -> None:
    installation = running()
    installation.becomes(model="refused")
    installation.until_settled()

    installation.becomes(model="v3")
    installation.until_settled()

    assert installation.fleet.failure == ""
    assert installation.roster == ["big-2"]


def test_what_was_changed_before_one_failed_goes_back() -> None:
    installation = running(replicas=2)
    installation.becomes(model="v2")
    while installation.roster != ["big-2", "big-3"]:
        installation.passes(TICK_S)

    installation.process("big-3").dies(-11)
    installation.until_settled()

    assert installation.models == ["v1", "v1"]
    assert any(
        line.startswith("worker `big` stays as it was, with v1: `big-3` does not stay well")
        for line in installation.said
    )


def test_a_change_on_the_way_can_be_changed() -> None:
    installation = running(replicas=2)
    installation.becomes(model="v2")
    installation.passes(LOADING_S + 2)

    installation.becomes(model="v3")
    installation.until_settled()
    installation.passes(10)

    assert installation.models == ["v3", "v3"]
    assert len(installation.roster) == 2


def test_with_stop_first_the_old_one_is_gone_before_the_new_one_starts() -> None:
    installation = running(replicas=2, rollout="stop_first", gpus=["0", "1"])

    installation.becomes(model="v2")
    most, rosters = 0, len(installation.launcher.rosters)
    while not installation.fleet.is_settled:
        installation.passes(TICK_S)
        most = max(most, len(installation.running))

    assert most == 2
    assert [(each.model, each.gpus) for each in installation.running] == [("v2", ("0",)), ("v2", ("1",))]
    assert min(map(len, installation.launcher.rosters[rosters:])) == 1


def test_with_stop_first_a_model_that_does_not_start_gives_the_place_back() -> None:
    installation = running(rollout="stop_first")

    installation.becomes(model="refused")
    installation.until_settled()

    assert installation.models == ["v1"]
    assert installation.roster == ["big-1"]
    assert "stays as it was, with v1" in installation.said[-1]


def test_a_port_is_free_before_the_next_process_wants_it() -> None:
    installation = running(port=8101)

    installation.becomes(model="v2")
    installation.until_settled()

    assert [each.label for each in installation.launcher.launched] == ["big", "big"]
    assert installation.models == ["v2"]


def test_a_spare_gpu_takes_the_new_one() -> None:
    installation = running(gpus=["0", "1"])

    installation.becomes(model="v2")
    installation.until_settled()

    assert installation.process("big-2").gpus == ("1",)


def test_without_a_spare_gpu_both_share_one_for_a_moment() -> None:
    installation = running(replicas=2, gpus=["0", "1"])

    installation.becomes(model="v2")
    installation.until_settled()
    installation.passes(10)

    assert sorted(each.gpus for each in installation.running) == [("0",), ("1",)]


def test_a_gpu_that_is_taken_from_a_worker_is_left() -> None:
    installation = running(replicas=2, gpus=["0", "1"])

    installation.becomes(gpus=("1", "2"))
    installation.until_settled()
    installation.passes(10)

    assert [each.gpus for each in installation.running] == [("1",), ("2",)]


def test_the_number_of_replicas_is_changed_without_touching_the_others() -> None:
    installation = running(replicas=2)
    first = installation.process("big-1")

    installation.becomes(replicas=4)
    installation.until_settled()
    assert installation.roster == ["big-1", "big-2", "big-3", "big-4"]
    installation.becomes(replicas=1)
    installation.until_settled()
    installation.passes(10)

    assert installation.running == [first]
    assert installation.said == [
        "worker `big`: 4 replicas instead of 2",
        "worker `big`: 1 replica instead of 4",
    ]


def test_one_more_that_does_not_start_is_tried_again_after_longer_and_longer_pauses() -> None:
    installation = running()
    installation.launcher.launch = refusing(installation.launcher.launch)  # type: ignore[method-assign]

    installation.becomes(replicas=2)
    installation.passes(20)

    pauses = [line.split("again in ")[1].split(" s;")[0] for line in installation.said[1:]]
    assert pauses == ["1", "2", "4", "8", "16"]
    assert installation.roster == ["big-1"]
    assert installation.fleet.is_settled


def refusing(launch: Callable[..., FakeProcess]) -> Callable[..., FakeProcess]:
    def launch_one(label: str, settings: Worker, gpus: Sequence[str]) -> FakeProcess:
        process = launch(label, settings, gpus)
        process.model = "refused"
        return process

    return launch_one


def test_the_load_decides_how_many_there_are() -> None:
    installation = running(autoscale={"min": 1, "max": 3})
    installation.process("big-1").told = Load(running=4, slots=4, queued=8)
    installation.passes(30 + LOADING_S)

    for process in installation.running:
        process.told = Load(running=4, slots=4, queued=2)
    installation.passes(30 + LOADING_S)

    assert len(installation.roster) == 3
    assert "worker `big`: 3 replicas instead of" in installation.said[-1]

    for process in installation.running:
        process.told = Load(running=0, slots=4, queued=0)
    installation.passes(900)

    assert installation.roster == ["big-1"]


def test_no_more_start_than_there_are_gpus_until_one_has_gone() -> None:
    installation = running(replicas=2, gpus=["0", "1"])
    installation.becomes(replicas=1)
    installation.passes(TICK_S)

    installation.becomes(replicas=2)
    installation.passes(TICK_S)
    assert len(installation.launcher.launched) == 2
    installation.until_settled()

    assert [each.gpus for each in installation.running] == [("0",), ("1",)]


def test_at_the_start_of_all_a_replica_that_fails_is_an_error() -> None:
    installation = Installation(is_required=True, replicas=2, model="refused")

    with pytest.raises(NeverReadyError, match="ended with exit code 2: it takes 60 GiB"):
        installation.passes(2)


def test_a_worker_that_is_removed_leaves_the_roster_at_once_and_then_ends() -> None:
    installation = running(replicas=2)

    installation.fleet.dismiss()
    installation.passes(TICK_S)
    assert installation.roster == []
    assert len(installation.running) == 2
    installation.passes(10)

    assert installation.fleet.is_empty


def test_a_full_disk_is_told_once_and_written_to_again() -> None:
    installation = running(replicas=2)
    installation.launcher.is_disk_full = True
    installation.process("big-2").dies(1)
    installation.passes(0.5)

    installation.launcher.is_disk_full = False
    installation.passes(TICK_S)

    assert installation.roster == ["big-1"]
    assert sum("cannot be told" in line for line in installation.said) == 1


def test_what_runs_can_be_looked_at() -> None:
    installation = running(replicas=2, gpus=["0", "1"])
    installation.becomes(model="v2")
    installation.passes(1)

    state = installation.fleet.state

    assert [(each.name, each.state, each.model) for each in state.replicas] == [
        ("big-1", "ready", "v1"),
        ("big-2", "ready", "v1"),
        ("big-3", "starting", "v2"),
    ]
    assert state.replicas[0].endpoint == "/run/big-1.sock"
