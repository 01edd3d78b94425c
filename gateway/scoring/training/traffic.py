"""Evaluation files as sources for training: who stands at which level, and which prompts can be learnt from."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

import msgspec
import numpy as np

from gateway.scoring.artefact import LEVELS, Head
from gateway.scoring.contract import Prompt
from gateway.scoring.evaluation_files import PROMPT, SCORE, EvaluationError, EvaluationFile
from gateway.scoring.model import normal
from gateway.scoring.prompt import prompt_of
from gateway.scoring.training.design import Matrix
from gateway.scoring.training.fit import Source, Vector, all_levels

Raw = Callable[[Sequence[Prompt]], tuple[Matrix, Matrix]]
"""Prompts to meanings and features."""
Level = Literal["small", "medium", "large", "frontier"]

LEAST = 200
"""Prompts of a source. Over four public sources that the shipped scorer had not seen, an expert fitted to 200 prompts
moved APGR by -0.01 to +0.08, one fitted to 800 by +0.05 to +0.10."""
LEAST_OF_EACH = 10
"""Good and bad answers, each, of its weakest level."""
_ALPHA = 500.0
_SOME = 1e-6
_STEP = 0.95
"""Logits between neighbouring levels, about."""


class Placed(msgspec.Struct, frozen=True):
    """At which level a model is taken to stand, and by what."""

    level: Level
    by: Literal["you", "its name", "its mean score"]


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """What training sees of a source; sequences of one length."""

    source: Source
    prompts: Sequence[str]
    placed: Mapping[str, Placed]
    left_out: int
    """Prompts without a score of every level."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What is known beforehand."""

    raw: Raw
    known: Mapping[str, Head]
    """The base's measured models."""
    levels: Mapping[str, Level] = {}
    """What the user says."""
    by: str = "source"


def read_traffic(file: EvaluationFile, asked: Asked) -> tuple[list[Traffic], list[str]]:
    """A source for each value of the column, and what to tell of those that are too small. Raises EvaluationError."""
    columns = [PROMPT, *(SCORE + model for model in file.models)]
    if asked.by in file.columns:
        columns.append(asked.by)
    whole: dict[str, list[object]] = {name: [] for name in columns}
    for piece in file.pieces(columns):
        for name, values in piece.items():
            whole[name] += values
    prompts = np.array([str(text or "") for text in whole[PROMPT]], dtype=object)
    scores = {
        model: np.array([np.nan if one is None else one for one in whole[SCORE + model]], np.float64)
        for model in file.models
    }
    scores = {model: values for model, values in scores.items() if not np.isnan(values).all()}
    if not scores:
        raise EvaluationError(f"{file.path}: no model has a score")
    placed = _placed(file, scores, asked)
    names = np.array([str(one or file.path.stem) for one in whole.get(asked.by, [None] * len(prompts))])
    found, notes = [], []
    for name in dict.fromkeys(names.tolist()):
        inside = (names == name) & (prompts != "")
        made = _traffic(name, prompts[inside], {m: v[inside] for m, v in scores.items()}, placed, asked)
        if isinstance(made, str):
            notes.append(f"{file.path}: {name}: {made}")
        else:
            found.append(made)
    return found, notes


def _placed(file: EvaluationFile, scores: Mapping[str, Vector], asked: Asked) -> dict[str, Placed]:
    known = {normal(name): head for name, head in asked.known.items()}
    placed: dict[str, Placed] = {}
    for model in scores:
        if model in asked.levels:
            placed[model] = Placed(asked.levels[model], "you")
        elif head := known.get(normal(model)):
            placed[model] = Placed(_level(head.position), "its name")
    if not placed:
        raise EvaluationError(
            f"{file.path}: none of {', '.join(scores)} is a model that the scorer knows, so it cannot tell which of them "
            f"is how strong: say it of one at least with --level MODEL=small, medium, large or frontier"
        )
    anchors = list(placed)
    for model in scores:
        if model not in placed:
            at = [
                LEVELS.index(placed[one].level) + (_logit(scores[model]) - _logit(scores[one])) / _STEP
                for one in anchors
            ]
            placed[model] = Placed(_level(float(np.mean(at))), "its mean score")
    return placed


def _traffic(
    name: str,
    prompts: Sequence[str],
    scores: Mapping[str, Vector],
    placed: Mapping[str, Placed],
    asked: Asked,
) -> Traffic | str:
    """Or why not."""
    levels: dict[str, Vector] = {}
    for level in LEVELS:
        those = [values for model, values in scores.items() if placed[model].level == level]
        if those and not np.isnan(np.array(those)).all():
            levels[level] = _means(np.array(those))
    usable = (
        ~np.isnan(np.array(list(levels.values()))).any(axis=0) if levels else np.zeros(len(prompts), bool)
    )
    count = int(usable.sum())
    if count < LEAST:
        return (
            f"{count} prompts have a score of each level ({', '.join(levels)}), and {LEAST} are needed: "
            f"fewer say less than the scorer knows already"
        )
    lowest = next(iter(levels.values()))[usable]
    good, bad = float(lowest.sum()), float((1 - lowest).sum())
    if min(good, bad) < LEAST_OF_EACH:
        return (
            f"of the weakest models' answers {good:.0f} are good and {bad:.0f} bad, and {LEAST_OF_EACH} of each are "
            f"needed: where all are alike, no prompt differs from another"
        )
    texts = [text for text, is_usable in zip(prompts, usable, strict=True) if is_usable]
    meanings, features = asked.raw(
        [prompt_of({"messages": [{"role": "user", "content": one}]}) for one in texts]
    )
    measured = {level: p[usable] for level, p in levels.items()}
    source = Source(
        name=name,
        group=name,
        need="failure",
        meanings=meanings,
        features=features,
        levels=dict(zip(LEVELS, all_levels(measured), strict=True)),
        kinds=[""] * count,
        models={m: v[usable] for m, v in scores.items() if not np.isnan(v[usable]).all()},
        alpha=_ALPHA,
    )
    if len(measured) > 1 and source.gain().mean() > 0 and source.gain().std() > _SOME:
        # Gain is what routing is about, and within a source it is learnt best. One level alone tells of failure only.
        source = msgspec.structs.replace(source, need="gain")
    return Traffic(
        source=source,
        prompts=texts,
        placed={m: placed[m] for m in source.models},
        left_out=len(prompts) - count,
    )


def _means(values: Vector) -> Vector:
    """Over the models, of those that are known; NaN where none is."""
    known = ~np.isnan(values)
    counts = known.sum(axis=0)
    return np.where(counts > 0, np.where(known, values, 0.0).sum(axis=0) / np.maximum(counts, 1), np.nan)


def _level(position: float) -> Level:
    names: tuple[Level, ...] = get_args(Level)
    return names[min(max(round(position), 0), len(names) - 1)]


def _logit(scores: Vector) -> float:
    mean = min(max(float(np.nanmean(scores)), 0.01), 0.99)
    return float(np.log(mean / (1 - mean)))
