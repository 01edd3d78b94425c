"""How well scores tell which prompts need the stronger of two models, on prompts that both have answered.

Higher scores need the strong model more. All curves are exact: every threshold counts, prompts of equal score move
together, and between two thresholds chance decides. Needs numpy.
"""

from collections.abc import Iterator

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_BETTER = 1e-9
_NO_GAP = 1e-6
_AT_ONCE = 2_000_000
"""Weights held in memory at a time while resampling."""


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """What a weak and a strong model achieved on the same prompts, and at what cost; arrays of one length."""

    weak: Floats
    strong: Floats
    cost: tuple[Floats, Floats] | None = None
    """Of the weak and of the strong model's answers, in any unit; None: nobody knows."""
    category: NDArray[np.int64] | None = None
    """Which kind each prompt is of."""

    @property
    def gain(self) -> Floats:
        return self.strong - self.weak


class TradeOff(msgspec.Struct, frozen=True, kw_only=True):
    """By rising share of prompts that go to the strong model, from none to all: what it achieves and costs on average."""

    share: Floats
    quality: Floats
    cost: Floats | None


def trade_off(score: Floats, pair: Pair, weight: Floats | None = None) -> TradeOff:
    """`weight`: how much each prompt counts."""
    weight = np.ones(len(score)) if weight is None else weight
    order, ends = _ranked(score)
    total = weight.sum()

    def from_weak_to_strong(weak: Floats, strong: Floats) -> Floats:
        added = np.cumsum(((strong - weak) * weight)[order])[ends]
        quality: Floats = (np.r_[0.0, added] + (weak * weight).sum()) / total
        return quality

    share = np.r_[0.0, np.cumsum(weight[order])[ends]] / total
    return TradeOff(
        share=share,
        quality=from_weak_to_strong(pair.weak, pair.strong),
        cost=None if pair.cost is None else from_weak_to_strong(*pair.cost),
    )


def apgr(score: Floats, pair: Pair, weight: Floats | None = None) -> float:
    """The area under the recovered part of the gap in quality over the share of strong calls (Ong and others, 2024).

    0.5 is chance; NaN where the strong model is not better on average.
    """
    weights = np.ones((1, len(score))) if weight is None else weight[None, :]
    return float(_areas(score, pair.gain, weights)[0])


def apgr_of_quantiles(score: Floats, pair: Pair, bins: int = 10) -> float:
    """The same as RouteLLM publishes it: by thresholds at the edges of `bins` quantiles of the scores."""
    edges = np.unique(np.quantile(score, np.linspace(0, 1, bins + 1)))
    gap = pair.gain.mean()
    if len(edges) < 2 or gap <= 0:
        return float("nan")
    # At the last edge nothing is above it, so that the curve begins with the weak model alone.
    chosen = [score >= edge for edge in edges[:-1]] + [score > edges[-1]]
    share = np.array([one.mean() for one in chosen])
    recovered = np.array([np.where(one, pair.gain, 0.0).mean() for one in chosen]) / gap
    order = np.argsort(share, kind="stable")
    return float(np.trapezoid(recovered[order], share[order]) / np.ptp(share))


def resampled_apgr(scores: Floats, pair: Pair, weights: Floats) -> Floats:
    """A row for each row of `scores`, a column for each row of `weights`."""
    return np.stack([_areas(score, pair.gain, weights) for score in scores])


def resamples(count: int, rounds: int, rng: np.random.Generator) -> Iterator[Floats]:
    """How often each of `count` is drawn, in blocks of rows that stay small."""
    block = max(1, _AT_ONCE // count)
    for start in range(0, rounds, block):
        yield resample(count, min(block, rounds - start), rng)


def resample(count: int, rows: int, rng: np.random.Generator) -> Floats:
    drawn = rng.integers(0, count, (rows, count)) + count * np.arange(rows)[:, None]
    return np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)


def share_needed(curve: TradeOff, quality: float) -> float:
    """The smallest share of strong calls with which the quality is reached; 1 if it never is."""
    return _at(curve.share, *_reached(curve, quality))


def cost_needed(curve: TradeOff, quality: float) -> float:
    """The cost of an average prompt there; NaN where nobody knows costs."""
    return float("nan") if curve.cost is None else _at(curve.cost, *_reached(curve, quality))


def call_performance(curve: TradeOff, recovered: float) -> float:
    """CPT: the share of strong calls that recovers this part of the gap in quality."""
    weak, strong = curve.quality[0], curve.quality[-1]
    return share_needed(curve, weak + recovered * (strong - weak))


def saved(curve: TradeOff, part: float) -> float:
    """Of the strong model's cost, what is saved where this part of its quality is reached."""
    if curve.cost is None or curve.cost[-1] <= 0:
        return float("nan")
    return 1 - cost_needed(curve, part * curve.quality[-1]) / float(curve.cost[-1])


def needs_strong(pair: Pair) -> NDArray[np.bool_]:
    return pair.gain > _BETTER


def auc(score: Floats, is_positive: NDArray[np.bool_], weight: Floats | None = None) -> float:
    """The chance that a positive scores above a negative, ties half; NaN if all are of one kind."""
    weight = np.ones(len(score)) if weight is None else weight
    order, ends = _ranked(-score)
    positive = np.diff(np.r_[0.0, np.cumsum((weight * is_positive)[order])[ends]])
    below = np.r_[0.0, np.cumsum((weight * ~is_positive)[order])[ends]]
    if not positive.sum() or not below[-1]:
        return float("nan")
    return float((positive * (below[:-1] + below[1:])).sum() / 2 / positive.sum() / below[-1])


def auc_within(score: Floats, is_positive: NDArray[np.bool_], category: NDArray[np.int64]) -> float:
    """The AUC inside each category, averaged by size. Near 0.5 beside a high AUC: it only tells categories apart."""
    total = count = 0.0
    for one in np.unique(category):
        inside = category == one
        if 0 < is_positive[inside].sum() < inside.sum():
            total += auc(score[inside], is_positive[inside]) * inside.sum()
            count += inside.sum()
    return float(total / count) if count else float("nan")


def _ranked(score: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The order from the highest score down, and where each run of equal scores ends in it."""
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    return order, np.r_[np.nonzero(np.diff(ranked))[0], len(score) - 1]


def _areas(score: Floats, gain: Floats, weights: Floats) -> Floats:
    """APGR for each row of weights."""
    order, ends = _ranked(score)
    weights = weights[:, order]
    start = np.zeros((len(weights), 1))
    share = np.hstack([start, np.cumsum(weights, axis=1)[:, ends]])
    recovered = np.hstack([start, np.cumsum(weights * gain[order], axis=1)[:, ends]])
    gap = recovered[:, -1] / share[:, -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        areas = np.trapezoid(recovered, share, axis=1) / (recovered[:, -1] * share[:, -1])
    return np.where(gap > _NO_GAP, areas, np.nan)


def _reached(curve: TradeOff, quality: float) -> tuple[int, float]:
    """The place on the curve where the quality is first reached: an index, and the part of the way to the next."""
    above = np.nonzero(curve.quality >= quality - _BETTER)[0]
    if not len(above):
        return len(curve.quality) - 1, 0.0
    first = int(above[0])
    if first == 0:
        return 0, 0.0
    low, high = curve.quality[first - 1 : first + 1]
    return first - 1, min(float((quality - low) / (high - low)), 1.0)


def _at(values: Floats, index: int, part: float) -> float:
    return float(values[index] if part == 0 else values[index] + part * (values[index + 1] - values[index]))
