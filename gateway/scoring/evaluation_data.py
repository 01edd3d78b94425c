"""From evaluation files to numbers: prompts are read, judged and forgotten piece by piece. Needs numpy."""

from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from gateway.scoring.evaluation_files import COST, PROMPT, SCORE, EvaluationError, EvaluationFile, Piece
from gateway.scoring.metrics import Floats, Pair

CATEGORY = "category"


class Judged(msgspec.Struct, frozen=True):
    """What a scorer says of some prompts."""

    score: Sequence[float]
    """Higher needs the strong model more."""
    p_good: Sequence[Sequence[float]] | None = None
    """Of each prompt that of each model asked for; None: it does not say."""


Judge = Callable[[Sequence[str], Sequence[str]], Judged]
"""Of prompts and models."""


class Sides(msgspec.Struct, frozen=True):
    weak: tuple[str, ...]
    """The mean of their scores counts."""
    strong: str

    @property
    def models(self) -> tuple[str, ...]:
        return (*self.weak, self.strong)


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """The judged prompts of one source; arrays of one length."""

    name: str
    sides: Sides
    pair: Pair
    score: Floats
    length: Floats
    """Of the prompts, in characters."""
    values: Floats
    """A column for each model: how good its answers were."""
    p_good: Floats | None
    """Likewise, how good they were predicted to be."""


class Reading(msgspec.Struct, frozen=True):
    tasks: list[Task]
    left_out: int
    """Rows without a prompt or without the scores of all models."""


def sides(file: EvaluationFile) -> Sides:
    """The best model by its mean score, and the one that stands a third of the way up from the worst: at the very end
    of a long list stand models whose answers could not be read."""
    columns = [SCORE + model for model in file.models]
    sums, counts = np.zeros(len(columns)), np.zeros(len(columns))
    for piece in file.pieces(columns):
        values = np.stack([_floats(piece[name]) for name in columns])
        sums += np.nansum(values, axis=1)
        counts += (~np.isnan(values)).sum(axis=1)
    ranked = sorted((sums[n] / counts[n], model) for n, model in enumerate(file.models) if counts[n])
    if len(ranked) < 2:
        raise EvaluationError(f"{file.path}: two models with scores are needed, and there are {len(ranked)}")
    return Sides((ranked[(len(ranked) - 1) // 3][1],), ranked[-1][1])


def read(file: EvaluationFile, chosen: Sides, by: str, judge: Judge) -> Reading:
    """A task for each value of the column `by`; without such a column the file is one."""
    optional = dict.fromkeys([by, CATEGORY, *(COST + model for model in chosen.models)])
    columns = [PROMPT, *(SCORE + model for model in chosen.models)]
    columns += [name for name in optional if name in file.columns and name not in columns]
    groups: dict[str, int] = {}
    categories: dict[str, int] = {}
    parts, rows = [], 0
    for piece in file.pieces(columns):
        numbers = _numbers(piece, chosen)
        names = piece.get(by) or [None] * len(piece[PROMPT])
        numbers["group"] = _codes([name or file.path.stem for name in names], groups)
        if CATEGORY in piece:
            numbers["category"] = _codes(piece[CATEGORY], categories)
        usable = np.nonzero(~np.isnan(numbers["values"]).any(axis=1) & (numbers["length"] > 0))[0]
        rows += len(piece[PROMPT])
        if not len(usable):
            continue
        part = {name: array[usable] for name, array in numbers.items()}
        part |= _judged(file, [piece[PROMPT][n] for n in usable], chosen, judge)
        parts.append(part)
    if not parts:
        models = " and ".join(chosen.models)
        raise EvaluationError(f"{file.path}: no row has a prompt and a score of each of {models}")
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    found = [_task(name, chosen, whole, whole["group"] == code) for name, code in groups.items()]
    return Reading([task for task in found if len(task.score)], rows - len(whole["score"]))


def _numbers(piece: Piece, chosen: Sides) -> dict[str, Floats]:
    numbers = {
        "length": np.array([float(len(prompt or "")) for prompt in piece[PROMPT]]),
        "values": np.stack([_floats(piece[SCORE + model]) for model in chosen.models], axis=1),
    }
    if all(COST + model in piece for model in chosen.models):
        numbers["costs"] = np.stack([_floats(piece[COST + model]) for model in chosen.models], axis=1)
    return numbers


def _judged(file: EvaluationFile, prompts: Sequence[str], chosen: Sides, judge: Judge) -> dict[str, Floats]:
    judged = judge(prompts, chosen.models)
    score = np.asarray(judged.score, dtype=np.float64)
    if score.shape != (len(prompts),):
        raise EvaluationError(f"the scorer gave {score.size} scores for {len(prompts)} prompts")
    if not np.isfinite(score).all():
        prompt = prompts[int(np.nonzero(~np.isfinite(score))[0][0])]
        raise EvaluationError(f"{file.path}: the scorer gave no finite number for the prompt {prompt[:60]!r}")
    if judged.p_good is None:
        return {"score": score}
    p_good = np.asarray(judged.p_good, dtype=np.float64).reshape(len(prompts), len(chosen.models))
    return {"score": score, "p_good": p_good}


def _task(name: str, chosen: Sides, whole: dict[str, Floats], inside: Floats) -> Task:
    mine = {key: array[inside.astype(bool)] for key, array in whole.items()}
    values, costs = mine["values"], mine.get("costs")
    has_costs = costs is not None and not np.isnan(costs).any()
    return Task(
        name=name,
        sides=chosen,
        pair=Pair(
            weak=values[:, :-1].mean(axis=1),
            strong=values[:, -1],
            cost=(costs[:, :-1].mean(axis=1), costs[:, -1]) if costs is not None and has_costs else None,
            category=mine["category"].astype(np.int64) if "category" in mine else None,
        ),
        score=mine["score"],
        length=mine["length"],
        values=values,
        p_good=mine.get("p_good"),
    )


def _floats(values: Sequence[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _codes(names: Sequence[str | None], known: dict[str, int]) -> Floats:
    """A number for each name, the same whenever it comes again."""
    return np.array([known.setdefault(name or "", len(known)) for name in names], dtype=np.float64)
