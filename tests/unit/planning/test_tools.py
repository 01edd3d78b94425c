"""What holds for every planning tool, on every surface."""

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.cli import plan as command
from gateway.clock import ManualClock
from gateway.errors import ConfigError
from gateway.planning.answering import answered
from gateway.planning.contract import Answer, Context, PlanError
from gateway.planning.reading import Input, from_json, from_text, inputs_of
from gateway.planning.rendering import as_text, record
from gateway.planning.tools import NAMES, tool
from tests.fixtures.planning import NOW_MS, TODAY

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "reference" / "planner.md").read_text(encoding="utf-8")
EXAMPLES = [(name, example) for name in NAMES for example in tool(name).examples]
OF_THE_SURFACE = {"json", "csv", "explain", "plot", "save", "compare", "help"}
OF_AN_ANSWER = {
    "tool",
    "headline",
    "units",
    "formulas",
    "assumptions",
    "warnings",
    "changes",
    "weighbridge",
    "date",
}
NUMBERS = ("integer", "number", "money")


def every_input() -> list[Any]:
    return [
        pytest.param(name, each, id=f"{name}-{each.name}")
        for name in NAMES
        for each in inputs_of(tool(name).inputs)
    ]


def printed(capsys: pytest.CaptureFixture[str], name: str, *argv: str | Path) -> str:
    assert command.main([name, *map(str, argv)], ManualClock(NOW_MS)) == 0
    return capsys.readouterr().out


def cells(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from cells(inner)
    else:
        yield value


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_an_example_works_as_it_stands(
    name: str,
    example: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    argv = [arg for arg in shlex.split(example) if arg != "--explain"]

    text = printed(capsys, name, *argv)
    told = json.loads(printed(capsys, name, *argv, "--json", "--explain"))
    rows = printed(capsys, name, *argv, "--csv").splitlines()

    assert text.splitlines()[0][:20] == told["headline"][:20]
    assert all(isfinite(cell) for cell in cells(told) if isinstance(cell, float))
    assert len(rows) > 1
    assert told["formulas"]
    assert told["units"]
    assert told["assumptions"]


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_a_line_of_an_answer_is_at_most_100_wide(
    name: str, example: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(capsys, name, *shlex.split(example), "--explain").splitlines()

    assert [line for line in lines if len(line) > 100] == []


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_every_number_has_a_unit_or_needs_none_and_a_key_of_its_own(name: str, example: str) -> None:
    found = answer(name, example)

    keys = [*(line.key for line in found.lines), *(table.key for table in found.tables)]
    assert len(keys) == len(set(keys))
    assert not OF_AN_ANSWER.intersection(keys)
    for table in found.tables:
        own = [column.key for column in table.columns]
        assert all(any(key in row for row in table.rows) for key in own)
        assert len(own) == len(set(own))
    record(found, version="", today=TODAY)


def answer(name: str, example: str) -> Answer:
    chosen = tool(name)
    found: list[Answer] = []

    def keep(inputs: Any, context: Context) -> Answer:
        found.append(chosen.plan(inputs, context))
        return found[0]

    command.run(replace(chosen, plan=keep), shlex.split(example), ManualClock(NOW_MS))
    return found[0]


@pytest.mark.parametrize(("name", "each"), every_input())
def test_an_input_is_explained_everywhere(name: str, each: Input, helps: dict[str, str]) -> None:
    flag = f"--{each.name.replace('_', '-')}"

    assert each.meaning
    assert flag in helps[name]
    assert f"| `{flag}` | {each.unit} |" in PAGE.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    assert each.name not in OF_THE_SURFACE
    assert each.source or not each.as_of


@pytest.fixture(scope="module")
def helps() -> dict[str, str]:
    return {name: command.parser_of(tool(name)).format_help() for name in NAMES}


@pytest.mark.parametrize(("name", "each"), [one for one in every_input() if one.values[1].kind in NUMBERS])
def test_no_number_is_taken_that_is_none_or_out_of_bounds(name: str, each: Input) -> None:
    flag = f"--{each.name.replace('_', '-')}"
    below = ["-1"] if {"ge", "gt"} & set(each.bounds) else []

    for wrong in ["nan", "inf", "-inf", "1e999", "", "x", "1,5", *below]:
        with pytest.raises(ConfigError) as refused:
            command.main([name, f"{flag}={wrong}"], ManualClock(NOW_MS))

        assert f"{flag} must be" in str(refused.value)


@pytest.mark.parametrize(("name", "each"), [one for one in every_input() if one.values[1].kind in NUMBERS])
def test_a_default_lies_within_its_bounds(name: str, each: Input) -> None:
    if each.default not in (None, ()):
        others = {one.name: 1e3 for one in inputs_of(tool(name).inputs) if one.is_required}

        from_json(tool(name).inputs, {**others, each.name: each.json_default}, str)


@pytest.mark.parametrize(("name", "each"), [one for one in every_input() if one.values[1].kind in NUMBERS])
def test_an_input_at_its_end_is_answered_or_refused(name: str, each: Input) -> None:
    chosen = tool(name)
    first = command.parser_of(chosen).parse_args(shlex.split(chosen.examples[0]))
    given = {
        one.name: getattr(first, one.name) for one in inputs_of(chosen.inputs) if hasattr(first, one.name)
    }
    ends = [str(bound) for bound in each.bounds.values()] + ["1e-15", "1e18"]

    for end in ends:
        try:
            told = from_text(chosen.inputs, {**given, each.name: [end] if each.is_many else end}, str)
            found = answered(chosen, told, given, Context(today=TODAY))
        except PlanError:
            continue
        assert as_text(found, explain=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_tool_answers_or_says_what_it_needs(name: str) -> None:
    chosen = tool(name)

    try:
        told = chosen.plan(from_json(chosen.inputs, {}, str), Context(today=TODAY)).headline
    except PlanError as exc:
        told = exc.message

    assert told.endswith(".")


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_that_was_saved_can_be_compared_with(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = shlex.split(tool(name).examples[0])
    printed(capsys, name, *argv, "--save", tmp_path / "a.json")

    again = json.loads(printed(capsys, name, *argv, "--compare", tmp_path / "a.json", "--json"))

    assert again["changes"] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_diagrams_of_a_tool_are_drawn(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed(capsys, name, *shlex.split(tool(name).examples[0]), "--plot", tmp_path / "a.svg")
    printed(capsys, name, *shlex.split(tool(name).examples[0]), "--plot", tmp_path / "a.png")

    assert b"</svg>" in (tmp_path / "a.svg").read_bytes()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_the_overview_names_every_tool(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--help"])
    helped = capsys.readouterr().out
    code = command.main([])

    assert all(f"  {name} " in helped and tool(name).help.split()[0] in helped for name in NAMES)
    assert (code, capsys.readouterr().out) == (2, helped)


def test_a_plan_imports_nothing_that_it_does_not_need() -> None:
    program = (
        "import sys; from gateway.cli.main import main;"
        "main(['plan', 'size', '--model', 'llama-3-8b', '--json']);"
        "print(sorted(sys.modules), file=sys.stderr)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )

    heavy = {
        "litestar",
        "sqlalchemy",
        "numpy",
        "matplotlib",
        "torch",
        "yaml",
        "aiohttp",
        "httpx",
        "gateway.config",
    }
    assert {name for name in heavy if f"'{name}'" in run.stderr} == set()
    assert {name for name in NAMES if f".{name}'" in run.stderr} == {"size"}
    assert json.loads(run.stdout)["tool"] == "size"
