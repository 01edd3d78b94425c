"""Where the gateway's time goes: py-spy's samples during a load, by stage of the path and by function."""

import shutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from errors import BenchError
from measure import Bench, Load, Mode
from targets import Target

RATE_HZ = 200
TOP = 12

STAGES = ("authenticate", "admit", "lookup", "score", "route", "dispatch", "relay", "meter", "settle")
PARTS = (
    ("gateway/ledger/journal", "journal"),
    ("gateway/ledger/", "shipper and ledger"),
    ("gateway/limits/", "limits client"),
    ("gateway/cache/", "cache client"),
    ("gateway/telemetry/", "telemetry"),
    ("gateway/pipeline", "pipeline"),
    ("gateway/upstreams/", "upstream reads"),
    ("gateway/api/", "api"),
    ("redis/", "limits client"),
    ("aiohttp/", "upstream reads"),
    ("litestar/", "framework"),
    ("uvicorn/", "server"),
)
"""What has no stage above it, by the nearest of these towards the leaf. Work that one task does for many requests, such
as a batch of commands to the store, has no stage."""


IDLE = frozenset(
    {"Condition.wait (threading.py)", "wait (threading.py)", "_worker (concurrent/futures/thread.py)"}
)
"""Threads that wait for work, which py-spy takes for busy now and then."""


@dataclass(frozen=True, slots=True)
class Samples:
    by_part: Counter[str]
    by_self: Counter[str]
    by_total: Counter[str]

    @property
    def total(self) -> int:
        return self.by_part.total()


def record(bench: Bench, target: Target, mode: Mode, folder: Path) -> tuple[Load, Samples]:
    """A load by itself, for what it costs, and another one under py-spy."""
    spy = shutil.which("py-spy") or shutil.which("py-spy", path=Path(sys.executable).parent)
    if spy is None:
        raise BenchError(
            "--profile needs py-spy: install it into the environment that runs this (uv pip install py-spy)"
        )
    assert target.process is not None
    load = bench.load(target, mode)
    output = folder / f"{mode.name}.samples"
    # Not stopping the process for each sample: that would make short functions look long.
    command = [spy, "record", "--nonblocking", "--pid", str(target.process.pid), "--rate", str(RATE_HZ)]
    command += ["--duration", "unlimited", "--format", "raw", "--output", str(output)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as recorder:
        bench.load(target, mode)
        recorder.send_signal(signal.SIGINT)
        _, errors = recorder.communicate(timeout=60)
    if not output.exists():
        raise BenchError(f"py-spy recorded nothing (it may need root): {errors.strip()[-300:]}")
    return load, read_samples(output.read_text())


def read_samples(raw: str) -> Samples:
    """Lines of `outermost;...;innermost count`, each frame `function (file:line)`."""
    samples = Samples(Counter(), Counter(), Counter())
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [frame.rpartition(":")[0] + ")" for frame in stack.split(";") if "(" in frame]
        if not frames or frames[-1] in IDLE:
            continue
        samples.by_part[part_of(frames)] += int(count)
        samples.by_self[frames[-1]] += int(count)
        for frame in set(frames):
            samples.by_total[frame] += int(count)
    return samples


def part_of(frames: list[str]) -> str:
    for frame in reversed(frames):
        for stage in STAGES:
            if f"gateway/stages/{stage}" in frame:
                return stage
    for frame in reversed(frames):
        for path, part in PARTS:
            if f"({path}" in frame:
                return part
    return "event loop and the rest"


def table(load: Load, samples: Samples) -> str:
    total = samples.total or 1
    lines = [
        f"## {load.mode}: {load.cpu_s_per_1000:.3f} CPU s per 1,000, {total} samples",
        "",
        "| part | share | CPU s/1000 |",
        "|---|---|---|",
    ]
    for part, count in samples.by_part.most_common():
        lines.append(f"| {part} | {count / total:.1%} | {count / total * load.cpu_s_per_1000:.3f} |")
    for title, counter in (("self", samples.by_self), ("total, ours only", _ours(samples.by_total))):
        lines += ["", f"| function ({title}) | share |", "|---|---|"]
        lines += [f"| {name} | {count / total:.1%} |" for name, count in counter.most_common(TOP)]
    return "\n".join(lines) + "\n"


def _ours(counter: Counter[str]) -> Counter[str]:
    return Counter({name: count for name, count in counter.items() if "(gateway/" in name})
