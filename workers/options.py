"""The words of the worker's command line."""

import argparse
import os
import re
from pathlib import Path

from workers import models
from workers.spot import ADDRESS, CLOUDS

DESCRIPTION = """\
Serves one language model at /v1/chat/completions and /v1/completions, or one encoder at
/v1/embeddings, as OpenAI's API has them, and nothing else: no users, no money. Those are
the gateway's.
"""

EPILOG = """\
examples:
  python -m workers --model smollm2-135m-instruct
  python -m workers --model ~/models/qwen3-8b-q4_k_m.gguf --serve medium --context 16384
  python -m workers --model ~/models/Qwen3-8B --serve medium --slots 32 --kv-gib 40
  python -m workers --model ~/models/Qwen3-32B --serve large --tensor-parallel 2
  python -m workers --model ~/models/all-MiniLM-L6-v2 --serve vectors
  python -m workers --model smollm2-135m-instruct --serve small --serve medium \\
      --port 0 --api-key-file worker.key --threads 1

The first line on standard output is a JSON object with the URL, printed when the model
has loaded and answered. SIGTERM lets running requests finish, then exits with 0; a second
one skips the lame duck.

Where a key is set, the header x-weighbridge-priority, 0 to 9, says which of the waiting go
first; x-weighbridge-time-left-ms for how long the caller waits; x-weighbridge-salt, 16 hex
digits, among whom prompts are reused. The gateway sends them to upstreams with
`worker` or `is_worker: true`.

routes:
  POST /v1/chat/completions, POST /v1/completions                 with the key, if one is set
  POST /v1/embeddings          of an encoder, instead             likewise
  GET /v1/models, GET /metrics                                    likewise
  GET /healthz                 the process answers
  GET /readyz                  the model is loaded and generates
"""


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m workers",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    known = ", ".join(models.PACKAGED)
    parser.add_argument(
        "--model",
        required=True,
        help=f"path of a .gguf file or of a folder with a config.json, or one of: {known}",
    )
    parser.add_argument(
        "--serve",
        action="append",
        metavar="NAME",
        help="name that callers use; may be repeated (default: the model's)",
    )
    _add_listener(parser)
    _add_engine(parser)
    _add_transformers(parser)
    _add_encoder(parser)
    _add_queue(parser)
    _add_stop(parser)
    return parser


