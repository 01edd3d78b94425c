"""Starts a process that writes a journal, and kills it."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def kill_after(lines: int, folder: Path, name: str, url: str = "") -> list[tuple[str, str]]:
    """What the process said to be durable before it was killed: `("concluded", id)`."""
    child = subprocess.Popen(
        [sys.executable, str(HERE / "journal_child.py"), str(folder), name, url],
        env={"PYTHONPATH": str(HERE.parents[1])},
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        said = [child.stdout.readline() for _ in range(lines)]
        child.kill()
        said += child.stdout.readlines()
    whole = [line.split() for line in said if line.endswith("\n")]
    return [(word, request_id) for word, request_id in whole]
