"""`python -m workers`: one model in one process. Exit codes: 0 stopped as asked, 1 it failed, 2 wrong usage or set-up."""

import argparse
import ipaddress
import json
import os
import random
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog

from workers import models
from workers.engines.contract import Engine
from workers.engines.llamacpp_engine import LlamaCppEngine
from workers.errors import ConfigError
from workers.process import Settings, listen, run

DESCRIPTION = """\
Serves one language model at /v1/chat/completions and /v1/completions, as OpenAI's API
has them, and nothing else: no users, no money. Those are the gateway's.
"""

EPILOG = """\
examples:
  python -m workers --model smollm2-135m-instruct
  python -m workers --model ~/models/qwen3-8b-q4_k_m.gguf --serve medium --context 16384
  python -m workers --model ~/models/Qwen3-8B --serve medium --slots 32 --kv-gib 40
  python -m workers --model smollm2-135m-instruct --serve small --serve medium \\
      --port 0 --api-key-file worker.key --threads 1

The first line on standard output is a JSON object with the URL, printed when the model
has loaded and answered. SIGTERM lets running requests finish, then exits with 0.

Where a key is set, the header x-weighbridge-priority, 0 to 9, says which of the waiting go
first. The gateway sends it to upstreams with `is_worker: true`.

routes:
  POST /v1/chat/completions, POST /v1/completions                 with the key, if one is set
  GET /v1/models, GET /metrics                                    likewise
  GET /healthz                 the process answers
  GET /readyz                  the model is loaded and generates
"""


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    _log_to_stderr()
    try:
        _run(args)
    except ConfigError as exc:
        print(f"worker: {exc}", file=sys.stderr)  # noqa: T201 - a command's output
        return 2
    return 0


def _run(args: argparse.Namespace) -> None:
    model = models.find(args.model)
    api_key = _api_key(args)
    if api_key is None and not _is_loopback(args.host):
        raise ConfigError(
            f"--host {args.host} is not loopback: set a key with --api-key-file or --api-key-env"
        )
    settings = Settings(
        names=tuple(args.serve or [model.name]),
        api_key=api_key,
        max_waiting=args.max_queue,
        max_wait_s=args.queue_wait,
        age_s=args.queue_age,
        drain_s=args.drain,
        dies_with_parent=args.die_with_parent,
    )
    engine = _engine(model, args)
    sock = listen(args.host, args.port)

    def on_ready() -> None:
        host = f"[{args.host}]" if ":" in args.host else args.host
        url = f"http://{host}:{sock.getsockname()[1]}/v1"
        ready = {"event": "ready", "url": url, "models": settings.names, "pid": os.getpid()}
        print(json.dumps(ready), flush=True)  # noqa: T201 - a command's output

    run(engine, settings, sock, on_ready)


def _engine(model: models.ModelFile, args: argparse.Namespace) -> Engine:
    """By what the model is: a file is llama.cpp's, a folder is for transformers."""
    is_folder = model.path.is_dir()
    wanted = {"auto": is_folder, "transformers": True, "llamacpp": False}[args.engine]
    if wanted is not is_folder:
        kind = "a folder with a config.json" if wanted else "a .gguf file"
        raise ConfigError(f"--engine {args.engine} takes {kind}, and {args.model} is none")
    common = {name: getattr(args, name) for name in ("slots", "context", "threads", "batch", "reuse_prompts")}
    own = {name: getattr(args, name) for name in ("precision", "device", "attention", "kv_gib")}
    if is_folder:
        from workers.engines.transformers_engine.engine import Options, TransformersEngine

        return TransformersEngine(model, Options(**common, **own), seeds=random.SystemRandom())
    given = [name for name, value in own.items() if value not in (None, "auto")]
    if given:
        raise ConfigError(f"--{given[0].replace('_', '-')} is for the transformers engine")
    return LlamaCppEngine(model, **common)


