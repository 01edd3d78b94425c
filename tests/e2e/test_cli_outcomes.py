"""`weighbridge scorer outcomes` and `weighbridge scorer import`, over a database of their own."""

import csv
import io
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.main import main
from gateway.clock import SystemClock
from gateway.config import Outcomes as Settings
from gateway.ledger import outcome_import
from gateway.ledger.database import Database
from gateway.ledger.outcomes import Outcomes
from gateway.ledger.store import SqlLedger
from tests.e2e.test_cli import CONFIG
from tests.fixtures.ledger import entry
from tests.fixtures.outcomes import outcome

Scorer = Callable[..., tuple[int, str, str]]


@pytest.fixture
def database(tmp_path: Path, migrated_sqlite: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{shutil.copy(migrated_sqlite, tmp_path / 'weighbridge.db')}")
    yield database
    database.close()


@pytest.fixture
def scorer(tmp_path: Path, database: Database, capsys: pytest.CaptureFixture[str]) -> Scorer:
    """Its exit code, and what it wrote to its two outputs."""
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.format(folder=tmp_path))

    def run(action: str, *args: str | Path) -> tuple[int, str, str]:
        code = main(["scorer", action, "--config", str(config), *map(str, args)])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def told(tmp_path: Path, *lines: dict[str, Any]) -> Path:
    path = tmp_path / "judged.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def test_outcomes_are_shown_to_people_and_to_programs(scorer: Scorer, database: Database) -> None:
    outcomes = Outcomes(database, SystemClock(), Settings())
    outcomes.vote(outcome("req_1", value=0.25, user="=evil()"))
    outcomes.vote(outcome("req_2", tenant="globex"))

    _, table, _ = scorer("outcomes")
    _, as_json, _ = scorer("outcomes", "--tenant", "acme", "--json")
    _, as_csv, _ = scorer("outcomes", "--limit", "1", "--source", "feedback", "--csv")
    _, none, _ = scorer("outcomes", "--since", "2099-01-01")

    assert [line.split()[3] for line in table.splitlines()] == ["request_id", "req_2", "req_1"]
    assert "item" not in table
    assert [row["value"] for row in json.loads(as_json)] == [0.25]
    assert [row["tenant"] for row in csv.DictReader(io.StringIO(as_csv))] == ["globex"]
    assert none == "Nothing is known of what became of answers.\n"


def test_a_name_in_csv_is_never_a_formula(scorer: Scorer, database: Database) -> None:
    Outcomes(database, SystemClock(), Settings()).vote(outcome(user="=evil()"))

    _, as_csv, _ = scorer("outcomes", "--csv")

    assert [row["user"] for row in csv.DictReader(io.StringIO(as_csv))] == ["'=evil()"]


def test_a_summary_is_shown_likewise(scorer: Scorer, database: Database) -> None:
    Outcomes(database, SystemClock(), Settings()).vote(outcome(value=0.5))

    _, table, _ = scorer("outcomes", "--summary")
    _, as_json, _ = scorer("outcomes", "--summary", "--json")

    assert table.splitlines()[1].split() == ["small", "code", "1", "1.000", "0.500", "0.700"]
    assert json.loads(as_json) == [
        {"model": "small", "category": "code", "count": 1, "weight": 1.0, "value": 0.5, "p_good": 0.7}
    ]


def test_a_file_is_taken_in_and_what_is_not_known_is_told(
    scorer: Scorer, database: Database, tmp_path: Path
) -> None:
    SqlLedger(database).post([entry("req_1")])
    file = told(tmp_path, {"request_id": "req_1", "value": 1}, {"request_id": "req_2", "value": 1})

    code, out, err = scorer("import", file)

    assert (code, out) == (1, "1 recorded, 1 refused.\n")
    assert err == "line 2: the ledger has no request 'req_2'\n"


def test_standard_input_is_a_file_too(
    scorer: Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = told(tmp_path, {"model": "small", "value": 1})

    with file.open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        code, out, _ = scorer("import", "-", "--json")

    assert (code, json.loads(out)) == (0, {"recorded": 1, "refused": []})


def test_a_large_file_is_taken_in_piece_by_piece(scorer: Scorer, database: Database, tmp_path: Path) -> None:
    count = outcome_import.MOST_LINES + 1
    file = told(tmp_path, *({"model": "small", "value": 1} for _ in range(count)))

    code, out, _ = scorer("import", file)

    assert (code, out) == (0, f"{count} recorded, 0 refused.\n")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("import", "nowhere.jsonl"), "nowhere.jsonl: cannot be read"),
        (("outcomes", "--since", "yesterday"), "--since: 'yesterday' is not a date"),
        (("outcomes", "--limit", "0"), "--limit: expected 1 or more"),
    ],
)
def test_wrong_usage_is_one_line(scorer: Scorer, args: tuple[str, ...], says: str) -> None:
    code, _, err = scorer(*args)

    assert (code, err.count("\n")) == (2, 1)
    assert says in err


def test_a_line_that_cannot_be_read_keeps_all_out(scorer: Scorer, tmp_path: Path) -> None:
    code, _, err = scorer("import", told(tmp_path, {"model": "small", "value": 1}, {"value": 1}))

    _, shown, _ = scorer("outcomes", "--json")
    assert (code, json.loads(shown)) == (2, [])
    assert "judged.jsonl: line 2: say `request_id`, or the `model`" in err
