"""Texts per second of a worker over an encoder, one request after another and many at once, and what a text costs.

    python bench/worker/embeddings.py --model FOLDER                      on the CPU, one thread
    python bench/worker/embeddings.py --model FOLDER --precision fp32 int8 --tokens 8 32 128
    python bench/worker/embeddings.py --model FOLDER --device cuda --concurrent 1 8 32 256

A request has one text, as an app's queries have; the last line sends them 256 to a request, as an index is built. Then a
query's time beside a request of 2,048 texts. A word of the texts is one token to most English tokenizers; the table
tells the true number.
"""

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psutil

WORDS = [
    "time",
    "way",
    "year",
    "work",
    "day",
    "man",
    "world",
    "life",
    "hand",
    "part",
    "child",
    "eye",
    "woman",
    "place",
    "week",
    "case",
    "point",
    "home",
    "water",
    "room",
]


@contextmanager
def worker(args: argparse.Namespace, precision: str) -> Iterator[tuple[str, psutil.Process]]:
    command = [sys.executable, "-m", "workers", "--model", args.model, "--serve", "bench", "--port", "0"]
    command += ["--engine", "encoder", "--threads", str(args.threads), "--device", args.device]
    command += [
        "--precision",
        precision,
        "--context",
        "8192",
        *(["--batch", str(args.batch)] if args.batch else []),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["url"], psutil.Process(process.pid)
        finally:
            process.terminate()


class Client:
    def __init__(self, http: httpx.AsyncClient, process: psutil.Process, tokens: int) -> None:
        self._http = http
        self._process = process
        self._words = tokens - 2
        self._random = random.Random(1)

    def texts(self, count: int) -> list[str]:
        return [" ".join(self._random.choices(WORDS, k=self._words)) for _ in range(count)]

    async def ask(self, texts: list[str]) -> tuple[float, int]:
        """Its seconds and its tokens."""
        began = time.perf_counter()
        body = {"model": "bench", "input": texts, "encoding_format": "base64"}
        reply = await self._http.post("/embeddings", json=body)
        reply.raise_for_status()
        return time.perf_counter() - began, reply.json()["usage"]["prompt_tokens"]

    def cpu_s(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)

    async def load(self, concurrent: int, texts: int, each: int) -> dict[str, Any]:
        """That many texts in all, `each` to a request."""
        places = asyncio.Semaphore(concurrent)

        async def in_turn(given: list[str]) -> tuple[float, int]:
            async with places:
                return await self.ask(given)

        requests = [self.texts(each) for _ in range(texts // each)]
        began, cpu = time.perf_counter(), self.cpu_s()
        answers = await asyncio.gather(*map(in_turn, requests))
        wall, cpu = time.perf_counter() - began, self.cpu_s() - cpu
        return {
            "concurrent": concurrent,
            "each": each,
            "tokens": sum(tokens for _, tokens in answers) / texts,
            "texts_s": texts / wall,
            "cpu_s_per_1000": cpu / texts * 1000,
            "p50_ms": statistics.median(seconds for seconds, _ in answers) * 1000,
        }

    async def beside(self) -> dict[str, float]:
        """A query's time alone, and while 2,048 texts are computed; in milliseconds."""
        alone = [(await self.ask(self.texts(1)))[0] for _ in range(10)]
        bulk = asyncio.ensure_future(self.ask(self.texts(2048)))
        await asyncio.sleep(1)
        beside = []
        while not bulk.done() and len(beside) < 10:
            beside.append((await self.ask(self.texts(1)))[0])
        took, _ = await bulk
        return {
            "alone_ms": statistics.median(alone) * 1000,
            "beside_ms": statistics.median(beside) * 1000,
            "bulk_s": took,
        }


async def measured(
    args: argparse.Namespace, url: str, process: psutil.Process, tokens: int
) -> list[dict[str, Any]]:
    async with httpx.AsyncClient(
        base_url=url, timeout=600, limits=httpx.Limits(max_connections=1024)
    ) as http:
        client = Client(http, process, tokens)
        await client.load(4, 32, 1)  # warm
        rows = []
        for concurrent in args.concurrent:
            best = [await client.load(concurrent, args.texts, 1) for _ in range(args.repeats)]
            rows.append(min(best, key=lambda row: row["cpu_s_per_1000"]))
        rows.append(await client.load(2, max(args.texts, 512), 256))
        return [*rows, await client.beside()] if args.beside else rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--precision", nargs="+", default=["auto"])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--tokens", type=int, nargs="+", default=[32], help="of a text")
    parser.add_argument("--concurrent", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--texts", type=int, default=256, help="of a line")
    parser.add_argument("--repeats", type=int, default=3, help="the one of least CPU time counts")
    parser.add_argument("--beside", action="store_true", help="measure queries beside 2,048 texts, too")
    args = parser.parse_args()
    print(
        "| weights | at once | texts each | tokens | texts/s | CPU s per 1,000 texts | p50 ms |\n|---|---|---|---|---|---|---|"
    )
    for precision in args.precision:
        with worker(args, precision) as (url, process):
            for tokens in args.tokens:
                for row in asyncio.run(measured(args, url, process, tokens)):
                    if "bulk_s" in row:
                        print(
                            f"\na query alone {row['alone_ms']:.0f} ms, beside 2,048 texts {row['beside_ms']:.0f} ms; those take {row['bulk_s']:.1f} s\n"
                        )
                        continue
                    print(
                        f"| {precision} | {row['concurrent']} | {row['each']} | {row['tokens']:.0f} | {row['texts_s']:.1f} "
                        f"| {row['cpu_s_per_1000']:.1f} | {row['p50_ms']:.0f} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
