"""A day of a fleet that the real autoscaler starts and stops: how full it is, who waits, who is refused.

    python -m bench.worker.day                      the tables of bench/results
    python -m bench.worker.day --tune               what the defaults were chosen by, with another seed

Seeded; needs no network, no model and no GPU. `simulated.py` is the model of the fleet.
"""

import argparse
import math
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from bench.worker.simulated import DAY_S, Figures, Fleet, Moment, Rate, Scaler, Server, Simulation, figures
from gateway.config import Autoscale
from gateway.fleet.autoscale import Autoscaler
from gateway.fleet.contract import Load

MEAN_RATE = 20_000_000 / (365 / 12 * DAY_S)
"""Requests per second: 20 million a month."""
MOST_RATE = 2 * 1.8 * MEAN_RATE
SEEDS, TUNING_SEED = (2024, 7), 101
TOKENS = 256
"""Of a mean answer."""
CPU = (16 / 5.4 - 1) / 15
"""Measured on a CPU: 16 answers at once get 5.4 times as many tokens per second as one."""
GPU = (32 / 12 - 1) / 31
"""A goal, not a measurement: 32 at once get 12 times."""
FLEETS = (
    Fleet("0.25/s, 1 place", 0.25),
    Fleet("1/s, 1 place", 1.0),
    Fleet("1/s, 16 places", 1.0, 16, CPU),
    Fleet("1/s, 32 places", 1.0, 32, GPU),
    Fleet("4/s, 32 places", 4.0, 32, GPU),
    Fleet("10/s, 32 places", 10.0, 32, GPU),
)
ARTICLES = {"0.25/s, 1 place": 77, "1/s, 1 place": 20}
"""Their fixed fleets."""


def diurnal(at_s: float) -> float:
    return MEAN_RATE * (1 + 0.8 * math.sin(2 * math.pi * at_s / DAY_S))


def with_bursts(at_s: float) -> float:
    """From one second to the next twice as many, for a quarter of an hour, four times a day."""
    return diurnal(at_s) * (2 if at_s % 21_600 >= 20_700 else 1)


class Weighbridge:
    """The product's."""

    def __init__(self, fleet: Fleet, settings: Autoscale, rate: Rate, sees_s: float) -> None:
        """`sees_s`: it is shown the load of so much later, which nobody could know; 0 is the product."""
        self._places = fleet.places
        self._autoscaler = Autoscaler(settings)
        self._rate = rate
        self._sees_s = sees_s

    def wanted(self, seen: Moment) -> int:
        ahead = self._rate(seen.now_s + self._sees_s) / self._rate(seen.now_s) if self._sees_s else 1.0
        loads = {str(id(server)): self._load(server, ahead) for server in seen.ready}
        return self._autoscaler.observe(seen.now_s, loads, starting=seen.starting).servers

    def _load(self, server: Server, ahead: float) -> Load:
        return Load(
            running=len(server.running) * ahead,
            queued=len(server.queue) * ahead,
            slots=self._places,
            generated_tokens=server.made * TOKENS,
        )


class Fixed:
    def __init__(self, servers: int) -> None:
        self._servers = servers

    def wanted(self, _seen: Moment) -> int:
        return self._servers


class ByRate:
    """The rule of thumb: each minute as many as carry its requests at three quarters, fewer only after five minutes."""

    def __init__(self, fleet: Fleet) -> None:
        self._each = fleet.per_second * 0.75
        self._arrived = 0
        self._next_s = 60.0
        self._asked: deque[int] = deque(maxlen=5)

    def wanted(self, seen: Moment) -> int:
        self._arrived += seen.arrived
        if seen.now_s >= self._next_s:
            self._asked.append(max(1, math.ceil(self._arrived / 60 / self._each)))
            self._arrived, self._next_s = 0, seen.now_s + 60
        return max(self._asked, default=len(seen.ready) + seen.starting)


@dataclass(frozen=True)
class Run:
    fleet: Fleet
    label: str
    settings: Autoscale | None = None
    """Of the product's autoscaler; else the fleet is fixed, or follows the rate."""
    fixed: int = 0
    rate: Rate = diurnal
    sees_s: float = 0.0
    warm_up_s: float = 120.0
    every_s: float = 5.0
    seed: int = SEEDS[0]

    def scaler(self) -> Scaler:
        if self.settings is not None:
            return Weighbridge(self.fleet, self.settings, self.rate, self.sees_s)
        return Fixed(self.fixed) if self.fixed else ByRate(self.fleet)


def simulate(run: Run) -> Figures:
    simulation = Simulation(
        run.fleet, run.scaler(), every_s=run.every_s, warm_up_s=run.warm_up_s, seed=run.seed
    )
    first = run.fixed or math.ceil(run.rate(0.0) / run.fleet.per_second / 0.75)
    return figures(run.fleet, simulation.run(run.rate, MOST_RATE, first))


def product(**changes: float) -> Autoscale:
    return Autoscale(max=200, **changes)  # type: ignore[arg-type]  # whoever changes a number knows its kind


def fixed(fleet: Fleet) -> int:
    return ARTICLES.get(fleet.name) or math.ceil(MEAN_RATE * 1.8 * 1.389 / fleet.per_second)


def reported() -> list[Run]:
    single, batching = FLEETS[0], FLEETS[3]
    return [
        *(Run(fleet, "autoscaler", product(), seed=seed) for seed in SEEDS for fleet in FLEETS),
        *(Run(fleet, f"{fixed(fleet)} always", fixed=fixed(fleet)) for fleet in FLEETS),
        *(Run(fleet, "three quarters of the rate") for fleet in FLEETS),
        *(
            Run(fleet, label, product(), rate=rate, sees_s=sees_s, warm_up_s=warm_up_s)
            for fleet in (batching, single)
            for label, rate, sees_s, warm_up_s in (
                ("autoscaler; bursts", with_bursts, 0.0, 120.0),
                ("autoscaler that knows 120 s ahead", diurnal, 120.0, 120.0),
                ("autoscaler; 600 s to start", diurnal, 0.0, 600.0),
                ("autoscaler that knows 600 s ahead; 600 s to start", diurnal, 600.0, 600.0),
            )
        ),
    ]


def tuning() -> list[Run]:
    def tried(fleet: Fleet, **changes: float) -> Run:
        label = ", ".join(f"{name} {value:g}" for name, value in changes.items())
        return Run(fleet, label, product(**changes), seed=TUNING_SEED)

    return [
        tried(fleet, target=target, average_s=average_s, burst_s=burst_s)
        for fleet in (FLEETS[5], FLEETS[3], FLEETS[1], FLEETS[0])
        for target in (0.75, 0.8, 0.85, 0.9)
        for average_s, burst_s in ((60, 10), (60, 30), (120, 30), (120, 60), (180, 60))
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    runs = tuning() if args.tune else reported()
    print(
        "| fleet | rule | seed | utilisation | places | server-hours | p95 wait | waited | refused | turns/h | most |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    with ProcessPoolExecutor(args.jobs) as pool:
        for run, told in zip(runs, pool.map(simulate, runs), strict=True):
            print(
                f"| {run.fleet.name} | {run.label} | {run.seed} | {told.utilisation:.3f} | {told.places:.3f} "
                f"| {told.hours:.0f} | {told.p95_wait:.2f} | {told.waited:.3f} | {told.refused} "
                f"| {told.turns:.1f} | {told.most} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
