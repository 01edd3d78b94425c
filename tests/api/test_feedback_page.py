"""The examples of docs/reference/feedback.md work when they are pasted."""

import ast
import asyncio
import json
import os
import re
import sys
from pathlib import Path

import pytest

from gateway.ledger.outcome_import import read_lines
from tests.fixtures.gateway import RunningGateway
from tests.fixtures.scripted_upstream import ScriptedUpstream

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "feedback.md"


def example(language: str) -> str:
    [found] = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return str(found)


@pytest.mark.parametrize(
    ("language", "program"), [("sh", ["bash", "-eu", "-c"]), ("python", [sys.executable, "-c"])]
)
async def test_an_example_gives_feedback(
    gateway: RunningGateway, upstream: ScriptedUpstream, language: str, program: list[str]
) -> None:
    upstream.answers("Paris")
    env = {"PATH": os.defpath, "OPENAI_BASE_URL": f"{gateway.url}/v1", "OPENAI_API_KEY": gateway.key}

    process = await asyncio.create_subprocess_exec(
        *program, example(language), env=env, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()

    told = json.loads(output) if language == "sh" else ast.literal_eval(output.decode())
    [entry] = await gateway.entries()
    assert process.returncode == 0
    assert (told["object"], told["request_id"], told["counts"]) == ("feedback", entry.request_id, True)


def test_the_lines_of_an_import_are_good_ones() -> None:
    assert len(read_lines(example("json").encode())) == 3
