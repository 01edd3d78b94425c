"""The worker's engines and other servers of the same model, asked over HTTP, in turn: tokens per second and first tokens.

    python bench/worker/compare.py --folder MODEL --gguf FILE --transformers-serve PYTHON
    python bench/worker/compare.py --folder MODEL --url vllm=http://127.0.0.1:8000/v1=MODEL-NAME --concurrent 1 8 32 128

`--folder` starts our worker on transformers, `--gguf` on llama.cpp, `--transformers-serve` the library's own server with
continuous batching, by the Python that has `transformers[serving]`; `--url` takes what already runs. All have the same
number of threads, and only one of them is asked at a time. Prints a table and, with --json, one JSON object a line.
"""

import argparse
import asyncio
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

UP_WITHIN_S = 300


class Server(NamedTuple):
    name: str
    url: str
    model: str
    process: subprocess.Popen[bytes] | None = None


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def commands(args: argparse.Namespace) -> Iterator[tuple[str, str, list[str], int]]:
    """Name, name of the model, command and port of each server that is to be started."""
    most = max(args.concurrent)
    common = [
        "--slots",
        str(most),
        "--context",
        "2048",
        "--threads",
        str(args.threads),
        "--max-queue",
        "1000",
    ]
    for name, path, extra in (
        ("worker, transformers", args.folder, ["--precision", args.precision, *args.batch]),
        ("worker, llama.cpp", args.gguf, []),
    ):
        if path is not None:
            port = free_port()
            worker = [sys.executable, "-m", "workers", "--model", str(path), "--serve", "bench"]
            yield name, "bench", [*worker, "--port", str(port), *common, *extra], port
    if args.transformers_serve is not None:
        port = free_port()
        serve = [str(args.transformers_serve), "-m", "transformers.cli.transformers", "serve"]
        options = ["--continuous-batching", "--port", str(port), "--host", "127.0.0.1", "--dtype", "float32"]
        yield "transformers serve", str(args.folder), [*serve, *options], port


def start(args: argparse.Namespace, stack: contextlib.ExitStack) -> Iterator[Server]:
    threads = {name: str(args.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    for name, model, command, port in commands(args):
        log = stack.enter_context((args.logs / f"{name.replace(', ', '-').replace(' ', '-')}.log").open("wb"))
        environment = {**os.environ, **threads, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        stack.callback(process.wait)
        stack.callback(process.terminate)
        yield Server(name, f"http://127.0.0.1:{port}/v1", model, process)
    for given in args.url:
        name, url, model = given.split("=", 2)
        yield Server(name, url, model)


async def ask(session: aiohttp.ClientSession, server: Server, index: int, tokens: int) -> dict[str, float]:
    """One answer: when its first text came, how many pieces it had, and when the last came."""
    question = (
        f"Write a long story about a lighthouse keeper and {index} ships in a storm. Do not stop early."
    )
    body = {
        "model": server.model,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    began = time.perf_counter()
    first = last = 0.0
    pieces, told = 0, None
    async with session.post(f"{server.url}/chat/completions", json=body) as response:
        if response.status != 200:
            raise SystemExit(f"{server.name}: {response.status} {await response.text()}")
        async for line in response.content:
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            told = (event.get("usage") or {}).get("completion_tokens", told)
            if any((choice.get("delta") or {}).get("content") for choice in event.get("choices") or ()):
                last = time.perf_counter()
                first = first or last
                pieces += 1
    return {"first": first - began, "tokens": told or pieces, "gap": (last - first) / max(1, pieces - 1)}


async def measure(server: Server, concurrent: int, args: argparse.Namespace) -> dict[str, Any]:
    places = asyncio.Semaphore(concurrent)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:

        async def in_turn(index: int) -> dict[str, float]:
            async with places:
                return await ask(session, server, index, args.tokens)

        began = time.perf_counter()
        count = max(args.least, concurrent)
        answers = await asyncio.gather(*(in_turn(index) for index in range(count)))
        wall = time.perf_counter() - began
    firsts = sorted(answer["first"] for answer in answers)
    return {
        "server": server.name,
        "concurrent": concurrent,
        "tokens_per_s": round(sum(answer["tokens"] for answer in answers) / wall, 1),
        "ttft_p50_ms": round(1000 * statistics.median(firsts)),
        "ttft_p99_ms": round(1000 * firsts[min(len(firsts) - 1, int(0.99 * len(firsts)))]),
        "between_tokens_ms": round(1000 * statistics.mean(answer["gap"] for answer in answers), 1),
    }


async def ready(server: Server) -> None:
    """Once it has answered a short request; what it loads on the first one is not measured."""
    async with aiohttp.ClientSession() as session:
        for _ in range(UP_WITHIN_S):
            if server.process is not None and server.process.poll() is not None:
                raise SystemExit(f"{server.name} ended with {server.process.returncode}; see --logs")
            with contextlib.suppress(aiohttp.ClientError, SystemExit):
                await ask(session, server, 0, 4)
                return
            await asyncio.sleep(1)
    raise SystemExit(f"{server.name} did not answer within {UP_WITHIN_S} s")


async def bench(args: argparse.Namespace) -> None:
    args.logs.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        servers = list(start(args, stack))
        for server in servers:
            await ready(server)
        for turn in range(args.rounds):
            for concurrent in args.concurrent:
                for server in servers:
                    figures = {"round": turn, **await measure(server, concurrent, args)}
                    line = "  ".join(f"{key} {value}" for key, value in figures.items())
                    print(json.dumps(figures) if args.json else line, flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, help="a model for transformers")
    parser.add_argument("--gguf", type=Path, help="the same for llama.cpp")
    parser.add_argument("--transformers-serve", type=Path, metavar="PYTHON")
    parser.add_argument("--url", action="append", default=[], metavar="NAME=URL=MODEL")
    parser.add_argument("--concurrent", type=int, nargs="+", default=[1, 8, 16])
    parser.add_argument("--tokens", type=int, default=64, help="of each answer, at most")
    parser.add_argument("--least", type=int, default=2, help="answers of each measurement, at least")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", default="auto")
    parser.add_argument(
        "--batch", type=lambda text: ["--batch", text], default=[], help="of our worker on transformers"
    )
    parser.add_argument("--logs", type=Path, default=Path("bench-logs"))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    if args.transformers_serve and not args.folder:
        parser.error("--transformers-serve serves the model of --folder")
    asyncio.run(bench(args))


if __name__ == "__main__":
    main()
