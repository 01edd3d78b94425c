"""What a long prompt does to the answers beside it: their tokens' pace alone, and while it is read.

    python bench/worker/stall.py --model FOLDER --attention sequence sdpa     interleaved, `--rounds` times each

Needs no network and asks nothing.
"""

import argparse
import asyncio
import contextlib
import itertools
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from workers.engines.contract import Job, Token
from workers.engines.transformers_engine import loading
from workers.engines.transformers_engine.engine import TransformersEngine
from workers.engines.transformers_engine.preparation import Options
from workers.models import ModelFile
from workers.request import CompletionRequest


def job(name: str, prompt: int, tokens: int) -> Job:
    words = tuple(random.Random(name).choices(range(5, 200), k=prompt))
    # The ends of the shapes and of SmolLM2: no answer is cut short.
    body = CompletionRequest(
        model="bench",
        prompt=words,
        max_tokens=tokens,
        temperature=0.0,
        logit_bias={"0": -100, "2": -100},
    )
    return Job(name, body)


async def times(engine: TransformersEngine, asked: Job, clock: Callable[[], float]) -> list[float]:
    async with contextlib.aclosing(engine.generate(asked)) as answer:
        return [clock() async for token in answer if isinstance(token, Token)]


def gaps(all_seen: list[list[float]], begin: float, end: float) -> list[float]:
    return [
        later - earlier
        for seen in all_seen
        for earlier, later in itertools.pairwise(seen)
        if begin <= earlier and later <= end
    ]


async def measure(
    engine: TransformersEngine, args: argparse.Namespace, turn: int
) -> tuple[float, float, float]:
    """Milliseconds between tokens alone and beside the prompt, and the seconds that the prompt takes."""
    clock = time.process_time if args.cpu_time else time.perf_counter
    running = [
        asyncio.create_task(times(engine, job(f"{turn}-{i}", 32, args.tokens), clock))
        for i in range(args.answers)
    ]
    await asyncio.sleep(args.alone)
    began = clock()
    first = (await times(engine, job(f"{turn}-long", args.prompt, 1), clock))[0]
    seen = await asyncio.gather(*running)
    if min(each[-1] for each in seen) < first:
        raise SystemExit("an answer ended before the prompt was read: give more --tokens")
    alone = gaps(seen, min(each[0] for each in seen), began)
    beside = gaps(seen, began, first)
    return 1000 * statistics.median(alone), 1000 * statistics.median(beside), first - began


async def bench(args: argparse.Namespace) -> None:
    for turn in range(args.rounds):
        for batch in args.batch:
            for attention in args.attention:
                engine = TransformersEngine(
                    ModelFile(args.model.name, args.model),
                    Options(
                        slots=4,
                        context=args.prompt + 64,
                        threads=args.threads,
                        batch=batch,
                        attention=attention,
                        device=args.device,
                    ),
                    seeds=random.Random(1),
                )
                await engine.start()
                try:
                    alone, beside, took = await measure(engine, args, turn)
                finally:
                    await engine.stop()
                print(
                    f"{attention:9} {batch:4} tokens a step: {alone:6.1f} ms alone, {beside:6.1f} ms beside, "
                    f"x{beside / alone:.1f}; the prompt took {took:.1f} s",
                    flush=True,
                )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="a folder with a config.json")
    parser.add_argument("--attention", nargs="+", default=["auto"])
    parser.add_argument("--batch", type=int, nargs="+", default=[64], help="tokens of a step")
    parser.add_argument("--prompt", type=int, default=4000, metavar="TOKENS")
    parser.add_argument("--answers", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=160, help="of each answer")
    parser.add_argument("--alone", type=float, default=5.0, metavar="SECONDS", help="before the prompt comes")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument(
        "--cpu-time", action="store_true", help="of this process, for a machine that others use too"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args(argv)
    loading.go_offline()
    asyncio.run(bench(args))


if __name__ == "__main__":
    main()
