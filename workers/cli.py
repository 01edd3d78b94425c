"""`python -m workers`: one model in one process. Exit codes: 0 stopped as asked, 1 it failed, 2 wrong usage or set-up."""

import argparse
import ipaddress
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

from workers import models
from workers.assembly import options_of, service_of
from workers.engines.transformers_engine.ranks import Place, torchrun_place
from workers.errors import ConfigError, EngineError
from workers.listener import Listener, listen, listen_unix
from workers.logs import to_stderr
from workers.options import parser
from workers.process import Settings, run
from workers.spot import SpotWatch
from workers.timing import Clocks

DEFAULT_HOST = "127.0.0.1"


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    to_stderr()
    try:
        place = torchrun_place(os.environ)  # noqa: TID251 - torchrun tells it there, and nowhere else
        if place is not None and place.rank > 0:
            _follow(args, place)
        _run(args, place)
    except ConfigError as exc:
        print(f"worker: {exc}", file=sys.stderr)  # noqa: T201 - a command's output
        return 2
    except EngineError:
        print("worker: the engine died; the lines above say why", file=sys.stderr, flush=True)  # noqa: T201 - likewise
        os._exit(1)  # a lost GPU may hang whatever would still be cleaned up
    return 0


def _follow(args: argparse.Namespace, place: Place) -> NoReturn:
    from workers.engines.transformers_engine.follower import follow_torchrun

    model = models.find(args.model)
    code = follow_torchrun(model.path, options_of(model, args, place), place)
    sys.stderr.flush()
    os._exit(code)


def _run(args: argparse.Namespace, place: Place | None) -> None:
    model = models.find(args.model)
    api_key = _api_key(args)
    settings = Settings(
        names=tuple(args.serve or [model.name]),
        api_key=api_key,
        lame_duck_s=args.lame_duck,
        drain_s=args.drain,
        dies_with_parent=args.die_with_parent,
        spot=args.spot
        and SpotWatch(args.spot, address=args.spot_address, unix_s=lambda: time.time_ns() / 1e9),
    )
    clocks = Clocks(unix_s=lambda: time.time_ns() // 10**9, monotonic_s=time.perf_counter)
    service = service_of(model, args, clocks, place=place)
    listener = _listener(args, is_keyed=api_key is not None)

    def on_ready() -> None:
        place = {"url": listener.url} | ({"socket": str(listener.path)} if listener.path else {})
        ready = {"event": "ready", **place, "models": settings.names, "pid": os.getpid()}
        print(json.dumps(ready), flush=True)  # noqa: T201 - a command's output

    try:
        run(service, settings, clocks, listener.sock, on_ready)
    finally:
        listener.close()


def _listener(args: argparse.Namespace, *, is_keyed: bool) -> Listener:
    if args.uds is not None:
        if args.host is not None:
            raise ConfigError("--uds takes the place of --host and --port: give one or the other")
        return listen_unix(args.uds)
    host = args.host or DEFAULT_HOST
    if not is_keyed and not _is_loopback(host):
        raise ConfigError(f"--host {host} is not loopback: set a key with --api-key-file or --api-key-env")
    return listen(host, args.port)


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
