"""Measure the gateway's whole path against a fake upstream, a bare proxy and peers, in one interleaved run.

Progress goes to stderr, the result to stdout: a table, or one line of JSON with --json. A request without a good
answer, or a difference between the ledger and the upstream's bill, ends the run with exit status 1 and no figures.
"""

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import profiling
import report
import targets
import weighbridge
from errors import BenchError
from load import HERE, MockUpstream, compile_programs
from measure import CACHE, FULL, INTERLEAVED, PLAIN, QUICK, STREAM, Bench, say
from processes import raise_priority

RESULTS = HERE.parent / "results"


def main() -> int:
    args = parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is stopped on this way out too
    if args.nice:
        raise_priority(args.nice)
    try:
        return profile(args) if args.profile else measure(args)
    except BenchError as exc:
        print(f"bench: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./dev bench load", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="shorter loads and fewer rounds: a minute or two"
    )
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    parser.add_argument(
        "--save", action="store_true", help="write the result to bench/results too, as JSON and as a table"
    )
    parser.add_argument(
        "--peers",
        nargs="?",
        const="litellm",
        default="",
        metavar="NAMES",
        help=f"measure these too, after installing them: comma list of {', '.join(targets.PEER_BY_NAME)} (default: litellm)",
    )
    parser.add_argument(
        "--against",
        type=Path,
        metavar="DIR",
        help="measure the gateway of another checkout too, on this one's packages: before and after a change",
    )
    parser.add_argument(
        "--profile", action="store_true", help="say where the gateway's time goes instead (needs py-spy)"
    )
    parser.add_argument(
        "--nice",
        type=int,
        default=0,
        metavar="N",
        help="run all of it at this nice; below 0 (root) keeps other work away",
    )
    args = parser.parse_args()
    args.peers = [name for name in args.peers.split(",") if name]
    for name in args.peers:
        if name not in targets.PEER_BY_NAME:
            parser.error(f"--peers: {name!r} is none of {', '.join(targets.PEER_BY_NAME)}")
    return args


def measure(args: argparse.Namespace) -> int:
    size = QUICK if args.quick else FULL
    programs = compile_programs(HERE / ".build")
    with ExitStack() as stack:
        # On the disk of the checkout, because a journal in memory would be durable for free.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="run-", dir=programs)))
        upstream = stack.enter_context(MockUpstream(programs))
        bench = Bench(programs, upstream, size)
        everyone = [targets.direct(upstream)]
        for start in _starters(upstream, folder, args.peers, args.against):
            everyone.append(stack.enter_context(start()))
            bench.warm_up(everyone[-1])
        ours = next(target for target in everyone if target.name == "weighbridge")
        loads = [load for mode in INTERLEAVED for load in bench.interleave(everyone, mode)]
        loads += bench.interleave([ours], CACHE)
        disk = {"fdatasync_ms": report.sync_ms(folder)}
        say(f"memory: {size.memory_requests:,} requests")
        memory = bench.watch_memory(ours)
        # A difference would have ended the run.
        ledger = {
            "ledger_entries": ours.books.entries,
            "ledger_cost_nano_usd": ours.books.cost,
            "is_ledger_equal_to_bill": True,
        }
    all_loads = report.Loads(loads)
    figures = report.load_figures(all_loads, ours.name) | report.memory_figures(memory)
    figures |= {"requests": bench.n_answered, "failures": 0, "rounds": size.rounds, "is_quick": args.quick}
    figures |= ledger | report.machine() | disk
    if args.save:
        report.save(figures, all_loads, RESULTS)
    print(json.dumps(figures) if args.json else report.markdown(figures, all_loads))
    return 0


def profile(args: argparse.Namespace) -> int:
    programs = compile_programs(HERE / ".build")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="run-", dir=programs)))
        upstream = stack.enter_context(MockUpstream(programs))
        ours = stack.enter_context(weighbridge.start(upstream, folder))
        bench = Bench(programs, upstream, QUICK if args.quick else FULL)
        bench.warm_up(ours)
        for mode in (PLAIN, STREAM):
            print(profiling.table(profiling.record(bench, ours, mode, folder)))
    return 0


def _starters(
    upstream: MockUpstream, folder: Path, peers: Sequence[str], against: Path | None
) -> list[Callable[[], targets.Target]]:
    ours_and_bare = [partial(weighbridge.start, upstream, folder), partial(targets.start_bare, upstream)]
    if against is not None:
        other = folder / "against"
        ours_and_bare.append(
            partial(
                weighbridge.start, upstream, other, name="weighbridge before", checkout=against.absolute()
            )
        )
    return ours_and_bare + [partial(targets.start_peer, name, upstream, folder) for name in peers]


if __name__ == "__main__":
    sys.exit(main())
