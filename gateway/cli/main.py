"""The command `weighbridge`. Exit codes: 0 done, 1 it failed while running, 2 wrong usage or configuration."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from gateway import __version__
from gateway.cli import scorer
from gateway.cli.parsers import Commands, command, config_option
from gateway.errors import ConfigError

_DESCRIPTION = """\
An OpenAI-compatible gateway: weighs every request, routes it to the cheapest model
that will do, and accounts for every token.

Start with `weighbridge up`: it runs everything on this machine and prints what to
paste into your shell.
"""

_KEYS_EXAMPLES = """\
examples:
  weighbridge keys create --tenant acme --tier paid --user ann      a first key; makes the tenant
  weighbridge keys create --tenant acme --user bob --budget-usd 20  with a monthly budget of its own
  weighbridge keys create --role finance --name "month end"         for the spend reports
  weighbridge keys list --tenant acme
  weighbridge keys revoke V9UwXhv7
A key is shown once, when it is made. Revoking works within seconds, without a restart.
"""

_SPEND_EXAMPLES = """\
examples:
  weighbridge spend                                   this month, by tenant
  weighbridge spend --by model,day --tenant acme
  weighbridge spend --from 2026-10-01 --to 2026-11-01 --csv > october.csv
Dates are UTC; --to is exclusive. Money is exact to the nano-dollar.
"""


def main(argv: Sequence[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    try:
        if argv[:1] == ["worker"]:
            return _worker(argv[1:])
        return _plan(argv[1:]) if argv[:1] == ["plan"] else _run(argv)
    except ConfigError as exc:
        print(f"weighbridge: {exc}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 0  # `weighbridge spend | head`
    except KeyboardInterrupt:
        return 130


def _run(argv: Sequence[str]) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    if not hasattr(args, "run"):
        parser.print_help()
        return 2
    code: int = args.run(args)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="weighbridge", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"weighbridge {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _up(commands)
    _serve(commands)
    commands.add_parser("worker", help="List and change the workers that `up` runs; or run one by itself.")
    _check_config(commands)
    _keys(commands)
    _spend(commands)
    scorer.add(commands)
    commands.add_parser("plan", help="What it would cost, what fits, and when own hardware pays.")
    return parser


def _up(commands: "Commands[argparse.ArgumentParser]") -> None:
    parser = command(
        commands,
        "up",
        "Run everything on this machine: stores, workers and the gateway, from one config file.",
    )
    config_option(parser)
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="default: ~/.local/share/weighbridge")
    parser.add_argument(
        "--port", type=int, help="of the apps' endpoint, for a config that is made now (default 8080)"
    )
    parser.add_argument("--admin-port", type=int, help="of admin and finance, likewise (default 8081)")
    parser.add_argument(
        "--json", action="store_true", help="when all is up, print the URLs and keys as one JSON line"
    )

    def run(args: argparse.Namespace) -> int:
        from gateway.cli import up

        return up.run(args)

    parser.set_defaults(run=run)


def _serve(commands: "Commands[argparse.ArgumentParser]") -> None:
    parser = command(
        commands, "serve", "Run the gateway alone, beside stores and workers that run elsewhere."
    )
    config_option(parser)

    def run(args: argparse.Namespace) -> int:
        from gateway.cli import serve

        return serve.run(args)

    parser.set_defaults(run=run)


def _worker(argv: Sequence[str]) -> int:
    if argv[:1] in ([], ["list"], ["reload"], ["-h"], ["--help"]):
        from gateway.cli import worker

        return worker.main(argv)
    return _exec_worker(argv)


def _exec_worker(argv: Sequence[str]) -> int:
    """A worker shares no code with the gateway: this process becomes one."""
    os.execv(sys.executable, [sys.executable, "-P", "-m", "workers", *argv])  # noqa: S606 - our own module, no shell


def _plan(argv: Sequence[str]) -> int:
    """Its parsers are made from the inputs of the tool that is asked for."""
    from gateway.cli import plan

    return plan.main(argv)


def _check_config(commands: "Commands[argparse.ArgumentParser]") -> None:
    parser = command(
        commands,
        "check-config",
        "Do all that starting does, short of listening, and say what is wrong, with its place.",
    )
    config_option(parser)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON line")

    def run(args: argparse.Namespace) -> int:
        from gateway.cli import check_config

        return check_config.run(args)

    parser.set_defaults(run=run)


def _keys(commands: "Commands[argparse.ArgumentParser]") -> None:
    parser = command(
        commands, "keys", "Make, list and revoke keys, in the database of the config file.", _KEYS_EXAMPLES
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    create = command(actions, "create", "Make a key and show it once.", _KEYS_EXAMPLES)
    create.add_argument("--tenant", help="who pays")
    create.add_argument("--user", default="default", help="who asks (default: %(default)s)")
    create.add_argument(
        "--tier", help="make the tenant with this plan if it does not exist: free, paid, vip, or your own"
    )
    create.add_argument(
        "--role", choices=("admin", "finance"), help="a key for the admin listener instead of an app's"
    )
    create.add_argument("--name", default="", help="a label to know it by")
    create.add_argument(
        "--expires", metavar="DATE", help="2027-01-31: the key ends with the start of that day, UTC"
    )
    create.add_argument("--budget-usd", metavar="USD", help="what this key may spend in a calendar month")
    create.add_argument("--rpm", type=int, metavar="N", help="requests that this key may make in a minute")
    list_ = command(actions, "list", "List keys; the secret part is not stored and cannot be shown.")
    list_.add_argument("--tenant", help="only this tenant's")
    revoke = command(actions, "revoke", "End a key. It cannot be brought back.")
    revoke.add_argument("key", help="its id, as `keys list` shows it")
    for action, name in ((create, "create"), (list_, "list_"), (revoke, "revoke")):
        config_option(action)
        action.add_argument("--json", action="store_true", help="print JSON")
        action.set_defaults(run=_keys_runner(name))


def _keys_runner(name: str):  # type: ignore[no-untyped-def]  # a closure for argparse, typed where it is called
    def run(args: argparse.Namespace) -> int:
        from gateway.cli import keys

        action = {"create": keys.create, "list_": keys.list_, "revoke": keys.revoke}[name]
        return action(args)

    return run


def _spend(commands: "Commands[argparse.ArgumentParser]") -> None:
    parser = command(commands, "spend", "Who spent what, from the ledger.", _SPEND_EXAMPLES)
    config_option(parser)
    parser.add_argument(
        "--by",
        default="tenant",
        metavar="DIMENSIONS",
        help="comma list of tenant, user, key, model, upstream, size, tier, policy, outcome, day, month (default: %(default)s)",
    )
    parser.add_argument("--from", dest="from_", metavar="DATE", help="default: the first of this month")
    parser.add_argument("--to", metavar="DATE", help="exclusive; default: now")
    parser.add_argument("--tenant", help="only this tenant")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--csv", action="store_true", help="print CSV")

    def run(args: argparse.Namespace) -> int:
        from gateway.cli import spend

        return spend.run(args)

    parser.set_defaults(run=run)
