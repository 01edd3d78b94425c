"""What a run says in the end: figures for machines, a table for people, files for the record."""

import json
import os
import platform
import sysconfig
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from figures import after_warm_up, fit_slope, median_difference, median_ratio
from measure import CACHE, PLAIN, SINGLE, STREAM, STREAM_CALM, Load, Memory, Mode

WARM_UP_SHARE = 0.2
"""Of the requests of the memory run: they are not part of the fit."""

TABLE_HEAD = """\
| target | requests/s | CPU s/1000 | its store | added p50 ms | stream CPU s/1000 | TTFT ms | saturated | RSS MiB |
|---|---|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class Loads:
    """All the interleaved loads of a run."""

    all: Sequence[Load]

    def names(self) -> list[str]:
        return list(dict.fromkeys(load.target for load in self.all))

    def values(self, target: str, mode: Mode, of: Callable[[Load], float]) -> list[float]:
        """One a round, in the order of the rounds: two targets' values belong together pairwise."""
        return [of(load) for load in self.all if load.target == target and load.mode == mode.name]

    def median(self, target: str, mode: Mode, of: Callable[[Load], float]) -> float:
        return median(self.values(target, mode, of))

    def added(self, target: str, mode: Mode, of: Callable[[Load], float]) -> float:
        return median_difference(self.values(target, mode, of), self.values("direct", mode, of))

    def ratio(self, target: str, other: str, mode: Mode, of: Callable[[Load], float]) -> float:
        return median_ratio(self.values(target, mode, of), self.values(other, mode, of))


def _rps(load: Load) -> float:
    return load.answers.rps


def _p50(load: Load) -> float:
    return load.answers.p50_ms


def _ttft(load: Load) -> float:
    return load.answers.ttft_p50_ms


def _cpu(load: Load) -> float:
    return load.cpu_s_per_1000


def _store_cpu(load: Load) -> float:
    return load.store_cpu_s_per_1000


def _rss(load: Load) -> float:
    return load.rss_mib


def load_figures(loads: Loads, ours: str) -> dict[str, float]:
    """What the interleaved loads say of `ours`, and how it compares with each of the others."""
    figures = {
        "plain_cpu_s_per_1000": loads.median(ours, PLAIN, _cpu),
        "plain_store_cpu_s_per_1000": loads.median(ours, PLAIN, _store_cpu),
        "plain_rps": loads.median(ours, PLAIN, _rps),
        "stream_cpu_s_per_1000": loads.median(ours, STREAM, _cpu),
        "stream_store_cpu_s_per_1000": loads.median(ours, STREAM, _store_cpu),
        "stream_rps": loads.median(ours, STREAM, _rps),
        "added_p50_ms": loads.added(ours, SINGLE, _p50),
        "ttft_added_p50_ms": loads.added(ours, STREAM_CALM, _ttft),
        "ttft_added_p50_ms_saturated": loads.added(ours, STREAM, _ttft),
    }
    if loads.values(ours, CACHE, _cpu):
        figures["cache_cpu_s_per_1000"] = loads.median(ours, CACHE, _cpu)
        figures["cache_rps"] = loads.median(ours, CACHE, _rps)
    for other in loads.names():
        if other not in (ours, "direct"):
            name = other.replace("-", "_")
            figures[f"ratio_{name}_rps"] = loads.ratio(ours, other, PLAIN, _rps)
            figures[f"ratio_{name}_cpu"] = loads.ratio(ours, other, PLAIN, _cpu)
    return {name: round(value, 4) for name, value in figures.items()}


def memory_figures(memory: Memory) -> dict[str, float | bool]:
    """Growth per 100,000 requests. A slope above twice its standard error is growth, not noise."""
    points = after_warm_up(memory.points, WARM_UP_SHARE)
    slope = fit_slope([x / 100_000 for x, _ in points], [y for _, y in points])
    stores = after_warm_up(memory.store_points, WARM_UP_SHARE)
    return {
        "rss_slope_mib_per_100k": round(slope.value, 3),
        "rss_slope_error_mib_per_100k": round(slope.error, 3),
        "is_rss_slope_noise": slope.is_noise,
        "rss_requests": int(memory.points[-1][0]),
        "rss_mib": round(points[-1][1], 1),
        "store_rss_slope_mib_per_100k": round(
            fit_slope([x / 100_000 for x, _ in stores], [y for _, y in stores]).value, 3
        ),
        "store_rss_mib": round(stores[-1][1], 1),
    }


def sync_ms(folder: Path) -> float:
    """What it takes to make 4 KiB durable on the disk of the journal: the median of 50 tries."""
    took = []
    with (folder / "sync").open("wb", buffering=0) as file:
        for _ in range(50):
            began = time.perf_counter()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - began) * 1000)
    return round(median(took), 3)


def machine() -> dict[str, str | int | float | bool]:
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    flags = str(sysconfig.get_config_var("CONFIG_ARGS")) + str(sysconfig.get_config_var("PY_CFLAGS_NODIST"))
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count() or 0,
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "python": platform.python_version(),
        "is_python_optimised": "--enable-optimizations" in flags or "-fprofile-use" in flags,
    }


def table(loads: Loads) -> str:
    rows = [f"| {name} | {' | '.join(_cells(loads, name))} |\n" for name in loads.names()]
    return TABLE_HEAD + "".join(rows)


def _cells(loads: Loads, name: str) -> list[str]:
    rps = f"{loads.median(name, PLAIN, _rps):,.0f}"
    ttft = [f"{loads.median(name, mode, _ttft):.2f}" for mode in (STREAM_CALM, STREAM)]
    if name == "direct":
        return [rps, "-", "-", "-", "-", *ttft, "-"]
    return [
        rps,
        f"{loads.median(name, PLAIN, _cpu):.3f}",
        f"{loads.median(name, PLAIN, _store_cpu):.3f}",
        f"{loads.added(name, SINGLE, _p50):.2f}",
        f"{loads.median(name, STREAM, _cpu):.2f}",
        *ttft,
        f"{loads.median(name, STREAM_CALM, _rss):.0f}",
    ]


def markdown(figures: dict[str, object], loads: Loads) -> str:
    lines = [f"- `{name}`: {value}" for name, value in figures.items()]
    return f"{table(loads)}\n" + "\n".join(lines) + "\n"


def save(figures: dict[str, object], loads: Loads, folder: Path) -> None:
    stem = f"{figures['date']}-load-{figures['cores']}-cores"
    (folder / f"{stem}.md").write_text(
        f"# Load, {figures['date']}, {figures['cores']} cores\n\n{markdown(figures, loads)}"
    )
    record = {"figures": figures, "loads": [asdict(load) for load in loads.all]}
    (folder / f"{stem}.json").write_text(json.dumps(record, indent=1) + "\n")
