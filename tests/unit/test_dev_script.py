"""`./dev` itself: what it does in a fresh clone is seen by running it there, in CI."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def dev(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ROOT / "dev", *arguments], capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("script", ["dev", ".ci/run"])
def test_the_scripts_are_valid_bash_and_may_be_executed(script: str) -> None:
    path = ROOT / script

    checked = subprocess.run(["bash", "-n", path], capture_output=True, timeout=30, check=False)

    assert (checked.returncode, checked.stderr) == (0, b"")
    assert path.stat().st_mode & 0o111


def test_help_names_every_command() -> None:
    cases = re.search(r"^case \$command in$(.*)^esac$", (ROOT / "dev").read_text(), re.DOTALL | re.MULTILINE)
    assert cases
    commands = {
        name
        for line in re.findall(r"^    ([a-z |]+)\)", cases[1], re.MULTILINE)
        for name in line.split(" | ")
    }

    result = dev("help")

    assert result.returncode == 0
    assert commands >= {"up", "setup", "test", "lint", "bench", "lock", "help"}
    assert commands <= set(re.findall(r"^  (\w+)", result.stdout, re.MULTILINE))


def test_an_unknown_command_is_refused_by_name() -> None:
    result = dev("biuld")

    assert result.returncode == 1
    assert "there is no command 'biuld'" in result.stderr


@pytest.mark.parametrize("file", sorted((ROOT / "constraints").glob("*.txt")), ids=lambda path: path.name)
def test_pins_hold_for_every_index_and_machine(file: Path) -> None:
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]

    assert all(re.match(r"[a-z0-9-]+==[0-9a-z.]+( ; .+)?$", line) for line in lines)
