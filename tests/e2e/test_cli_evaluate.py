"""`weighbridge scorer evaluate`, over files as users have them."""

import json
import re
import sys

import pytest

from gateway.cli.main import main
from tests.fixtures.evaluations import answers, write


@pytest.fixture
def evaluate(tmp_path, monkeypatch, capsys):
    """Its exit code, and what it wrote to its two outputs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(*args):
        code = main(["scorer", "evaluate", "--boot", "20", *map(str, args)])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.jsonl"])
def test_the_gateways_own_scorer_is_set_beside_what_is_free_to_know(tmp_path, evaluate, name):
    code, out, err = evaluate(write(tmp_path / name, answers(120)))

    assert (code, err) == (0, "")
    assert "exam: small against large" in out
    assert "random  length  category oracle  oracle  scorer" in out
    assert re.search(r"^exam +120 ", out, re.MULTILINE)
    assert "P(good), and what came of it" in out


def test_another_scorer_is_loaded_from_this_folder(tmp_path, evaluate):
    (tmp_path / "own_scorer.py").write_text(
        "def needs_strong(prompts):\n    return [float(prompt.startswith('hard')) for prompt in prompts]\n"
    )
    path = write(tmp_path / "a.csv", answers(200))

    code, out, _ = evaluate(path, "--scorer", "own_scorer:needs_strong", "--json")

    report = json.loads(out)
    (result,) = report["results"]
    assert code == 0
    assert result["apgr"] > result["length"] + 0.1
    assert result["apgr_low"] < result["apgr"] < result["apgr_high"]
    assert report["models"] == {"exam": {"weak": ["small"], "strong": "large"}}
    assert report["calibration"] == []


def test_several_files_and_sources_have_a_mean(tmp_path, evaluate):
    first = write(tmp_path / "one.parquet", answers(60))
    second = write(tmp_path / "two.csv", [*answers(60, seed=1), *answers(60, source="chat", seed=2)])

    _, out, _ = evaluate(first, second)

    assert "one: exam, two: exam, chat: small against large" in out
    assert "mean of sources" in out
    assert "one threshold for all" in out


def test_models_can_be_chosen(tmp_path, evaluate):
    path = write(tmp_path / "a.jsonl", [row | {"s:tiny": 0.1} for row in answers(60)])

    _, out, _ = evaluate(path, "--weak", "tiny,small", "--strong", "large", "--by", "category")

    assert "tiny and small against large" in out
    assert "\nmaths " in out
    assert "\ntrivia " in out


def test_diagrams_are_saved(tmp_path, evaluate):
    path = write(tmp_path / "a.jsonl", answers(60))

    _, out, _ = evaluate(path, "--save", tmp_path / "diagrams")

    assert "4 diagrams are in" in out
    assert sorted(found.name for found in (tmp_path / "diagrams").iterdir()) == [
        "exam-reliability.png",
        "exam-reliability.svg",
        "exam-trade-off.png",
        "exam-trade-off.svg",
    ]


def test_what_cannot_be_said_is_left_out_and_explained(tmp_path, evaluate):
    rows = [row | {"s:large": 0.0, "c:large": None} for row in answers(60)]
    rows[0]["prompt"] = ""

    code, out, _ = evaluate(write(tmp_path / "a.jsonl", rows), "--weak", "small", "--strong", "large")

    assert code == 0
    assert "exam: the strong model is not better there" in out
    assert "1 rows without a prompt" in out
    assert "saves@" not in out
    assert "nan" not in out.lower()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--weak", "huge"), "no scores of 'huge'; there are some of small, large"),
        (("--weak", "large", "--strong", "large"), "cannot be both"),
        (("--scorer", "nowhere:f"), "No module named 'nowhere'"),
        (("--scorer", "json"), "expected module:function"),
        (("--scorer", "json:nothing"), "json has no function 'nothing'"),
    ],
)
def test_wrong_usage_is_told(tmp_path, evaluate, options, said):
    code, out, err = evaluate(write(tmp_path / "a.jsonl", answers(10)), *options)

    assert (code, out) == (2, "")
    assert err.startswith("weighbridge: scorer evaluate: ")
    assert said in err


def test_a_file_that_is_no_evaluation_is_told(tmp_path, evaluate):
    code, _, err = evaluate(write(tmp_path / "a.jsonl", [{"text": "hello", "s:x": 1}]))

    assert code == 2
    assert "a.jsonl: there is no column `prompt`; it has `text`, `s:x`" in err
