"""`weighbridge up`: stores, model workers and the gateway on this machine, from one config file; Ctrl-C stops all."""

import argparse
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.cli import demo, welcome
from gateway.cli.parts import PartEndedError, Parts, StopRequested
from gateway.cli.places import bound
from gateway.cli.progress import Progress
from gateway.cli.signals import Signals
from gateway.clock import SystemClock
from gateway.config import Config, default_data_dir, load, parse
from gateway.errors import ConfigError

_PORT, _ADMIN_PORT = 8080, 8081


@dataclass(frozen=True, slots=True)
class _Plan:
    path: Path
    config: Config
    new_text: str | None
    """What to write to `path`, if there is no file yet."""


def run(args: argparse.Namespace) -> int:
    plan = _plan(args)
    clock = SystemClock()
    with _alone(plan.config.data_path), Signals() as signals:
        _check_ports(plan)
        progress = Progress(clock)
        keys = _prepare(plan)
        progress.done("database, keys and tenant `demo`")
        with Parts(plan.path, plan.config, signals, progress, clock) as parts:
            code = _run_parts(parts, plan, keys, progress, as_json=args.json)
        progress.say("stopped")
        return code


def _run_parts(parts: Parts, plan: _Plan, keys: demo.DemoKeys, progress: Progress, *, as_json: bool) -> int:
    try:
        parts.start()
        show = welcome.as_json if as_json else welcome.as_text
        print(show(plan.path, plan.config, keys), flush=True)
        parts.watch()
    except StopRequested:
        progress.say("stopping; Ctrl-C again does not wait for running requests")
        return 0
    except PartEndedError as exc:
        progress.say(f"{exc}; stopping the rest", *exc.last_lines)
        return 1


def _plan(args: argparse.Namespace) -> _Plan:
    if args.config and args.data_dir:
        raise ConfigError("up: give --config or --data-dir, not both: the file names its data folder")
    if args.config and not args.config.exists():
        raise ConfigError(f"{args.config}: there is no such file; without --config, `up` makes one")
    folder = (args.data_dir or default_data_dir()).expanduser().absolute()
    path = args.config.absolute() if args.config else folder / "config.yaml"
    if path.exists():
        config = load(path)
        _check_options(args, path, config)
        return _Plan(path, config, None)
    port = _PORT if args.port is None else args.port
    admin_port = _ADMIN_PORT if args.admin_port is None else args.admin_port
    text = demo.config_text(folder, port=port, admin_port=admin_port)
    return _Plan(path, parse(text, source=str(path)), text)


def _check_options(args: argparse.Namespace, path: Path, config: Config) -> None:
    server = config.server
    for option, asked, field, port in (
        ("--port", args.port, "port", server.port),
        ("--admin-port", args.admin_port, "admin_port", server.admin_port),
    ):
        if asked not in (None, port):
            raise ConfigError(f"{option}: {path} says {port}; change server.{field} there")
        if port == 0:
            raise ConfigError(f"{path}: server.{field}: `up` needs a port that it can tell others, not 0")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One `up` a data folder. The lock ends with the process, however it ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = (folder / "up.lock").open("a+")
    except OSError as exc:
        raise ConfigError(
            f"{folder}: cannot be used: {exc.strerror}; choose another with --data-dir"
        ) from exc
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            file.seek(0)
            raise ConfigError(
                f"`weighbridge up` already runs in {folder} (process {file.read().strip()}); "
                "stop it, or choose another folder with --data-dir"
            ) from exc
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _check_ports(plan: _Plan) -> None:
    """Before anything is started. Raises ConfigError, naming the port and the way out."""
    server = plan.config.server
    ports = [("server.port", server.host, server.port, "--port N")]
    ports.append(("server.admin_port", server.admin_host, server.admin_port, "--admin-port N"))
    for name, worker in plan.config.workers.items():
        if worker.port is not None:
            ports.append((f"workers.{name}.port", worker.host, worker.port, ""))
    for field, host, port, option in ports:
        try:
            bound(field, host, port).close()
        except ConfigError as exc:
            way_out = option if plan.new_text and option else f"{field} in {plan.path}"
            raise ConfigError(f"{exc}: {way_out}") from exc


def _prepare(plan: _Plan) -> demo.DemoKeys:
    if plan.new_text is not None:
        try:
            plan.path.write_text(plan.new_text, encoding="utf-8")
        except OSError as exc:
            raise ConfigError(f"{plan.path}: cannot be written: {exc.strerror}") from exc
    demo.make_worker_keys(plan.config)
    return demo.demo_keys(plan.path, plan.config)
