"""`weighbridge scorer evaluate`: what a scorer is worth on prompts with measured answers, beside what is free to know.

What it measures with needs numpy, which a gateway that only serves may lack: so those modules are loaded in functions.
"""

import argparse
import importlib
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.cli.table import print_table
from gateway.errors import ConfigError
from gateway.scoring.calibration import sigmoid
from gateway.scoring.contract import Scorable
from gateway.scoring.evaluation_files import EvaluationError, EvaluationFile
from gateway.scoring.prompt import prompt_of
from policies.contract import Size

if TYPE_CHECKING:
    from gateway.scoring.evaluation import Calibrated, Result
    from gateway.scoring.evaluation_data import Judge, Reading, Sides, Task

_SEED = 0
_PACKAGES = {"matplotlib": "train", "numpy": "train", "onnxruntime": "onnx-cpu", "pyarrow": "train"}
_PARTS = (90, 95, 99)


def run(args: argparse.Namespace) -> int:
    try:
        return _run(args)
    except EvaluationError as exc:
        raise ConfigError(f"scorer evaluate: {exc}") from exc
    except ModuleNotFoundError as exc:
        if exc.name not in _PACKAGES:
            raise
        extra = _PACKAGES[exc.name]
        raise ConfigError(f"scorer evaluate: needs {exc.name}: pip install 'weighbridge[{extra}]'") from exc


def _run(args: argparse.Namespace) -> int:
    import numpy as np

    from gateway.scoring.evaluation import calibrated, results

    judge = judge_of(args.scorer, args.artefact)
    rng = np.random.default_rng(_SEED)
    read = {path: _read(path, args, judge) for path in args.files}
    tasks = _told_apart(read)
    found = results(tasks, args.boot, rng)
    truth = [one for task in tasks for one in calibrated(task, rng)]
    saved = _saved(tasks, args.save) if args.save else []
    if args.json:
        _print_json(tasks, found, truth, saved)
    else:
        print_report(tasks, found, truth)
        _notes(read, found, saved)
    return 0


def _read(path: Path, args: argparse.Namespace, judge: "Judge") -> "Reading":
    from gateway.scoring.evaluation_data import read

    file = EvaluationFile(path)
    return read(file, _sides(file, args.weak, args.strong), args.by, judge)


def _sides(file: EvaluationFile, weak: str | None, strong: str | None) -> "Sides":
    from gateway.scoring.evaluation_data import Sides, sides

    usual = sides(file) if weak is None or strong is None else None
    chosen = Sides(
        tuple(weak.split(",")) if weak is not None else usual.weak if usual else (),
        strong if strong is not None else usual.strong if usual else "",
    )
    for model in chosen.models:
        if model not in file.models:
            raise EvaluationError(
                f"{file.path}: no scores of {model!r}; there are some of {', '.join(file.models)}"
            )
    if chosen.strong in chosen.weak:
        raise EvaluationError(f"{file.path}: {chosen.strong!r} cannot be both the weak and the strong model")
    return chosen


def judge_of(target: str | None, artefact: Path | None = None) -> "Judge":
    """A function's, or else an artefact's: the one that ships, if none is named."""
    return _by_function(_loaded(target)) if target is not None else _by_artefact(artefact)


def _by_artefact(folder: Path | None) -> "Judge":
    """Models that nobody has measured are taken for medium ones, and the last for one in the cloud."""
    from gateway.scoring.artefact import SHIPPED
    from gateway.scoring.evaluation_data import Judged
    from gateway.scoring.explain import open_explainer
    from gateway.scoring.model import at

    scorer = open_explainer(folder or SHIPPED).scorer

    def judge(prompts: Sequence[str], models: Sequence[str]) -> Judged:
        heads = [scorer.head(_scorable(model, "medium")) for model in models[:-1]]
        heads.append(scorer.head(_scorable(models[-1], "cloud")))
        views = [
            scorer.view(prompt_of({"messages": [{"role": "user", "content": text}]})) for text in prompts
        ]
        p_good = [[sigmoid(at(view.levels, head.position) + head.shift) for head in heads] for view in views]
        return Judged([view.need for view in views], p_good)

    return judge


def _scorable(model: str, size: Size) -> Scorable:
    return Scorable(id=model, size=size, model=model, upstream_model=model)


def _by_function(function: Callable[[list[str]], Sequence[float]]) -> "Judge":
    from gateway.scoring.evaluation_data import Judged

    def judge(prompts: Sequence[str], _: Sequence[str]) -> Judged:
        return Judged(function(list(prompts)))

    return judge


def _loaded(target: str) -> Callable[[list[str]], Sequence[float]]:
    module, _, name = target.partition(":")
    if not module or not name:
        raise ConfigError(f"scorer evaluate: --scorer {target!r}: expected module:function")
    if "" not in sys.path:
        sys.path.insert(0, "")  # what stands in this folder, as for `python -m`
    try:
        function = getattr(importlib.import_module(module), name, None)
    except ImportError as exc:
        raise ConfigError(f"scorer evaluate: --scorer {target!r}: {exc}") from exc
    if not callable(function):
        raise ConfigError(f"scorer evaluate: --scorer {target!r}: {module} has no function {name!r}")
    return function  # type: ignore[no-any-return]  # whoever wrote it says what it returns


