"""What a scorer is worth on prompts that a weak and a strong model have answered, beside what costs nothing to know.

Needs numpy.
"""

from collections.abc import Sequence

import msgspec
import numpy as np

from gateway.scoring import metrics, reliability
from gateway.scoring.calibration_fit import Sample, cells, fit_beta
from gateway.scoring.evaluation_data import Task
from gateway.scoring.metrics import Floats, Pair

SAMPLE = 200
"""Outcomes that a tenant has told before his calibration error is measured."""

MEAN, POOLED = "mean of sources", "one threshold for all"

_PARTS = (90, 95, 99)
_DRAWS = 20
_ROUNDS_AT_ONCE = 100
_NAN = float("nan")


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Shares are of 1. NaN is what cannot be said."""

    name: str
    prompts: int
    weak: float
    """The mean score of the weak model."""
    strong: float
    apgr: float
    apgr_low: float
    """95 % of resamples lie from here..."""
    apgr_high: float
    """...to here."""
    apgr_of_quantiles: float
    cpt50: float
    """The share of strong calls that recovers half of the gap."""
    cpt80: float
    needed90: float
    """The share of strong calls that reaches 90 % of the strong model's quality."""
    needed95: float
    needed99: float
    saved90: float
    """Of the strong model's cost, with that share."""
    saved95: float
    saved99: float
    auc: float
    auc_within: float
    length: float
    """APGR of the prompts' length."""
    category: float
    """APGR of whoever knows each category's mean gain."""
    oracle: float
    """APGR of whoever knows each prompt's gain."""
    over_length: float
    over_length_low: float
    over_length_high: float


class Calibrated(msgspec.Struct, frozen=True, kw_only=True):
    """How true P(good) of one model is on one task."""

    name: str
    model: str
    prompts: int
    predicted: float
    observed: float
    auc: float
    """Of telling good answers (at least 0.5) from others."""
    brier: float
    error: float
    """ECE over bins of equal mass."""
    by_chance: float
    """The ECE to be expected if every prediction were true."""
    debiased: float
    """The root mean square error without the part of chance."""
    error_after: float
    """ECE of the other prompts once `SAMPLE` outcomes have bent the predictions: the mean of some draws."""
    debiased_after: float


def results(tasks: Sequence[Task], rounds: int, rng: np.random.Generator) -> list[Result]:
    """One for each task; of several, their mean too, and all under one threshold. Where the strong model is not the
    better one there is nothing to recover: such a task counts towards neither."""
    resampled = [_resampled(task, rounds, rng) for task in tasks]
    found = [
        _result(task.name, task.pair, _scores(task), np.ones(len(task.score)), areas)
        for task, areas in zip(tasks, resampled, strict=True)
    ]
    counting = [n for n, one in enumerate(found) if not np.isnan(one.apgr)]
    if len(counting) > 1:
        areas = np.mean([resampled[n] for n in counting], axis=0)
        found.append(_mean([found[n] for n in counting], areas))
        found.append(_pooled([tasks[n] for n in counting], rounds, rng))
    return found


def calibrated(task: Task, rng: np.random.Generator) -> list[Calibrated]:
    """One for each model, if the scorer gives P(good)."""
    if task.p_good is None:
        return []
    return [
        _calibrated(task.name, model, task.p_good[:, n], task.values[:, n], rng)
        for n, model in enumerate(task.sides.models)
    ]


def known_beforehand(task: Task) -> list[tuple[str, Floats]]:
    """The baselines of a diagram: what could be known without a scorer, by name."""
    named = [("length", task.length), ("category oracle", _mean_gains(task.pair))]
    return [(name, score) for name, score in named if not np.isnan(score).any()]


def _scores(task: Task) -> Floats:
    """A row for the scorer, and one for each baseline, in the order of their fields."""
    return np.stack([task.score, task.length, _mean_gains(task.pair), task.pair.gain])


def _mean_gains(pair: Pair) -> Floats:
    if pair.category is None:
        return np.full(len(pair.weak), _NAN)
    sums = np.bincount(pair.category, weights=pair.gain)
    return (sums / np.maximum(np.bincount(pair.category), 1))[pair.category]


def _resampled(task: Task, rounds: int, rng: np.random.Generator) -> Floats:
    """APGR of the scorer and of length, on the same resamples."""
    scores = _scores(task)[:2]
    blocks = [
        metrics.resampled_apgr(scores, task.pair, weights)
        for weights in metrics.resamples(len(task.score), rounds, rng)
    ]
    return np.concatenate(blocks, axis=1) if blocks else np.empty((2, 0))


