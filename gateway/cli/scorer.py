"""`weighbridge scorer`: the parsers of its actions. What they do stands in `scorer_*.py`, loaded when it is asked for."""

import argparse
from pathlib import Path
from typing import get_args

from gateway.cli.parsers import Commands, command, config_option
from gateway.values import OutcomeSource
from policies.contract import Size

_IMPORT_EXAMPLES = """\
examples:
  weighbridge scorer import judged.jsonl
  weighbridge scorer import - < judged.jsonl
A JSON array, or one JSON object a line; `value` is from 0 (bad) to 1 (good):
  {"request_id": "req_...", "value": 0.8}     a judge's, of an answer in the ledger
  {"model": "small", "upstream": "local", "value": 1, "p_good": 0.7, "item": "gsm8k/17"}     measured elsewhere
A request's value replaces what was imported for it before, and so does an item's.
"""

_EVALUATE_EXAMPLES = """\
examples:
  weighbridge scorer evaluate answers.parquet --weak small --strong large
  weighbridge scorer evaluate a.csv b.jsonl --scorer mine:needs_strong --save diagrams
A row for each prompt; the columns are
  prompt       what was asked
  s:MODEL      how good MODEL's answer was, from 0 to 1; empty where there is none
  c:MODEL      what it cost, if you know                     source, category     if you know
It prints, for each source: APGR, the area under the recovered part of the gap in quality over the share of prompts that
go to the strong model (0.5 is chance), exactly and by deciles; CPT50 and CPT80, the share that recovers so much of the
gap; needs@95, the share that reaches 95 % of the strong model's quality, and what of its cost that saves; AUC, also
within categories (near 0.5: it knows the kind of prompt, not which are hard). Of P(good): the expected calibration error
in ten bins of equal mass, what chance alone would make of it, and the error once a tenant has told 200 outcomes.
"""

_EXPLAIN_EXAMPLES = """\
examples:
  weighbridge scorer explain "Prove that every group of prime order is cyclic."
  weighbridge scorer explain --model llama-3.1-8b-instruct --model my-own --size medium - < prompt.txt
  weighbridge scorer explain --config config.yaml --system "Answer in JSON." "How far is the moon?"
Contributions are in standard deviations of need over ordinary traffic, and sum to the need; a feature's value is in
standard deviations from its mean. The interval is about how often such prompts are answered well, as far as the training
prompts tell it, not about one answer.
"""

_TRAIN_EXAMPLES = """\
examples:
  weighbridge scorer train --data answers.parquet --level small=small --level large=frontier --out scorer-1
  weighbridge scorer train --data a.csv b.jsonl --from-ledger --out scorer-2 --name support
The files are those of `weighbridge scorer evaluate`. Each source in them becomes one more expert beside those of the
base, and each model gets a head. A model stands at the level that you say, else at that of its name, if the base knows
it, else where its mean score puts it beside the others. The ledger's outcomes hold no prompts: they move heads alone.
It writes a folder with a card and prints what was measured on prompts kept aside. Look at `trained` beside `base`.
"""


def add(commands: "Commands[argparse.ArgumentParser]") -> None:
    """An action of the group is a function like those below, which adds its parser and sets `run`."""
    group = command(commands, "scorer", "What the scorer predicts, and what became of the answers.")
    actions = group.add_subparsers(title="actions", metavar="ACTION", required=True)
    _outcomes(actions)
    _import(actions)
    _evaluate(actions)
    _train(actions)
    _explain(actions)


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


def _evaluate(actions: "Commands[argparse.ArgumentParser]") -> None:
    parser = command(
        actions,
        "evaluate",
        "Whether the scorer finds the prompts that need the stronger model, on answers with known worth.",
        _EVALUATE_EXAMPLES,
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="Parquet, CSV or JSON lines")
    parser.add_argument(
        "--weak", metavar="MODEL[,MODEL]", help="the cheap model, or the mean of some (default: a lower one)"
    )
    parser.add_argument("--strong", metavar="MODEL", help="the dear model (default: the best)")
    parser.add_argument(
        "--by", default="source", metavar="COLUMN", help="a line for each (default: %(default)s)"
    )
    parser.add_argument(
        "--boot", type=int, default=500, metavar="N", help="resamples for intervals (default: %(default)s)"
    )
    judge = parser.add_mutually_exclusive_group()
    judge.add_argument(
        "--artefact",
        type=Path,
        metavar="FOLDER",
        help="what `scorer train` wrote (default: the model that ships)",
    )
    judge.add_argument(
        "--scorer",
        metavar="MODULE:FUNCTION",
        help="or a function from a list of prompts to numbers, higher for those that need the strong model",
    )
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="write diagrams as SVG and PNG")
    parser.add_argument("--json", action="store_true", help="print JSON")

    def run(args: argparse.Namespace) -> int:
        from gateway.cli import scorer_evaluate

        return scorer_evaluate.run(args)

    parser.set_defaults(run=run)


def _explain(actions: "Commands[argparse.ArgumentParser]") -> None:
    parser = command(
        actions, "explain", "Why a prompt gets its score. Needs no running gateway.", _EXPLAIN_EXAMPLES
    )
    parser.add_argument("prompt", metavar="PROMPT", help="the last user turn; - is standard input")
    parser.add_argument("--system", default="", metavar="TEXT", help="the system prompt")
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="NAME",
        help="a model by its usual name; may be given again (default: one of each size)",
    )
    parser.add_argument(
        "--size", choices=get_args(Size), help="of those models that nobody has measured (default: small)"
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="take the models and the artefact from it"
    )
    parser.add_argument(
        "--artefact", type=Path, metavar="FOLDER", help="of a trained scorer (default: the one that ships)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")

    def run(args: argparse.Namespace) -> int:
        from gateway.cli import scorer_explain

        return scorer_explain.run(args)

    parser.set_defaults(run=run)


def _train(actions: "Commands[argparse.ArgumentParser]") -> None:
    parser = command(actions, "train", "Fit the scorer to your own traffic, into a folder.", _TRAIN_EXAMPLES)
    config_option(parser)
    parser.add_argument(
        "--data", nargs="+", type=Path, default=[], metavar="FILE", help="Parquet, CSV or JSON lines"
    )
    parser.add_argument(
        "--from-ledger", action="store_true", help="learn from the outcomes in the database, too"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="a new one")
    parser.add_argument(
        "--base", type=Path, metavar="FOLDER", help="what it is trained on top of (default: what ships)"
    )
    parser.add_argument("--name", default="", help="its version begins with it (default: the day)")
    parser.add_argument(
        "--level",
        action="append",
        default=[],
        metavar="MODEL=LEVEL",
        help="how strong a model is: small (1 to 3 billion parameters), medium (7 to 9), large (about 70), frontier",
    )
    parser.add_argument(
        "--by", default="source", metavar="COLUMN", help="an expert for each (default: %(default)s)"
    )
    parser.add_argument("--licence", default="", metavar="TEXT", help="of the data, for the card")
    parser.add_argument("--keep-texts", action="store_true", help="keep how prompts begin, for `explain`")
    parser.add_argument(
        "--boot", type=int, default=500, metavar="N", help="resamples for intervals (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")

    def run(args: argparse.Namespace) -> int:
        from gateway.cli import scorer_train

        return scorer_train.run(args)

    parser.set_defaults(run=run)
