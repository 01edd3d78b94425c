"""`weighbridge plan`, with a tool of no use."""

import json
import sys
from pathlib import Path

import pytest

from gateway.cli import plan
from gateway.clock import ManualClock
from gateway.errors import ConfigError
from tests.fixtures.planning import BOXES, NOW_MS, TODAY

CLOCK = ManualClock(NOW_MS)


def run(*argv: str | Path) -> int:
    return plan.run(BOXES, [str(arg) for arg in argv], CLOCK)


def refused(*argv: str | Path) -> str:
    with pytest.raises(ConfigError) as raised:
        run(*argv)
    return str(raised.value)


def misused(capsys: pytest.CaptureFixture[str], *argv: str | Path) -> str:
    with pytest.raises(SystemExit) as left:
        run(*argv)
    assert left.value.code == 2
    return capsys.readouterr().err


def test_an_answer_is_printed_as_text_json_or_csv(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--boxes", "4", "--price=2.5", "--is-heavy", "--weights", "1", "--weights", "2") == 0
    text = capsys.readouterr().out
    assert run("--boxes", "4", "--price=2.5", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert run("--csv") == 0
    table = capsys.readouterr().out

    assert text.startswith("4 red boxes cost 10.0 USD.\n")
    assert "1.0, 2.0" in text
    assert (told["total_usd"], told["date"]) == (10.0, TODAY)
    assert table.splitlines()[0] == "box,cost (USD),volume (l)"


def test_help_shows_each_input_with_unit_bounds_default_and_source(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as left:
        run("--help")

    told = " ".join(capsys.readouterr().out.split())
    assert left.value.code == 0
    assert (
        "--price AMOUNT what a box costs (USD/box; at least 0; default: 1.10; the shop, 2024-06-30)" in told
    )
    assert "--util X how full they are (share; above 0 and at most 1; default: 0.9; measured)" in told
    assert "--contents FILE" in told
    assert "--is-heavy, --no-is-heavy" in told
    assert "weighbridge plan boxes --boxes 4" in told


def test_the_flag_that_is_to_blame_is_named() -> None:
    assert refused("--util", "1.5") == "plan boxes: --util must be above 0 and at most 1 (share), and is 1.5."
    assert refused("--boxes", "13") == "plan boxes: --boxes: nobody carries 13"
    assert refused("--max-weight", "-1") == "plan boxes: --max-weight must be above 0 (kg), and is -1."


def test_an_unknown_flag_is_told_with_the_one_that_may_be_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        misused(capsys, "--utl", "1") == "weighbridge plan boxes: there is no --utl. Did you mean --util?\n"
    )
    assert misused(capsys, "--max-wieght=3").endswith(
        "there is no --max-wieght. Did you mean --max-weight?\n"
    )
    assert misused(capsys, "--box", "1").endswith("there is no --box. Did you mean --boxes?\n")
    assert "not allowed with" in misused(capsys, "--json", "--csv")
    assert "--explain" in misused(capsys, "--csv", "--explain")


def test_a_diagram_is_written_in_both_forms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--plot", tmp_path / "a.svg") == run("--plot", tmp_path / "a.png") == 0

    assert b"Cost of boxes" in (tmp_path / "a.svg").read_bytes()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert "must end in .svg or .png" in misused(capsys, "--plot", tmp_path / "a.pdf")
    assert "cannot write" in refused("--plot", tmp_path / "none" / "a.svg")


def test_without_what_draws_it_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    assert "pip install 'weighbridge[plots]'" in refused("--plot", tmp_path / "a.svg")
    assert not (tmp_path / "a.svg").exists()


def test_a_saved_answer_can_be_compared_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = tmp_path / "a.json"
    run("--save", saved)
    capsys.readouterr()

    assert run("--boxes", "6", "--compare", saved, "--json") == 0

    told = json.loads(capsys.readouterr().out)
    assert [(row["what"], row["before"], row["now"]) for row in told["changes"]] == [
        ("boxes", 3, 6),
        ("total", 3.3, 6.6),
    ]


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"tool": "boxes"}', '{"tool": "size", "assumptions": []}', "\x00"]
)
def test_what_is_no_answer_of_the_tool_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)

    assert refused("--compare", path).startswith("plan boxes: --compare")


def test_a_file_that_an_input_names_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("grüße", encoding="utf-8")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe")

    run("--contents", tmp_path / "a.txt", "--json")

    assert json.loads(capsys.readouterr().out)["letters"] == 5
    assert "cannot read" in refused("--contents", tmp_path / "none.txt")
    assert "UTF-8" in refused("--contents", tmp_path / "b.txt")
    assert "cannot read" in refused("--contents", tmp_path)


def test_a_tool_that_there_is_not_is_told_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError) as raised:
        plan.main(["sise"], CLOCK)

    assert "size, tco, breakeven, roi, finetune, forecast" in str(raised.value)
    assert "Did you mean 'size'?" in str(raised.value)
