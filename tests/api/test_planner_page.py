"""The examples of docs/reference/planner.md work when they are pasted, and its tables are what the code says."""

import asyncio
import json
import os
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

from gateway.cli import plan
from tests.fixtures.gateway import RunningGateway

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "planner.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
NEEDS_MORE = ("--from-ledger", "calibration.json", "plan calibrate", "ours.csv", "spend.csv")
"""A ledger, a model server, a file of the reader's."""


def test_the_page_is_what_the_code_says() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "reference.py"))["planner"](PAGE)

    assert made == PAGE, "run `python docs/reference.py`"


def test_every_command_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [line for block in BLOCKS for line in block.splitlines() if line.startswith("weighbridge plan ")]
    commands = [line.partition(" | ")[0] for line in lines if not any(one in line for one in NEEDS_MORE)]

    for command in commands:
        assert plan.main(shlex.split(command)[2:]) == 0, command

    assert len(commands) > 10
    assert capsys.readouterr().out


async def test_a_plan_can_be_asked_for_over_http(gateway: RunningGateway) -> None:
    [request] = [block for block in BLOCKS if "curl" in block]
    process = await asyncio.create_subprocess_exec(
        *("bash", "-eu", "-c", request),
        env={
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}",
            "WEIGHBRIDGE_ADMIN_URL": gateway.admin_url,
            "WEIGHBRIDGE_ADMIN_KEY": gateway.admin_key,
        },
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()

    assert json.loads(output)["total_gib"] == pytest.approx(17.224, abs=5e-4)