def _told_apart(read: "dict[Path, Reading]") -> "list[Task]":
    """Sources of the same name in two files get the file's before theirs."""
    names = [task.name for reading in read.values() for task in reading.tasks]
    return [
        task
        if names.count(task.name) == 1
        else msgspec.structs.replace(task, name=f"{path.stem}: {task.name}")
        for path, reading in read.items()
        for task in reading.tasks
    ]


def _saved(tasks: "Sequence[Task]", folder: Path) -> list[Path]:
    from gateway.scoring import diagram
    from gateway.scoring.evaluation import known_beforehand

    paths = []
    for task in tasks:
        title = f"{task.name}\n{' and '.join(task.sides.weak)} against {task.sides.strong}"
        scores = [("scorer", task.score), *known_beforehand(task)]
        paths += diagram.save(
            diagram.trade_off_diagram(task.pair, scores, title), folder, f"{task.name} trade-off"
        )
        if task.p_good is not None:
            heads = [
                diagram.Head(model, task.p_good[:, n], task.values[:, n])
                for n, model in enumerate(task.sides.models)
            ]
            figure = diagram.reliability_diagram(heads, task.name)
            paths += diagram.save(figure, folder, f"{task.name} reliability")
    return paths


def print_report(tasks: "Sequence[Task]", found: "Sequence[Result]", truth: "Sequence[Calibrated]") -> None:
    for sides in dict.fromkeys(task.sides for task in tasks):
        names = [task.name for task in tasks if task.sides == sides]
        print(f"{', '.join(names)}: {' and '.join(sides.weak)} against {sides.strong}")
    print()
    _table([_routing(one) for one in found])
    print("\nAPGR beside what is free to know")
    _table([_baselines(one) for one in found])
    if truth:
        print("\nP(good), and what came of it")
        _table([_truth(one) for one in truth])


def _routing(one: "Result") -> dict[str, Any]:
    return {
        "source": one.name,
        "prompts": one.prompts,
        "weak": _number(one.weak),
        "strong": _number(one.strong),
        "APGR": _number(one.apgr),
        "95 %": _span(one.apgr_low, one.apgr_high),
        "by deciles": _number(one.apgr_of_quantiles),
        "CPT50": _percent(one.cpt50),
        "CPT80": _percent(one.cpt80),
        **{f"needs@{part}": _percent(getattr(one, f"needed{part}")) for part in _PARTS},
        **{f"saves@{part}": _percent(getattr(one, f"saved{part}")) for part in _PARTS},
        "AUC": _number(one.auc),
        "within": _number(one.auc_within),
    }


def _baselines(one: "Result") -> dict[str, Any]:
    return {
        "source": one.name,
        "random": "0.500",
        "length": _number(one.length),
        "category oracle": _number(one.category),
        "oracle": _number(one.oracle),
        "scorer": _number(one.apgr),
        "over length": "" if math.isnan(one.over_length) else f"{one.over_length:+.3f}",
        "95 %": _span(one.over_length_low, one.over_length_high),
    }


def _truth(one: "Calibrated") -> dict[str, Any]:
    return {
        "source": one.name,
        "model": one.model,
        "predicted": _number(one.predicted),
        "observed": _number(one.observed),
        "AUC": _number(one.auc),
        "Brier": _number(one.brier),
        "ECE": _number(one.error),
        "by chance": _number(one.by_chance),
        "ECE after 200": _number(one.error_after),
    }


def _table(rows: Sequence[dict[str, Any]]) -> None:
    """Without the columns of which nothing is known."""
    columns = [name for name in rows[0] if any(row[name] != "" for row in rows)]
    print_table(rows, columns)


def _notes(read: "dict[Path, Reading]", found: "Sequence[Result]", saved: Sequence[Path]) -> None:
    notes = [
        f"{path}: {reading.left_out:,} rows without a prompt or a score of each model were left out."
        for path, reading in read.items()
        if reading.left_out
    ]
    notes += [
        f"{one.name}: the strong model is not better there, so there is nothing to recover."
        for one in found
        if math.isnan(one.apgr)
    ]
    if saved:
        notes.append(f"{len(saved)} diagrams are in {saved[0].parent}.")
    if notes:
        print("\n" + "\n".join(notes))


def _print_json(
    tasks: "Sequence[Task]",
    found: "Sequence[Result]",
    truth: "Sequence[Calibrated]",
    saved: Sequence[Path],
) -> None:
    """What cannot be said is null."""
    report = {
        "models": {task.name: task.sides for task in tasks},
        "results": found,
        "calibration": truth,
        "diagrams": [str(path) for path in saved],
    }
    print(msgspec.json.encode(report).decode())


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"


def _percent(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.1%}"


def _span(low: float, high: float) -> str:
    return "" if math.isnan(low) else f"{low:.3f} to {high:.3f}"
