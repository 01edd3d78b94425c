"""The examples of docs/reference/scorer.md, "See why", work when they are pasted."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path

from tests.fixtures.gateway import RunningGateway

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "scorer.md"


async def pasted(example: str, **env: str) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}"
    process = await asyncio.create_subprocess_exec(
        *("bash", "-eu", "-c", example), env={"PATH": path, **env}, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


async def test_a_score_is_explained_by_the_command_and_by_the_gateway(gateway: RunningGateway) -> None:
    section = PAGE.read_text(encoding="utf-8").partition("## See why")[2].partition("\n## ")[0]
    command, request = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)

    printed = await pasted(command)
    told = json.loads(
        await pasted(
            request, WEIGHBRIDGE_ADMIN_URL=gateway.admin_url, WEIGHBRIDGE_ADMIN_KEY=gateway.admin_key
        )
    )

    assert "llama-3.1-8b-instruct" in printed
    assert f"complexity  {told['complexity']:.2f}" in printed
    assert told["category"] == "maths"
