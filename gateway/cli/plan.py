"""`weighbridge plan`: one parser a tool, made from its inputs; the answer as text, JSON, CSV or a diagram."""

import argparse
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from gateway import __version__
from gateway.clock import Clock, SystemClock
from gateway.errors import ConfigError
from gateway.planning.answering import answered, asks_ledger, ledger_question
from gateway.planning.comparing import checked
from gateway.planning.contract import Answer, Context, Inputs, PlanError, Tool
from gateway.planning.diagram import FORMS, PlotsUnavailableError, drawn
from gateway.planning.reading import Input, Kind, did_you_mean, from_text, inputs_of
from gateway.planning.rendering import WIDTH, as_json, as_text, csv_rows
from gateway.planning.tools import NAMES, tool
from gateway.planning.traffic import Traffic

_DESCRIPTION = """\
What it would cost, what fits, and when own hardware pays. Works offline; numbers that it was not given are
assumptions, and are shown with where they come from.
"""
_EPILOG = "`weighbridge plan TOOL --help` lists a tool's inputs, with units, defaults and sources."
_CALIBRATE = "calibrate"
"""No tool: it talks to a server."""
_NARROWEST, _WIDEST = 60, 120
_METAVARS: Mapping[Kind, str] = {"text": "TEXT", "integer": "N", "number": "X", "money": "AMOUNT"}


def main(argv: Sequence[str], clock: Clock | None = None) -> int:
    """Raises ConfigError; what is wrong with the flags ends the process, as argparse does."""
    if not argv or argv[0].startswith("-"):
        _overview().parse_args(argv)
        _overview().print_help()
        return 2
    if argv[0] == _CALIBRATE:
        from gateway.cli import plan_calibrate

        return plan_calibrate.main(argv[1:], clock or SystemClock())
    try:
        chosen = tool(argv[0])
    except PlanError as exc:
        raise ConfigError(f"plan: {exc.message}") from exc
    return run(chosen, argv[1:], clock or SystemClock())


def run(chosen: Tool[Any], argv: Sequence[str], clock: Clock, *, width: int | None = None) -> int:
    """`width` is the terminal's, unless it is given."""
    parser = parser_of(chosen)
    args = parser.parse_args(argv)
    if args.plot and args.plot.suffix[1:] not in FORMS:
        parser.error(f"--plot: {args.plot} must end in {' or '.join('.' + form for form in FORMS)}")
    if args.csv and args.explain:
        parser.error("--explain goes with text and --json, not with --csv")
    today = datetime.fromtimestamp(clock.now_ms() / 1000, UTC).date().isoformat()
    try:
        answer = _answer(chosen, args, clock, today)
        _write(args, answer, today)
    except PlanError as exc:
        raise ConfigError(f"plan {chosen.name}: {_told(exc)}") from exc
    print(_printed(args, answer, today, width), end="")
    return 0


