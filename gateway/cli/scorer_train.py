"""`weighbridge scorer train`: another artefact, from a base, files of measured answers and what the ledger knows.

What it trains with needs packages that a gateway lacks that only serves: so those modules are loaded in functions.
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from gateway.cli.table import print_table
from gateway.clock import SystemClock
from gateway.errors import ConfigError
from gateway.scoring.evaluation_files import EvaluationError, EvaluationFile

if TYPE_CHECKING:
    from gateway.scoring.training.outcomes import Moved
    from gateway.scoring.training.traffic import Level, Traffic
    from gateway.scoring.training.user import Trained, Trainer

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
_PACKAGES = ("matplotlib", "numpy", "onnx", "onnxruntime", "pyarrow", "scipy", "sklearn")


def run(args: argparse.Namespace) -> int:
    try:
        return _run(args)
    except EvaluationError as exc:
        raise ConfigError(f"scorer train: {exc}") from exc
    except ModuleNotFoundError as exc:
        if exc.name not in _PACKAGES:
            raise
        raise ConfigError(
            f"scorer train: needs {exc.name}: pip install 'weighbridge[train,onnx-cpu]'"
        ) from exc


def _run(args: argparse.Namespace) -> int:
    _check(args)
    from gateway.scoring.artefact import SHIPPED
    from gateway.scoring.training.user import Trainer, Wish

    now_ms = SystemClock().now_ms()
    trainer = Trainer(args.base or SHIPPED, now_ms=now_ms)
    levels = _levels(args.level)
    traffic, notes = [], []
    for path in args.data:
        found, told = trainer.read(EvaluationFile(path), levels, args.by)
        traffic += found
        notes += told
    _check_levels(levels, traffic)
    if args.data and not traffic:
        raise EvaluationError("; ".join(notes))
    moved = _moved(args, trainer, now_ms) if args.from_ledger else {}
    trained = trainer.train(
        traffic,
        moved,
        args.out,
        Wish(name=args.name, licence=args.licence, rounds=args.boot, keep_texts=args.keep_texts),
    )
    if args.json:
        _print_json(trained, traffic, moved, notes)
    else:
        _print(args.out, trained, traffic, moved, notes)
    return 0


def _check(args: argparse.Namespace) -> None:
    if not args.data and not args.from_ledger:
        raise EvaluationError("nothing to learn from: give --data FILE or --from-ledger, or both")
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        raise EvaluationError(f"{args.out} is not empty: each training gets a folder of its own")
    if args.name and not _NAME.fullmatch(args.name):
        raise EvaluationError(f"--name {args.name!r}: expected up to 40 of a-z, 0-9, '.', '_' and '-'")


def _levels(told: Sequence[str]) -> "dict[str, Level]":
    from gateway.scoring.training.traffic import Level

    levels: dict[str, Level] = {}
    for one in told:
        model, _, level = one.rpartition("=")
        if not model or level not in get_args(Level):
            raise EvaluationError(f"--level {one}: expected MODEL=small, medium, large or frontier")
        levels[model] = level  # type: ignore[assignment]  # it is one of them
    return levels


def _check_levels(levels: "Mapping[str, Level]", traffic: "Sequence[Traffic]") -> None:
    models = {model for one in traffic for model in one.placed}
    if traffic and (unknown := [model for model in levels if model not in models]):
        raise EvaluationError(
            f"--level {unknown[0]}: no such model is scored; there are {', '.join(sorted(models))}"
        )


def _moved(args: argparse.Namespace, trainer: "Trainer", now_ms: int) -> "dict[str, Moved]":
    from gateway.cli.accounts import opened_database
    from gateway.learning import REMEMBERED_MS
    from gateway.ledger.outcome_reader import OutcomesReader
    from gateway.scoring.candidates import chat_candidates

    with opened_database(args) as (config, database):
        rows = OutcomesReader(database).rows(now_ms - REMEMBERED_MS)
        moved = trainer.moved(rows, chat_candidates(config))
    if not args.data and not any(one.head for one in moved.values()):
        from gateway.scoring.training.outcomes import LEAST

        most = max((one.outcomes for one in moved.values()), default=0)
        raise EvaluationError(
            f"the ledger holds {most} outcomes of the model of which it knows most, and {LEAST} of one model are needed "
            f"to move its head; until then calibration learns from them while the gateway serves"
        )
    return moved


def _print(
    out: Path,
    trained: "Trained",
    traffic: "Sequence[Traffic]",
    moved: "Mapping[str, Moved]",
    notes: Sequence[str],
) -> None:
    if traffic:
        rows = [
            {"source": one.source.name, "model": model, "taken for": placed.level, "by": placed.by}
            for one in traffic
            for model, placed in one.placed.items()
        ]
        print_table(rows, ["source", "model", "taken for", "by"])
        print("\nAPGR on prompts that were kept aside (0.5 is chance)")
        print_table(_apgr(trained), list(_apgr(trained)[0]))
        print("\nP(good): calibration error, before and after 200 outcomes")
        print_table(_truth(trained), ["source", "model", "prompts", "before", "after", "by chance"])
    if moved:
        print(("\n" if traffic else "") + "Heads, by the ledger's outcomes")
        print_table(_heads(moved), ["model", "outcomes", "predicted", "observed", "moved by"])
    notes = [*notes, *trained.notes]
    print(
        "".join(f"\n{note}" for note in notes)
        + f"\n{trained.manifest.version} is in {out}; its card is card.md."
    )
    print(f"To serve it: `scoring: {{artefact: {out.resolve()}}}` in the config file.")


def _apgr(trained: "Trained") -> list[dict[str, Any]]:
    return [
        {"source": row.source, "weak to strong": row.pair, "prompts": row.prompts}
        | {
            name: f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"
            for name, found in row.apgr.items()
            if found.value == found.value  # not NaN
        }
        for row in trained.rows
    ]


def _truth(trained: "Trained") -> list[dict[str, Any]]:
    from gateway.scoring.training.card import number

    return [
        {
            "source": one.source,
            "model": one.model,
            "prompts": one.prompts,
            "before": number(one.before),
            "after": number(one.after),
            "by chance": number(one.by_chance),
        }
        for one in trained.heads
    ]


def _heads(moved: "Mapping[str, Moved]") -> list[dict[str, Any]]:
    return [
        {
            "model": model,
            "outcomes": one.outcomes,
            "predicted": f"{one.predicted:.3f}",
            "observed": f"{one.observed:.3f}",
            "moved by": f"{one.by:+.2f}" if one.head else "too few",
        }
        for model, one in moved.items()
    ]


def _print_json(
    trained: "Trained", traffic: "Sequence[Traffic]", moved: "Mapping[str, Moved]", notes: Sequence[str]
) -> None:
    """What cannot be said is null."""
    report = {
        "version": trained.manifest.version,
        "levels": {one.source.name: one.placed for one in traffic},
        "results": trained.rows,
        "calibration": trained.heads,
        "moved": moved,
        "notes": [*notes, *trained.notes],
    }
    print(msgspec.json.encode(report).decode())
