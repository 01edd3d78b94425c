"""`weighbridge plan calibrate`: measures a running model server, and keeps what `plan size --perf` assumes of it."""

import argparse
import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import httpx
import msgspec

from gateway.cli.plan_measuring import Endpoint
from gateway.clock import Clock
from gateway.errors import ConfigError
from gateway.planning.contract import PlanError
from gateway.planning.sizing.architecture import Precision
from gateway.planning.sizing.calibration import Calibration
from gateway.planning.sizing.gpus import gpu
from gateway.planning.sizing.memory import Serving
from gateway.planning.sizing.models import Model, from_config, model
from gateway.planning.sizing.performance import Efficiency, Measured, calibrated

_DESCRIPTION = """\
Measure a running model server, for the speeds of `size --perf`. It must be idle: 10 requests are sent one after
another, and three times 8 at once. What model it runs, in which precision and on which GPU, it cannot say itself.
"""
_CONNECT_S = 10.0
_MIB = 1 << 20


def main(argv: Sequence[str], clock: Clock, transport: httpx.AsyncBaseTransport | None = None) -> int:
    """Raises ConfigError."""
    args = _parser().parse_args(argv)
    try:
        known = from_config(_text(args.config)) if args.config else model(args.model)
        serving = Serving(
            architecture=known.architecture, precision=args.precision, kv_bits=args.kv_bits, tp=args.tp
        )
        card = gpu(args.gpu)
        measured = asyncio.run(_measured(args, clock, transport))
        found = calibrated(serving, card, measured)
    except PlanError as exc:
        raise ConfigError(f"plan calibrate: {exc.message}") from exc
    today = datetime.fromtimestamp(clock.now_ms() / 1000, UTC).date().isoformat()
    written = msgspec.json.format(
        msgspec.json.encode(_calibration(args, known, found, card.name, today)), indent=2
    )
    try:
        args.save.write_bytes(written + b"\n")
    except OSError as exc:
        raise ConfigError(f"plan calibrate: cannot write {args.save}: {exc.strerror}") from exc
    print(_told(measured, found, args.save))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="weighbridge plan calibrate",
        description=_DESCRIPTION,
        epilog="example:\n  weighbridge plan calibrate --url http://127.0.0.1:8000/v1 --served llama --model llama-3-8b"
        " --gpu a10\n  weighbridge plan size --model llama-3-8b --gpu a10 --perf --calibration calibration.json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--url", required=True, help="of the server's API, with its /v1")
    parser.add_argument("--served", required=True, metavar="NAME", help="the model's name at that server")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", metavar="NAME", help="the same model's name in the planner's catalogue")
    what.add_argument("--config", type=Path, metavar="FILE", help="or its config.json")
    parser.add_argument("--gpu", required=True, metavar="NAME", help="the card it runs on")
    parser.add_argument(
        "--tp", type=int, default=1, metavar="N", help="among how many it is split (default: 1)"
    )
    parser.add_argument(
        "--precision", choices=get_args(Precision), default="fp16", help="of its weights (default: fp16)"
    )
    parser.add_argument(
        "--kv-bits", type=int, choices=(8, 16), default=16, help="of its KV cache (default: 16)"
    )
    parser.add_argument(
        "--key-file", type=Path, metavar="FILE", help="holds the server's API key, if it wants one"
    )
    parser.add_argument(
        "--save",
        type=Path,
        default=Path("calibration.json"),
        metavar="FILE",
        help="default: calibration.json",
    )
    return parser


async def _measured(
    args: argparse.Namespace, clock: Clock, transport: httpx.AsyncBaseTransport | None
) -> Measured:
    headers = {"authorization": f"Bearer {_text(args.key_file).strip()}"} if args.key_file else {}
    timeout = httpx.Timeout(None, connect=_CONNECT_S)  # each answer has a deadline of its own
    try:
        client = httpx.AsyncClient(base_url=args.url, headers=headers, timeout=timeout, transport=transport)
    except (httpx.InvalidURL, ValueError) as exc:
        raise ConfigError(f"plan calibrate: --url: {exc}") from exc
    async with client:
        return await Endpoint(client, args.served, clock, random.Random(clock.now_ms())).measured()  # noqa: S311 - words


def _calibration(
    args: argparse.Namespace, known: Model, found: Efficiency, card: str, today: str
) -> Calibration:
    return Calibration(
        mbu=found.mbu,
        mfu=found.mfu,
        serving_eff=found.serving,
        model=known.name,
        gpu=card,
        tp=args.tp,
        precision=args.precision,
        date=today,
    )


def _told(measured: Measured, found: Efficiency, path: Path) -> str:
    longer = measured.long_first_token - measured.short_first_token
    more = measured.long_prompt - measured.short_prompt
    rows = [
        ("decoding alone", measured.decode_alone.value, f"MBU {found.mbu:.1%}"),
        ("reading prompts", more / longer.value, f"MFU {found.mfu:.1%}"),
        (f"{measured.together} at once", measured.decode_together.value, f"{found.serving:.1%} of the bound"),
    ]
    lines = [f"{what:<16} {rate:10,.1f} tokens/s  {share}" for what, rate, share in rows]
    return "\n".join(
        [*lines, "", f"written to {path}: `weighbridge plan size --perf --calibration {path}` uses it"]
    )


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(_MIB)
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"plan calibrate: cannot read {path}: {exc}") from exc
