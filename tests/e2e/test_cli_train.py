"""`weighbridge scorer train`, over files and a database as users have them."""

import json
import shutil

import pytest

from gateway.cli.main import main
from gateway.clock import SystemClock
from gateway.config import Outcomes as Settings
from gateway.ledger.database import Database
from gateway.ledger.outcomes import Outcomes
from gateway.scoring.artefact import load
from tests.e2e.test_cli import CONFIG
from tests.fixtures.evaluations import answers, write
from tests.fixtures.outcomes import outcome

LEVELS = ("--level", "small=medium", "--level", "large=frontier")


@pytest.fixture
def train(tmp_path, capsys):
    """Its exit code, and what it wrote to its two outputs."""

    def run(*args):
        code = main(["scorer", "train", "--boot", "10", "--out", str(tmp_path / "out"), *map(str, args)])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_a_file_becomes_a_scorer_with_a_card(tmp_path, train):
    path = write(tmp_path / "a.jsonl", answers(300))

    code, out, err = train("--data", path, *LEVELS, "--name", "mine", "--licence", "ours")

    assert (code, err) == (0, "")
    assert "exam    small  medium     you" in out
    assert "APGR on prompts that were kept aside" in out
    assert "its card is card.md" in out
    artefact = load(tmp_path / "out")
    assert artefact.manifest.version.startswith("mine-")
    assert artefact.manifest.models["small"].prompts == 300
    assert "| ours |" in (tmp_path / "out" / "card.md").read_text("utf-8")


def test_the_ledgers_outcomes_move_heads(tmp_path, migrated_sqlite, train):
    database = Database(f"sqlite:///{shutil.copy(migrated_sqlite, tmp_path / 'weighbridge.db')}")
    clock = SystemClock()
    outcomes = Outcomes(database, clock, Settings(votes_per_day=1000))
    for n in range(60):
        outcomes.vote(outcome(f"req_{n}", user=f"u{n}", value=0.0, created_ms=clock.now_ms()))
    database.close()
    (tmp_path / "config.yaml").write_text(CONFIG.format(folder=tmp_path))

    code, out, _ = train("--from-ledger", "--config", tmp_path / "config.yaml", "--json")

    moved = json.loads(out)["moved"]["small"]
    assert code == 0
    assert (moved["candidate"], moved["outcomes"], moved["observed"]) == ("local/small", 60, 0.0)
    assert moved["by"] < -0.5
    assert load(tmp_path / "out").manifest.models["small"].shift == moved["head"]["shift"]


@pytest.mark.parametrize(
    ("rows", "args", "says"),
    [
        (30, LEVELS, "30 prompts have a score of each level (medium, frontier), and 200 are needed"),
        (30, (), "none of small, large is a model that the scorer knows"),
        (30, ("--level", "small=tiny"), "--level small=tiny: expected MODEL=small, medium, large or frontier"),
        (220, (*LEVELS, "--level", "huge=large"), "--level huge: no such model is scored; there are large, small"),
        (30, ("--name", "a b"), "--name 'a b': expected up to 40 of"),
    ],
)  # fmt: skip
def test_what_cannot_be_learnt_from_is_told_in_one_line(tmp_path, train, rows, args, says):
    path = write(tmp_path / "a.jsonl", answers(rows))

    code, out, err = train("--data", path, *args)

    assert (code, out) == (2, "")
    assert err.startswith("weighbridge: scorer train: ")
    assert says in err
    assert not (tmp_path / "out").exists()


def test_a_ledger_that_knows_little_is_told(tmp_path, migrated_sqlite, train):
    shutil.copy(migrated_sqlite, tmp_path / "weighbridge.db")
    (tmp_path / "config.yaml").write_text(CONFIG.format(folder=tmp_path))

    code, _, err = train("--from-ledger", "--config", tmp_path / "config.yaml")

    assert code == 2
    assert "the ledger holds 0 outcomes" in err


def test_something_to_learn_from_is_needed(train):
    code, _, err = train()

    assert (code, err) == (
        2,
        "weighbridge: scorer train: nothing to learn from: give --data FILE or --from-ledger, or both\n",
    )


def test_a_folder_that_holds_something_is_left_alone(tmp_path, train):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "card.md").write_text("mine")

    code, _, err = train("--data", write(tmp_path / "a.jsonl", answers(30)), *LEVELS)

    assert code == 2
    assert "is not empty" in err
    assert (tmp_path / "out" / "card.md").read_text() == "mine"
