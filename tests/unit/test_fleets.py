"""What becomes of the workers when the configuration file has changed: over processes that do as told."""

from pathlib import Path

import pytest

from gateway.cli import running
from gateway.cli.fleets import Fleets
from gateway.clock import ManualClock
from gateway.config import load
from tests.fixtures.replicas import FakeLauncher, at_once

TICK_S = 0.25
CONFIG = """
data_dir: {folder}
upstreams:
  own: {{worker: one, models: {{own: {{size: small, free: true}}}}}}
workers:
  one: {{model: v1, serves: [own]}}
"""


class Installation:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "config.yaml"
        self.path.write_text(CONFIG.format(folder=folder))
        self.data_path = folder
        self.clock = ManualClock()
        self.launcher = FakeLauncher(self.clock)
        self.said: list[str] = []
        self.fleets = Fleets(
            self.path,
            load(self.path),
            self.launcher,
            clock=self.clock,
            say=self.said.append,
            ask=at_once,
        )
        self.passes(8)

    def passes(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK_S)):
            self.fleets.look()
            self.clock.advance(TICK_S)

    def edits(self, before: str, after: str) -> None:
        self.path.write_text(self.path.read_text().replace(before, after))

    def reloads(self) -> running.Reload:
        """What `weighbridge worker reload` gets to read."""
        self.fleets.reload()
        self.passes(30)
        return self.state.reload

    @property
    def state(self) -> running.Running:
        state = running.read(self.data_path)
        assert state is not None
        return state

    @property
    def running(self) -> list[tuple[str, str]]:
        return [(each.label, each.model) for each in self.launcher.launched if each.pid is not None]


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


def test_a_changed_worker_is_rolled_over(installation: Installation) -> None:
    installation.edits("v1", "v2")

    reload = installation.reloads()

    assert installation.running == [("one-2", "v2")]
    assert reload.is_done
    assert reload.is_good
    assert reload.lines == (
        "worker `one` is changed, replica by replica; its model is v2",
        "worker `one`: `one-2` takes the place of `one-1`",
        "worker `one` is changed: 1 replica of v2",
    )


def test_new_workers_start_and_removed_ones_end(installation: Installation) -> None:
    installation.edits("  one: {model", "  two: {port: 8101, model")
    installation.edits("worker: one", "base_url: 'http://127.0.0.1:8101/v1'")

    reload = installation.reloads()

    assert installation.running == [("two", "v1")]
    assert [worker.name for worker in installation.state.workers] == ["two"]
    assert reload.is_good


def test_a_key_is_made_for_a_new_worker(installation: Installation) -> None:
    installation.edits("workers:", "workers:\n  two: {model: v1, serves: [two]}")

    installation.reloads()

    assert (installation.data_path / "secrets" / "worker-two.key").stat().st_mode & 0o777 == 0o600


def test_a_new_worker_that_cannot_start_is_told_and_tried_again(installation: Installation) -> None:
    installation.edits("workers:", "workers:\n  two: {model: refused, serves: [two]}")

    reload = installation.reloads()

    assert reload.is_done
    assert not reload.is_good
    assert installation.running == [("one-1", "v1")]
    assert any("worker `two`: `two-1` ended with exit code 2" in line for line in reload.lines)


def test_a_worker_that_is_wanted_back_while_it_drains_starts_beside_what_drains(
    installation: Installation,
) -> None:
    installation.edits("  one: {model: v1, serves: [own]}", "  two: {model: v1, serves: [own]}")
    installation.edits("worker: one", "worker: two")
    installation.fleets.reload()
    installation.passes(1)
    installation.edits("two", "one")

    reload = installation.reloads()

    assert installation.running == [("one-2", "v1")]
    assert [worker.name for worker in installation.state.workers] == ["one"]
    assert reload.is_good


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("v1", "v1, replicas: 0"), "workers.one.replicas"),
        (("workers:", "workers: ["), "not valid YAML"),
        (("model: v1", "modle: v1"), "modle"),
    ],
)
def test_an_invalid_file_changes_nothing_and_says_what_is_wrong(
    installation: Installation, change: tuple[str, str], problem: str
) -> None:
    installation.edits(*change)

    reload = installation.reloads()

    assert installation.running == [("one-1", "v1")]
    assert not reload.is_good
    assert reload.lines[0].startswith(f"nothing is changed: {installation.path}")
    assert problem in reload.lines[0]


def test_what_only_a_restart_applies_is_named_each_time(installation: Installation) -> None:
    installation.edits("upstreams:", "server: {port: 9999}\nupstreams:")

    first, second = installation.reloads(), installation.reloads()

    assert first.lines == (f"changed in {installation.path} too: server; restart to apply",)
    assert second.lines == first.lines
    assert second.number == 2


def test_a_file_without_news_is_said_to_be_one(installation: Installation) -> None:
    reload = installation.reloads()

    assert reload.lines == (f"{installation.path} says nothing new of workers",)
    assert reload.is_good


def test_a_model_that_failed_is_tried_again_by_the_next_reload(installation: Installation) -> None:
    installation.edits("v1", "refused")
    assert not installation.reloads().is_good
    assert not installation.reloads().is_good

    installation.edits("refused", "v1")

    assert installation.reloads().is_good
    assert installation.running == [("one-1", "v1")]


def test_nothing_is_left_behind_at_the_end(installation: Installation) -> None:
    installation.fleets.stop(lambda: False)

    assert installation.running == []
    assert installation.launcher.rosters[-1] == []
    assert running.read(installation.data_path) is None
