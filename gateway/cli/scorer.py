"""`weighbridge scorer`: the parsers of its actions. What they do stands in `scorer_*.py`, loaded when it is asked for."""

import argparse
from typing import get_args

from gateway.cli.parsers import Commands, command, config_option
from gateway.values import OutcomeSource

_IMPORT_EXAMPLES = """\
examples:
  weighbridge scorer import judged.jsonl
  weighbridge scorer import - < judged.jsonl
A JSON array, or one JSON object a line; `value` is from 0 (bad) to 1 (good):
  {"request_id": "req_...", "value": 0.8}     a judge's, of an answer in the ledger
  {"model": "small", "upstream": "local", "value": 1, "p_good": 0.7, "item": "gsm8k/17"}     measured elsewhere
A request's value replaces what was imported for it before, and so does an item's.
"""


def add(commands: "Commands[argparse.ArgumentParser]") -> None:
    """An action of the group is a function like those below, which adds its parser and sets `run`."""
    group = command(commands, "scorer", "What the scorer predicts, and what became of the answers.")
    actions = group.add_subparsers(title="actions", metavar="ACTION", required=True)
    _outcomes(actions)
    _import(actions)


def _outcomes(actions: "Commands[argparse.ArgumentParser]") -> None:
    parser = command(actions, "outcomes", "What became of answers: votes, judgements and measurements.")
    config_option(parser)
    parser.add_argument("--tenant", help="only this tenant's")
    parser.add_argument("--model", help="only of this model's answers")
    parser.add_argument("--source", choices=get_args(OutcomeSource), help="only what these say")
    parser.add_argument("--since", metavar="DATE", help="told on that day or later, UTC")
    parser.add_argument(
        "--limit", type=int, default=50, metavar="N", help="the newest N (default: %(default)s)"
    )
    parser.add_argument(
        "--summary", action="store_true", help="by model and category, beside what was predicted"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--csv", action="store_true", help="print CSV")

    def run(args: argparse.Namespace) -> int:
        from gateway.cli import scorer_outcomes

        return scorer_outcomes.show(args)

    parser.set_defaults(run=run)


def _import(actions: "Commands[argparse.ArgumentParser]") -> None:
    parser = command(actions, "import", "Take in what judges and measurements say.", _IMPORT_EXAMPLES)
    config_option(parser)
    parser.add_argument("file", metavar="FILE", help="- is standard input")
    parser.add_argument("--json", action="store_true", help="print JSON")

    def run(args: argparse.Namespace) -> int:
        from gateway.cli import scorer_outcomes

        return scorer_outcomes.import_(args)

    parser.set_defaults(run=run)
