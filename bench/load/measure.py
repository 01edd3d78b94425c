"""Loads, one after the other and interleaved, with what each cost the target and whether the books agree after it."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from errors import BenchError
from load import Answers, Billed, MockUpstream, Mode, run_load
from targets import Target

PLAIN = Mode("plain", connections=64)
SINGLE = Mode("single", connections=1)
STREAM = Mode("stream", connections=64, is_stream=True)
STREAM_CALM = Mode("stream_calm", connections=64, is_stream=True, gap_ms=20, warmup_s=0.7)
"""At the pace of a fast model: busy, but not so busy that the time to the first event is a queue's."""
CACHE = Mode("cache", connections=64, repeats=True)
INTERLEAVED = (PLAIN, SINGLE, STREAM, STREAM_CALM)


@dataclass(frozen=True, slots=True)
class Size:
    rounds: int
    seconds: float
    memory_requests: int


WARM_UP = (["--requests", "50"], SINGLE), (["--seconds", "2"], PLAIN), (["--seconds", "1"], STREAM)
MEMORY_WARM_UP = 40_000
QUICK = Size(rounds=3, seconds=2, memory_requests=20_000)
FULL = Size(rounds=5, seconds=5, memory_requests=100_000)


@dataclass(frozen=True, slots=True)
class Load:
    """One load of one target. CPU is that of its whole process tree, its key-value stores apart."""

    target: str
    mode: str
    round: int
    answers: Answers
    cpu_s_per_1000: float = 0.0
    store_cpu_s_per_1000: float = 0.0
    rss_mib: float = 0.0
    store_rss_mib: float = 0.0


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory of a target, its stores apart, against the requests that it had served by then."""

    points: list[tuple[float, float]]
    store_points: list[tuple[float, float]]


class Bench:
    def __init__(self, programs: Path, upstream: MockUpstream, size: Size) -> None:
        self._programs = programs
        self._upstream = upstream
        self._size = size
        self.n_answered = 0

    def interleave(self, targets: Sequence[Target], mode: Mode) -> list[Load]:
        """Every target in every round, each round beginning with another one."""
        loads = []
        for number in range(self._size.rounds):
            first = number % len(targets)
            for target in [*targets[first:], *targets[:first]]:
                loads.append(self.load(target, mode, number))
                say(_line(loads[-1]))
        return loads

    def warm_up(self, target: Target) -> None:
        """Unmeasured, and the first requests one after the other: some targets build themselves in these."""
        for options, mode in WARM_UP:
            self.load(target, mode, options=options)

    def load(self, target: Target, mode: Mode, number: int = 0, options: Sequence[str] = ()) -> Load:
        options = options or [
            "--seconds",
            str(self._size.seconds),
            "--warmup-seconds",
            str(mode.warmup_s),
        ]
        billed_before = self._upstream.bill()
        before = target.process.cost() if target.process else None
        answers = self._run(target, mode, options)
        self._check_books(target, mode, answers, billed_before)
        if not target.process or not before:
            return Load(target.name, mode.name, number, answers)
        # Read after the books agree: what a target does behind its last answer is a cost of the load too.
        after = target.process.cost()
        return Load(
            target.name,
            mode.name,
            number,
            answers,
            cpu_s_per_1000=(after.cpu_s - before.cpu_s) / answers.finished * 1000,
            store_cpu_s_per_1000=(after.store_cpu_s - before.store_cpu_s) / answers.finished * 1000,
            rss_mib=after.rss_mib,
            store_rss_mib=after.store_rss_mib,
        )

    def watch_memory(self, target: Target) -> Memory:
        assert target.process is not None
        # Caches and pools fill at first: growth that ends is not growth.
        self.load(target, PLAIN, options=["--requests", str(MEMORY_WARM_UP)])
        process, billed_before = target.process, self._upstream.bill()
        served_before = sum(billed.requests for billed in billed_before.values())
        memory = Memory([], [])

        def watch() -> None:
            served = sum(billed.requests for billed in self._upstream.bill().values()) - served_before
            cost = process.cost()
            memory.points.append((served, cost.rss_mib))
            memory.store_points.append((served, cost.store_rss_mib))

        options = ["--requests", str(self._size.memory_requests)]
        answers = self._run(target, PLAIN, options, watch)
        self._check_books(target, PLAIN, answers, billed_before)
        return memory

    def _run(
        self, target: Target, mode: Mode, options: Sequence[str], watch: Callable[[], None] | None = None
    ) -> Answers:
        try:
            return run_load(self._programs, target, mode, options, watch)
        except BenchError as exc:
            log = target.process.last_words() if target.process else ""
            raise BenchError(f"{exc}\n{log}") from exc

    def _check_books(self, target: Target, mode: Mode, answers: Answers, before: dict[str, Billed]) -> None:
        billed = {model: now - before.get(model, Billed()) for model, now in self._upstream.bill().items()}
        requests = sum(each.requests for each in billed.values())
        if requests != answers.finished and not mode.repeats:
            raise BenchError(
                f"{target.name}, {mode.name}: {answers.finished} answers, but the upstream served {requests}"
            )
        if target.books:
            target.books.reconcile(answers.finished, billed)
        self.n_answered += answers.finished


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _line(load: Load) -> str:
    answers = load.answers
    return (
        f"{load.mode:14} round {load.round + 1}  {load.target:12} {answers.rps:9.1f}/s  p50 {answers.p50_ms:8.3f} ms"
        f"  ttft {answers.ttft_p50_ms:7.3f} ms  cpu {load.cpu_s_per_1000:6.3f} s/1000  store {load.store_cpu_s_per_1000:.3f}"
    )