def _printed(args: argparse.Namespace, answer: Answer, today: str, width: int | None) -> str:
    if args.json:
        told = as_json(answer, version=__version__, today=today, explain=args.explain, indent=2)
        return f"{told.decode()}\n"
    if args.csv:
        from gateway.ledger.exports import csv_of

        return csv_of(*csv_rows(answer))
    if width is None:
        width = min(max(shutil.get_terminal_size((WIDTH, 0)).columns, _NARROWEST), _WIDEST)
    return as_text(answer, explain=args.explain, width=width)


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, and which flag may have been meant."""

    def __init__(self, names: Sequence[str], **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
        self._names = names

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            word = unknown[0].partition("=")[0]
            near = did_you_mean(word.lstrip("-").replace("-", "_"), self._names, _flag)
            self.error(f"there is no {word}.{near or f' See {self.prog} --help.'}")
        return parsed

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def _overview() -> argparse.ArgumentParser:
    tools = "\n".join(f"  {name:<10} {tool(name).help}" for name in NAMES)
    tools += f"\n  {_CALIBRATE:<10} Measure a running model server, for the speeds of `size --perf`."
    return argparse.ArgumentParser(
        prog="weighbridge plan",
        usage="weighbridge plan TOOL [inputs] [--json | --csv]",
        description=f"{_DESCRIPTION}\ntools:\n{tools}",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def parser_of(chosen: Tool[Any]) -> argparse.ArgumentParser:
    inputs = inputs_of(chosen.inputs)
    examples = "\n".join(f"  weighbridge plan {chosen.name} {example}" for example in chosen.examples)
    parser = _Parser(
        [each.name for each in inputs],
        prog=f"weighbridge plan {chosen.name}",
        usage=f"weighbridge plan {chosen.name} [inputs] [--json | --csv]",
        description=chosen.help,
        epilog=f"examples:\n{examples}",
    )
    group = parser.add_argument_group("inputs")
    for each in inputs:
        _add(group, each, is_file=each.name in chosen.files)
    answer = parser.add_argument_group("the answer")
    form = answer.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--csv", action="store_true", help="print CSV: the first table, or the lines")
    answer.add_argument("--explain", action="store_true", help="add the formulas with numbers put in")
    answer.add_argument("--plot", type=Path, metavar="FILE", help="write the diagram: .svg or .png")
    answer.add_argument("--save", type=Path, metavar="FILE", help="write the answer as JSON")
    answer.add_argument("--compare", type=Path, metavar="FILE", help="say what changed since that answer")
    if any(each.name == "from_ledger" for each in inputs):
        answer.add_argument(
            "--config", type=Path, metavar="FILE", help="whose ledger it is (default: as `up` made it)"
        )
    return parser


def _add(group: "argparse._ArgumentGroup", each: Input, *, is_file: bool) -> None:
    options: dict[str, Any] = {
        "dest": each.name,
        "default": argparse.SUPPRESS,
        "help": _help(each).replace("%", "%%"),
    }
    if each.kind == "yes or no":
        group.add_argument(_flag(each.name), action=argparse.BooleanOptionalAction, **options)
    else:
        options["metavar"] = "FILE" if is_file else "|".join(each.choices) or _METAVARS[each.kind]
        group.add_argument(_flag(each.name), action="append" if each.is_many else "store", **options)


def _help(each: Input) -> str:
    notes = [
        each.unit,
        each.bounds_text,
        "may be given again" if each.is_many else "",
        "required" if each.is_required else "",
        f"default: {default}" if (default := default_text(each)) else "",
        ", ".join(part for part in (each.source, each.as_of) if part),
    ]
    told = "; ".join(note for note in notes if note)
    return f"{each.meaning} ({told})" if told else each.meaning


def default_text(each: Input) -> str:
    return "" if each.default in (None, False, "", ()) else str(each.default)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _told(exc: PlanError) -> str:
    """With the flag that is to blame, if the message does not name it itself."""
    if exc.param is None:
        return exc.message
    flag = _flag(exc.param.rstrip("_"))
    return exc.message if flag in exc.message else f"{flag}: {exc.message}"


def _answer(chosen: Tool[Any], args: argparse.Namespace, clock: Clock, today: str) -> Answer:
    given = {
        each.name: value
        for each in inputs_of(chosen.inputs)
        if (value := getattr(args, each.name, None)) is not None
    }
    inputs = from_text(chosen.inputs, given, _flag)
    context = Context(
        today=today,
        traffic=_traffic(args, inputs, clock) if asks_ledger(inputs) else None,
        previous=_previous(args.compare, chosen.name) if args.compare else None,
        files={name: _text(Path(given[name]), name) for name in chosen.files if name in given},
    )
    return answered(chosen, inputs, given, context)


def _traffic(args: argparse.Namespace, inputs: Inputs, clock: Clock) -> Traffic:
    from gateway.cli.accounts import opened_database
    from gateway.ledger.traffic import TrafficReader

    with opened_database(args) as (config, database):
        return TrafficReader(database, config, clock).read(**ledger_question(inputs))


def _previous(path: Path, name: str) -> Mapping[str, Any]:
    try:
        found = msgspec.json.decode(_text(path, "compare"))
    except msgspec.DecodeError as exc:
        raise PlanError(f"{path} is not an answer that --save wrote: {exc}", param="compare") from exc
    return checked(found, name)


def _text(path: Path, param: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as exc:
        raise PlanError(f"cannot read {path}: {exc.strerror}", param=param) from exc
    except UnicodeDecodeError as exc:
        raise PlanError(f"{path} is not text in UTF-8", param=param) from exc


def _write(args: argparse.Namespace, answer: Answer, today: str) -> None:
    try:
        if args.plot:
            args.plot.write_bytes(drawn(answer.plot, args.plot.suffix[1:]))
        if args.save:
            args.save.write_bytes(
                as_json(answer, version=__version__, today=today, explain=True, indent=2) + b"\n"
            )
    except PlotsUnavailableError as exc:
        raise PlanError(str(exc), param="plot") from exc
    except OSError as exc:
        raise PlanError(f"cannot write {exc.filename}: {exc.strerror}") from exc