def _result(name: str, pair: Pair, scores: Floats, weight: Floats, areas: Floats) -> Result:
    curve = metrics.trade_off(scores[0], pair, weight)
    is_positive = metrics.needs_strong(pair)
    apgrs = [metrics.apgr(score, pair, weight) if not np.isnan(score).any() else _NAN for score in scores]
    has_gap = not np.isnan(apgrs[3])
    is_weighted = bool(np.ptp(weight))
    return Result(
        name=name,
        prompts=len(weight),
        weak=float(curve.quality[0]),
        strong=float(curve.quality[-1]),
        apgr=apgrs[0],
        apgr_of_quantiles=_NAN if is_weighted else metrics.apgr_of_quantiles(scores[0], pair),
        cpt50=metrics.call_performance(curve, 0.5) if has_gap else _NAN,
        cpt80=metrics.call_performance(curve, 0.8) if has_gap else _NAN,
        **{f"needed{part}": _needed(curve, part) if has_gap else _NAN for part in _PARTS},
        **{f"saved{part}": metrics.saved(curve, part / 100) if has_gap else _NAN for part in _PARTS},
        auc=metrics.auc(scores[0], is_positive, weight),
        auc_within=_NAN
        if pair.category is None
        else metrics.auc_within(scores[0], is_positive, pair.category),
        length=apgrs[1],
        category=apgrs[2],
        oracle=apgrs[3],
        over_length=apgrs[0] - apgrs[1],
        **_intervals(areas),
    )


def _needed(curve: metrics.TradeOff, part: int) -> float:
    return metrics.share_needed(curve, part / 100 * float(curve.quality[-1]))


def _intervals(areas: Floats) -> dict[str, float]:
    low, high = _interval(areas[0])
    over_low, over_high = _interval(areas[0] - areas[1])
    return {
        "apgr_low": low,
        "apgr_high": high,
        "over_length_low": over_low,
        "over_length_high": over_high,
    }


def _interval(values: Floats) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    if not len(known):
        return _NAN, _NAN
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


def _mean(found: Sequence[Result], areas: Floats) -> Result:
    fields = [name for name in Result.__struct_fields__ if name not in ("name", "prompts")]
    means = {name: float(np.mean([getattr(one, name) for one in found])) for name in fields}
    return Result(name=MEAN, prompts=sum(one.prompts for one in found), **(means | _intervals(areas)))


def _pooled(tasks: Sequence[Task], rounds: int, rng: np.random.Generator) -> Result:
    """Each task counts alike: qualities in parts of its strong model's mean, costs in parts of that one's cost."""
    sizes = [len(task.score) for task in tasks]
    pairs = [_relative(task.pair) for task in tasks]
    costs = [pair.cost for pair in pairs if pair.cost is not None]
    pair = Pair(
        weak=np.concatenate([one.weak for one in pairs]),
        strong=np.concatenate([one.strong for one in pairs]),
        cost=(np.concatenate([weak for weak, _ in costs]), np.concatenate([strong for _, strong in costs]))
        if len(costs) == len(pairs)
        else None,
        category=np.repeat(np.arange(len(tasks)), sizes),
    )
    scores = np.concatenate([_scores(task) for task in tasks], axis=1)
    blocks = []
    for start in range(0, rounds, _ROUNDS_AT_ONCE):
        rows = min(_ROUNDS_AT_ONCE, rounds - start)
        weights = np.hstack([metrics.resample(size, rows, rng) / size for size in sizes])
        blocks.append(metrics.resampled_apgr(scores[:2], pair, weights))
    areas = np.concatenate(blocks, axis=1) if blocks else np.empty((2, 0))
    weight = np.concatenate([np.full(size, 1 / size) for size in sizes])
    return _result(POOLED, pair, scores, weight, areas)


def _relative(pair: Pair) -> Pair:
    worth = pair.strong.mean()
    cost = None
    if pair.cost is not None:
        weak, strong = pair.cost
        cost = (weak / strong.mean(), strong / strong.mean())
    return Pair(weak=pair.weak / worth, strong=pair.strong / worth, cost=cost)


def _calibrated(name: str, model: str, p: Floats, value: Floats, rng: np.random.Generator) -> Calibrated:
    error_after, debiased_after = _after_sample(p, value, rng)
    return Calibrated(
        name=name,
        model=model,
        prompts=len(p),
        predicted=float(p.mean()),
        observed=float(value.mean()),
        auc=metrics.auc(p, value >= 0.5),
        brier=reliability.brier(p, value),
        error=reliability.calibration_error(p, value),
        by_chance=reliability.error_by_chance(p),
        debiased=reliability.debiased_error(p, value),
        error_after=error_after,
        debiased_after=debiased_after,
    )


def _after_sample(p: Floats, value: Floats, rng: np.random.Generator) -> tuple[float, float]:
    if len(p) < 2 * SAMPLE:
        return _NAN, _NAN
    errors = []
    for _ in range(_DRAWS):
        order = rng.permutation(len(p))
        told, others = order[:SAMPLE], order[SAMPLE:]
        curve = fit_beta(cells(Sample(float(p[n]), float(value[n])) for n in told))
        bent = np.array([curve(float(one)) for one in p[others]])
        errors.append(
            (
                reliability.calibration_error(bent, value[others]),
                reliability.debiased_error(bent, value[others]),
            )
        )
    plain, debiased = np.mean(errors, axis=0)
    return float(plain), float(debiased)
