"""What the recipe finds in prompts that were kept aside: of the sources that ship, and of a user's own."""

from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from gateway.scoring import metrics, reliability
from gateway.scoring.artefact import Head
from gateway.scoring.calibration_fit import Sample, cells, fit_beta
from gateway.scoring.metrics import Floats, Pair
from gateway.scoring.training.build import part
from gateway.scoring.training.extend import extend
from gateway.scoring.training.fit import Fitted, Source, at_position, fit
from gateway.scoring.training.store import Memory

SAMPLE = 200
"""Outcomes that a tenant has told before the error after it is measured."""
_DRAWS = 20
_FOLDS = 5

Mask = npt.NDArray[np.bool_]
Predicted = tuple[Floats, npt.NDArray[np.float32]]
"""Need [n] and P(good) by level [n, 4]."""


class Estimate(msgspec.Struct, frozen=True):
    value: float
    low: float
    """95 % of resamples lie from here..."""
    high: float
    """...to here."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """APGR of some scores on one pair of models: 0.5 is chance."""

    source: str
    pair: str
    prompts: int
    apgr: Mapping[str, Estimate]
    """By what was scored with; NaN where the strong model is not the better one."""


class Calibrated(msgspec.Struct, frozen=True, kw_only=True):
    """Expected calibration errors of one head, in ten bins of equal mass."""

    source: str
    model: str
    prompts: int
    before: float
    after: float
    """Once `SAMPLE` outcomes have bent it: on the others, as the mean of some draws; NaN: there are too few."""
    by_chance: float
    """What so many outcomes would show if every prediction were true."""


def measured(
    source: str, pair: str, sides: tuple[Floats, Floats], scores: Mapping[str, Floats], rounds: int
) -> Row:
    known = ~(np.isnan(sides[0]) | np.isnan(sides[1]))
    both = Pair(weak=sides[0][known], strong=sides[1][known])
    stack = np.stack([np.asarray(score, np.float64)[known] for score in scores.values()])
    rng = np.random.default_rng(0)
    areas = np.concatenate(
        [
            metrics.resampled_apgr(stack, both, weights)
            for weights in metrics.resamples(int(known.sum()), rounds, rng)
        ],
        axis=1,
    )
    found = {}
    for name, score, area in zip(scores, stack, areas, strict=True):
        drawn = area[~np.isnan(area)]
        low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (np.nan, np.nan)
        found[name] = Estimate(metrics.apgr(score, both), float(low), float(high))
    return Row(source=source, pair=pair, prompts=int(known.sum()), apgr=found)


def without_subjects(sources: Sequence[Source], at: int, folds: Sequence[Mask]) -> Predicted:
    """Of each fold by what was fitted to all but it."""
    source = sources[at]
    return _crosswise(
        source, folds, lambda kept: fit([part(one, kept) if one is source else one for one in sources])
    )


def without_source(sources: Sequence[Source], at: int) -> Predicted:
    source = sources[at]
    need, levels, _ = fit([*sources[:at], *sources[at + 1 :]]).predict(source.meanings, source.features)
    return need.astype(np.float64), levels


def with_base(fitted: Fitted, memory: Memory, source: Source, prompts: Sequence[str]) -> Predicted:
    """Of each fifth of a user's prompts by the base and an expert fitted to the others. Equal prompts stay together."""
    _, which = np.unique(np.array(prompts, dtype=str), return_inverse=True)
    fold = np.random.default_rng(0).integers(0, _FOLDS, int(which.max()) + 1)[which]
    return _crosswise(
        source,
        [fold == number for number in range(_FOLDS) if (fold == number).any()],
        lambda kept: extend(fitted, memory, [part(source, kept)]),
    )


def _crosswise(source: Source, folds: Sequence[Mask], fitted_to: Callable[[Mask], Fitted]) -> Predicted:
    count = len(source.kinds)
    need, levels = np.zeros(count), np.zeros((count, 4), np.float32)
    for held in folds:
        seen = fitted_to(~held)
        need[held], levels[held], _ = seen.predict(source.meanings[held], source.features[held])
    return need, levels


def p_good(levels: npt.NDArray[np.float32], head: Head) -> Floats:
    logits = np.log(levels / (1 - levels))
    p: Floats = 1 / (1 + np.exp(-(at_position(logits, head.position).astype(np.float64) + head.shift)))
    return p


def calibrated(source: str, model: str, p: Floats, scores: Floats) -> Calibrated:
    """`p` was predicted by who had not seen the scores."""
    known = ~np.isnan(scores)
    p, value = p[known], scores[known]
    return Calibrated(
        source=source,
        model=model,
        prompts=len(p),
        before=reliability.calibration_error(p, value),
        after=_after(p, value),
        by_chance=reliability.error_by_chance(p),
    )


def bent(p: Floats, value: Floats, rng: np.random.Generator) -> tuple[Floats, npt.NDArray[np.int64]]:
    """By a sample of outcomes: the predictions of the others, and which those are."""
    order = rng.permutation(len(p))
    told, others = order[:SAMPLE], order[SAMPLE:]
    curve = fit_beta(cells(Sample(float(p[n]), float(value[n])) for n in told))
    return np.array([curve(float(one)) for one in p[others]]), others


def _after(p: Floats, value: Floats) -> float:
    if len(p) < 2 * SAMPLE:
        return float("nan")
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(_DRAWS):
        predictions, others = bent(p, value, rng)
        errors.append(reliability.calibration_error(predictions, value[others]))
    return float(np.mean(errors))
