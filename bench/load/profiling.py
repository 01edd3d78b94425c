"""Where the gateway's time goes: py-spy's samples during a load, by stage of the path and by function."""

import shutil
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from errors import BenchError
from measure import Bench, Mode
from processes import thread_cpu_s
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
class Profile:
    """CPU seconds per 1,000 requests."""

    mode: str
    by_part: Counter[str]
    by_self: Counter[str]
    by_total: Counter[str]


def record(bench: Bench, target: Target, mode: Mode, folder: Path) -> Profile:
    """A load by itself, for what each thread costs, and one under py-spy, for what the thread does with it.

    Not by py-spy alone: it slows what it watches, and takes a thread that waits for the disk to be busy.
    """
    assert target.process is not None
    spy = shutil.which("py-spy") or shutil.which("py-spy", path=Path(sys.executable).parent)
    if spy is None:
        raise BenchError(
            "--profile needs py-spy: install it into the environment that runs this (uv pip install py-spy)"
        )
    before = thread_cpu_s(target.process.pid)
    finished = bench.load(target, mode).answers.finished
    after = thread_cpu_s(target.process.pid)
    output = folder / f"{mode.name}.samples"
    command = [spy, "record", "--threads", "--pid", str(target.process.pid), "--rate", str(RATE_HZ)]
    command += ["--duration", "unlimited", "--format", "raw", "--output", str(output)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as recorder:
        bench.load(target, mode)
        recorder.send_signal(signal.SIGINT)
        _, errors = recorder.communicate(timeout=60)
    if not output.exists():
        raise BenchError(f"py-spy recorded nothing (it may need root): {errors.strip()[-300:]}")
    spent = {thread: (cpu_s - before.get(thread, 0.0)) / finished * 1000 for thread, cpu_s in after.items()}
    return profile_of(mode.name, output.read_text(), spent)


def profile_of(mode: str, raw: str, spent: Mapping[int, float]) -> Profile:
    """Lines of `thread (TID): name;outermost;...;innermost COUNT`, each frame `function (file:line)`. A thread's
    samples share out what that thread has spent.
    """
    stacks: dict[int, Counter[tuple[str, ...]]] = defaultdict(Counter)
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        thread, *frames = stack.split(";")
        functions = tuple(frame.rpartition(":")[0] + ")" for frame in frames)
        if functions and functions[-1] not in IDLE:
            stacks[int(thread.partition("(")[2].partition(")")[0])][functions] += int(count)
    profile = Profile(mode, Counter(), Counter(), Counter())
    for thread, counts in stacks.items():
        for functions, count in counts.items():
            share = spent.get(thread, 0.0) * count / counts.total()
            profile.by_part[part_of(functions)] += share
            profile.by_self[functions[-1]] += share
            for function in set(functions):
                profile.by_total[function] += share
    return profile


def part_of(frames: Sequence[str]) -> str:
    for frame in reversed(frames):
        for stage in STAGES:
            if f"gateway/stages/{stage}" in frame:
                return stage
    for frame in reversed(frames):
        for path, part in PARTS:
            if f"({path}" in frame:
                return part
    return "event loop and the rest"


def table(profile: Profile) -> str:
    total = profile.by_part.total()
    lines = [f"## {profile.mode}: {total:.3f} CPU s per 1,000", ""]
    for title, counter, top in (
        ("part", profile.by_part, None),
        ("function, itself", profile.by_self, TOP),
        ("function of ours, with what it calls", _ours(profile.by_total), TOP),
    ):
        lines += [f"| {title} | CPU s/1000 | share |", "|---|---|---|"]
        lines += [f"| {name} | {cpu:.3f} | {cpu / total:.1%} |" for name, cpu in counter.most_common(top)]
        lines.append("")
    return "\n".join(lines)


def _ours(counter: Counter[str]) -> Counter[str]:
    return Counter(
        {name: cpu for name, cpu in counter.items() if "(gateway/" in name and "(gateway/cli/" not in name}
    )