def _parser() -> argparse.ArgumentParser:
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
    listener = parser.add_argument_group("listener")
    listener.add_argument(
        "--host", default="127.0.0.1", help="beyond loopback only with a key (default: %(default)s)"
    )
    listener.add_argument(
        "--port", type=_port, default=8101, help="0 takes a free one (default: %(default)s)"
    )
    key = listener.add_mutually_exclusive_group()
    key.add_argument(
        "--api-key-file", type=Path, metavar="FILE", help="file that holds the key that callers must send"
    )
    key.add_argument("--api-key-env", metavar="NAME", help="environment variable that holds it")
    engine = parser.add_argument_group("engine")
    engine.add_argument("--slots", type=_positive, default=4, help="answers at once (default: %(default)s)")
    engine.add_argument(
        "--context",
        type=_positive,
        default=4096,
        metavar="TOKENS",
        help="window of each request (default: %(default)s)",
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    engine.add_argument(
        "--threads", type=_positive, default=cores, help="of the engine (default: %(default)s)"
    )
    engine.add_argument(
        "--batch", type=_positive, metavar="TOKENS", help="prompt tokens per step: more reads prompts faster and lets "
        "other requests and hang-ups wait longer (default: llama.cpp 16, right for a CPU; transformers 64, on a GPU 512)"
    )  # fmt: skip
    engine.add_argument(
        "--reuse-prompts",
        action="store_true",
        help="keep earlier prompts and compute only what differs. Its timing tells callers of each "
        "other's prompts: for one tenant only",
    )
    engine.add_argument(
        "--engine",
        choices=["auto", "transformers", "llamacpp"],
        default="auto",
        help="auto: llamacpp for a .gguf file, transformers for a folder",
    )
    folder = parser.add_argument_group("transformers engine")
    folder.add_argument(
        "--precision",
        choices=["auto", "bf16", "fp16", "fp32", "int8", "nf4"],
        default="auto",
        help="of the weights (auto: bf16 on a GPU, fp32 on a CPU)",
    )
    folder.add_argument(
        "--device", type=_device, default="auto", help="cpu, cuda or cuda:N (auto: a GPU if there is one)"
    )
    folder.add_argument(
        "--attention",
        choices=["auto", "sequence", "sdpa", "flash"],
        default="auto",
        help="auto: flash on a GPU where flash-attn is installed, else sequence, or sdpa with a sliding window",
    )
    folder.add_argument(
        "--kv-gib",
        type=_gib,
        metavar="GIB",
        help="memory of all requests' keys and values (default: enough for every slot's whole window)",
    )
    queue = parser.add_argument_group("queue and stop")
    queue.add_argument(
        "--max-queue", type=_positive, default=64, help="waiting requests (default: %(default)s)"
    )
    queue.add_argument(
        "--queue-wait", type=_seconds, default=30.0, metavar="S", help="then 503 (default: %(default)s)"
    )
    queue.add_argument(
        "--queue-age",
        type=_seconds,
        default=5.0,
        metavar="S",
        help="who waits rises by a priority class every S seconds (default: %(default)s)",
    )
    queue.add_argument(
        "--drain",
        type=_seconds,
        default=30.0,
        metavar="S",
        help="to finish in after SIGTERM (default: %(default)s)",
    )
    queue.add_argument(
        "--die-with-parent", action="store_true", help="stop when the process that started this one ends"
    )
    return parser


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
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError("is cpu, cuda or cuda:N")
    return text


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError("must be more than 0 and at most 3600 seconds")
    return seconds


def _api_key(args: argparse.Namespace) -> str | None:
    if args.api_key_file is not None:
        try:
            key = args.api_key_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigError(f"--api-key-file {args.api_key_file}: {exc}") from exc
    elif args.api_key_env is not None:
        key = os.environ.get(args.api_key_env, "")  # noqa: TID251 - this process reads no other setting from there
    else:
        return None
    if not key or not key.isascii():
        raise ConfigError("the key is empty, or not plain ASCII")
    return str(key)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _log_to_stderr() -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