def _add_listener(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("listener")
    group.add_argument("--host", help="beyond loopback only with a key (default: 127.0.0.1)")
    place = group.add_mutually_exclusive_group()
    place.add_argument("--port", type=_port, default=8101, help="0 takes a free one (default: %(default)s)")
    place.add_argument(
        "--uds", type=Path, metavar="PATH", help="a Unix socket instead, which only the same user may open"
    )
    key = group.add_mutually_exclusive_group()
    key.add_argument(
        "--api-key-file", type=Path, metavar="FILE", help="file that holds the key that callers must send"
    )
    key.add_argument("--api-key-env", metavar="NAME", help="environment variable that holds it")


def _add_engine(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("engine")
    group.add_argument("--slots", type=_positive, default=4, help="answers at once (default: %(default)s)")
    group.add_argument(
        "--context",
        type=_positive,
        default=4096,
        metavar="TOKENS",
        help="window of each request (default: %(default)s)",
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    group.add_argument(
        "--threads", type=_positive, default=cores, help="of the engine (default: %(default)s)"
    )
    group.add_argument(
        "--batch", type=_positive, metavar="TOKENS", help="prompt tokens per step: more reads prompts faster and lets "
        "other requests and hang-ups wait longer (default: llama.cpp 16, right for a CPU; transformers 256, on a GPU 512; "
        "encoder 256, on a GPU 16384)"
    )  # fmt: skip
    group.add_argument(
        "--reuse-prompts",
        nargs="?",
        choices=["auto", "always", "never"],
        const="always",
        default="auto",
        help="keep earlier prompts and compute only what differs. Its timing tells callers of each other's prompts: "
        "auto does so among requests of one x-weighbridge-salt (llama.cpp: never); always is for one tenant only, "
        "and is what the bare option means",
    )
    group.add_argument(
        "--engine",
        choices=["auto", "transformers", "llamacpp", "encoder"],
        default="auto",
        help="auto: llamacpp for a .gguf file; for a folder transformers, or encoder if its model is made for vectors",
    )


def _add_transformers(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("transformers engine")
    group.add_argument(
        "--precision",
        choices=["auto", "bf16", "fp16", "fp32", "int8", "nf4"],
        default="auto",
        help="of the weights (auto: bf16 on a GPU, fp32 on a CPU)",
    )
    group.add_argument(
        "--device",
        type=_device,
        default="auto",
        help="cpu, cuda, cuda:N, or split: layers on all GPUs, one after another, which is slow (auto: a GPU if there "
        "is one)",
    )
    group.add_argument(
        "--attention",
        choices=["auto", "sequence", "sdpa", "flash"],
        default="auto",
        help="auto: flash on a GPU where flash-attn is installed, else sequence, or sdpa with a sliding window",
    )
    group.add_argument(
        "--kv-gib",
        type=_gib,
        metavar="GIB",
        help="memory of all requests' keys and values, on each GPU (default: enough for every slot's whole window)",
    )
    group.add_argument(
        "--tensor-parallel",
        type=_positive,
        metavar="N",
        help="GPUs that hold the model together, each a process that is started here, or by torchrun "
        "(default: 1, or as many as torchrun has started)",
    )


def _add_encoder(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("encoder engine", "--precision and --device as above")
    group.add_argument(
        "--matryoshka",
        action="store_true",
        help="it was trained for shorter vectors: callers may ask for `dimensions`. Needed only if its config.json "
        "does not say so",
    )


def _add_queue(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("queue")
    group.add_argument(
        "--max-queue", type=_positive, default=64, help="waiting requests (default: %(default)s)"
    )
    group.add_argument(
        "--queue-wait", type=_seconds, default=30.0, metavar="S", help="then 503 (default: %(default)s)"
    )
    group.add_argument(
        "--queue-age",
        type=_seconds,
        default=5.0,
        metavar="S",
        help="who waits rises by a priority class every S seconds (default: %(default)s)",
    )


def _add_stop(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("stop")
    group.add_argument(
        "--lame-duck",
        type=_pause,
        default=0.0,
        metavar="S",
        help="after SIGTERM, tell /readyz at once and serve what still comes for S seconds (default: %(default)g)",
    )
    group.add_argument(
        "--drain",
        type=_seconds,
        default=30.0,
        metavar="S",
        help="then what runs may finish in, and nothing new is served (default: %(default)g)",
    )
    group.add_argument(
        "--spot",
        choices=list(CLOUDS),
        help="on a spot machine: stop as after SIGTERM, in the time that is left, when the cloud takes it back",
    )
    group.add_argument(
        "--spot-address",
        type=_url,
        default=ADDRESS,
        metavar="URL",
        help="of the metadata service (default: %(default)s)",
    )
    group.add_argument(
        "--die-with-parent", action="store_true", help="stop when the process that started this one ends"
    )


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{port} is not a port")
    return port


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _gib(text: str) -> float:
    gib = float(text)
    if not 0 < gib <= 100_000:
        raise argparse.ArgumentTypeError("must be more than 0")
    return gib


def _device(text: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|split", text):
        raise argparse.ArgumentTypeError("is cpu, cuda, cuda:N or split")
    return text


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError("must be more than 0 and at most 3600 seconds")
    return seconds


def _pause(text: str) -> float:
    return 0.0 if float(text) == 0 else _seconds(text)


def _url(text: str) -> str:
    if not re.fullmatch(r"http://[A-Za-z0-9.\-\[\]:]+", text):
        raise argparse.ArgumentTypeError("is a http:// address without a path")
    return text
