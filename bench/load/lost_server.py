"""Kill one of two servers of an upstream under load and count who notices.

    python bench/load/lost_server.py [--requests 10000] [--connections 32]

First with whole answers, of which none may fail; then with streams, of which those may break that had begun at the
server that was killed.
"""

import argparse
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from errors import BenchError
from load import HERE, MockUpstream, Mode, compile_programs, run_load
from weighbridge import start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=32)
    args = parser.parse_args()
    for is_stream in (False, True):
        mode = Mode(
            "streams" if is_stream else "whole answers", args.connections, is_stream=is_stream, gap_ms=1
        )
        print(f"{mode.name}: {killed_under(mode, args.requests)}", flush=True)


def killed_under(mode: Mode, requests: int) -> str:
    programs = compile_programs(HERE / ".build")
    with (
        tempfile.TemporaryDirectory() as folder,
        MockUpstream(programs) as first,
        MockUpstream(programs) as second,
        start(first, Path(folder), second=second) as gateway,
    ):
        try:
            answers = run_load(
                programs, gateway, mode, ["--requests", str(requests)], _kills(second, after=requests // 4)
            )
            told = f"{answers.finished} answered, none failed, p99 {answers.p99_ms:.0f} ms"
        except BenchError as exc:
            told = str(exc).partition(". The first")[0]
        gateway.process.stop()  # what was concluded is in the ledger
        entries = _outcomes(Path(folder) / "data" / "weighbridge.db")
    return f"{told}; in the ledger {entries}"


def _kills(server: MockUpstream, *, after: int) -> Callable[[], None]:
    """Once it has served so many."""
    is_dead = False

    def watch() -> None:
        nonlocal is_dead
        if not is_dead and sum(each.requests for each in server.bill().values()) >= after:
            server.kill()
            is_dead = True

    return watch


def _outcomes(database: Path) -> dict[str, int]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return dict(connection.execute("SELECT outcome, count(*) FROM entries GROUP BY outcome").fetchall())


if __name__ == "__main__":
    main()
