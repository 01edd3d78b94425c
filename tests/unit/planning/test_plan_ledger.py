"""`weighbridge plan --from-ledger`: the database of a config file, without a running gateway."""

import json
from pathlib import Path

import pytest

from gateway.cli import plan
from gateway.clock import ManualClock
from gateway.errors import ConfigError
from gateway.ledger.database import Database
from gateway.ledger.store import SqlLedger
from tests.fixtures.ledger import NOV_21, entry

DAY_MS = 86_400_000
CONFIG = """
data_dir: {folder}
upstreams:
  far:
    base_url: https://api.example.com/v1
    models:
      large: {{size: large, price: {{input: 2.50, output: 10}}}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A tenant's four weeks, of a dollar each day but Saturday and Sunday."""
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(folder=tmp_path))
    database = Database(f"sqlite:///{tmp_path / 'weighbridge.db'}")
    database.migrate()
    days = [day for day in range(1, 29) if day % 7 not in (0, 6)]
    SqlLedger(database).post(
        [
            entry(
                f"r{day}", tenant="acme", model="large", upstream="far", size="large", cost=10**9,
                created_ms=NOV_21 - day * DAY_MS,
            )
            for day in days
        ]
    )  # fmt: skip
    database.close()
    return path


def run(config: Path, *argv: str) -> int:
    return plan.main([*argv, "--from-ledger", "--config", str(config)], ManualClock(NOV_21))


@pytest.mark.parametrize("argv", [("forecast",), ("breakeven",), ("roi", "--cost", "10")])
def test_a_tool_starts_from_the_traffic_of_a_tenant(
    config: Path, argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    extra = ["--reference", "gpt-4o"] if argv[0] == "roi" else []

    assert run(config, *argv, *extra, "--tenant", "acme", "--json") == 0

    told = json.loads(capsys.readouterr().out)
    assert "ledger" in {one["origin"] for one in told["assumptions"]}


def test_what_the_ledger_cannot_tell_is_one_line(config: Path) -> None:
    with pytest.raises(ConfigError, match="--from"):
        run(config, "forecast", "--from", "yesterday")
    with pytest.raises(ConfigError, match="Nothing was spent"):
        run(config, "forecast", "--tenant", "globex")
    with pytest.raises(ConfigError, match="weighbridge up"):
        run(config.parent / "none.yaml", "forecast")
