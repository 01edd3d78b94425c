"""`weighbridge worker`: what the workers of a running `weighbridge up` do, and how they are changed."""

import argparse
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from gateway.cli import running
from gateway.cli.parsers import command, config_option
from gateway.cli.places import config_path
from gateway.cli.running import Reload
from gateway.cli.table import print_table
from gateway.config import load
from gateway.errors import ConfigError

_DESCRIPTION = """\
Looks after the workers that `weighbridge up` runs; or runs one model by itself, with the
options of `python -m workers` (`weighbridge worker --model MODEL --help` shows them).
"""
_EXAMPLES = """\
examples:
  weighbridge worker list                        all replicas, and how they are
  weighbridge worker list --json
  weighbridge worker reload                      after a change of `workers:` in the file
  weighbridge worker --model ~/models/qwen3-8b-q4_k_m.gguf --serve medium --port 8101
"""
_RELOAD = """\
Have the running `weighbridge up` read its file again. New workers start, removed ones are
retired, and changed ones give way replica by replica, without a gap. Waits for the end and
says what became of it: exit code 0 if all is as the file says, 1 if something stayed as it was.
"""
_POLL_S = 0.1


def main(argv: Sequence[str]) -> int:
    args = _parser().parse_args(argv)
    code: int = args.run(args)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="weighbridge worker",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    list_ = command(
        actions, "list", "List replicas: state, process, GPUs, model, restarts and endpoint.", _EXAMPLES
    )
    list_.add_argument("--json", action="store_true", help="print JSON, and which numbers are wanted")
    list_.set_defaults(run=_list)
    reload = command(
        actions, "reload", "Have the running `up` read its file again, and wait for the end.", _EXAMPLES
    )
    reload.description = _RELOAD
    reload.set_defaults(run=_reload)
    for action in (list_, reload):
        config_option(action)
    return parser


def _list(args: argparse.Namespace) -> int:
    state = _running(_data_path(args))
    if args.json:
        print(msgspec.json.encode(state.workers).decode())
        return 0
    rows = [
        {
            "worker": worker.name,
            **msgspec.structs.asdict(replica),
            "replica": replica.name,
            "gpus": ",".join(replica.gpus),
        }
        for worker in state.workers
        for replica in worker.replicas
    ]
    print_table(rows, ["worker", "replica", "state", "pid", "gpus", "model", "restarts", "endpoint"])
    return 0


def _reload(args: argparse.Namespace) -> int:
    data_path = _data_path(args)
    pid = running.pid_of_up(data_path)
    before = _running(data_path).reload.number
    try:
        os.kill(pid, signal.SIGHUP)
    except OSError as exc:
        raise ConfigError(f"`weighbridge up` (process {pid}) cannot be signalled: {exc.strerror}") from exc
    said = 0
    while True:
        reload = _running(data_path).reload
        if reload.number > before:
            said = _say(reload, said)
            if reload.is_done:
                return 0 if reload.is_good else 1
        time.sleep(_POLL_S)


def _say(reload: Reload, said: int) -> int:
    for line in reload.lines[said:]:
        print(line, flush=True)
    return len(reload.lines)


def _running(data_path: Path) -> running.Running:
    """Raises ConfigError unless one runs."""
    running.pid_of_up(data_path)
    state = running.read(data_path)
    if state is None:
        raise ConfigError(f"`weighbridge up` is starting in {data_path}, and says nothing of its workers yet")
    return state


def _data_path(args: argparse.Namespace) -> Path:
    return load(config_path(args)).data_path
