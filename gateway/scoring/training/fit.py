"""Fits the scorer's heads. One expert for each source of measured answers, mixed by how near a prompt is to each source.

A single model fitted to everything learns which source a prompt came from, and little else. So each expert is a ridge
regression within its source, its predictions are standardised there, and a softmax over linear scores of nearness mixes
them. What an expert is fitted to is what was found to carry over to subjects that were kept aside:

    gain        P(strong is good) - P(weak is good)        where both were asked to answer at once
    failure     1 - P(weak is good)                         where strong models reason at length: harder means more gain
    rescue      P(weak fails) * P(strong is good)           over tasks of many kinds
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from gateway.scoring.artefact import LEVELS, Head
from gateway.scoring.training.design import BLOCKS, BY_HAND, Matrix

Need = Literal["gain", "failure", "rescue"]
Vector = npt.NDArray[np.float64]

MEANING = 0.7
"""Standard deviation of the meaning's dimensions together, where each feature has 1. One scale for all: to standardise
each would raise the noise of the last ones."""
CAP = 3.0
"""Standard deviations to which a feature may go: no count of anything can buy a model alone."""
SPREAD = 0.25
"""What a standard deviation of need in a source is worth in gain."""
_LEAST, _MOST = 0.02, 0.98
_STEPS = {("small", "medium"): 0.95, ("medium", "large"): 1.05, ("large", "frontier"): 0.9}
"""Logits between neighbouring levels where a source measured only one, from the judged prompts."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Prompts with what is known of the answers of models of each level. All arrays are over the prompts."""

    name: str
    group: str
    """Sources of one group are not told apart by how much their prompts gain on average."""
    need: Need
    meanings: Matrix
    features: Matrix
    levels: Mapping[str, Vector]
    """P(good) by level, from as many models as there are: dense labels were the largest single gain."""
    kinds: Sequence[str]
    """Empty where it is not known."""
    models: Mapping[str, Vector] = {}
    """Each model's own scores, NaN where it was not asked."""
    alpha: float = 1000.0
    trust: float = 1.0
    """What its scores count for in P(good). Exact matching calls good answers bad that are in other words."""
    bonus: float = 0.0
    """Added to the mean gain. Where answers are judged by degree, more is gained than P(good) tells."""

    def gain(self) -> Vector:
        return self.levels["frontier"] - self.levels["medium"]

    def target(self) -> Vector:
        weak, strong = self.levels["medium"], self.levels["frontier"]
        if self.need == "gain":
            return strong - weak
        return 1 - weak if self.need == "failure" else (1 - weak) * strong


class Fitted(msgspec.Struct, frozen=True, kw_only=True):
    """All weights, over [meaning, features] as `standardised` makes them; S sources, d columns."""

    meaning_mean: Matrix
    meaning_scale: float
    feature_mean: Matrix
    feature_scale: Matrix
    need: Matrix
    """[S, d + 1] the last column is the constant, here and below."""
    levels: Matrix
    """[S, 4, d + 1]"""
    gate: Matrix
    """[S, d + 1]"""
    kind: Matrix
    """[K, d + 1]"""
    by_hand: Matrix
    """[structure]"""
    trust: Matrix
    """[S]"""
    sources: tuple[str, ...]
    kinds: tuple[str, ...]

    def standardised(self, meanings: Matrix, features: Matrix) -> Matrix:
        centred = (meanings - self.meaning_mean) / self.meaning_scale
        capped = np.clip((features - self.feature_mean) / self.feature_scale, -CAP, CAP)
        return np.concatenate([centred, capped, np.ones((len(centred), 1), np.float32)], axis=1)

    def predict(self, meanings: Matrix, features: Matrix) -> tuple[Matrix, Matrix, Matrix]:
        """Need [n], P(good) by level [n, 4] and the mix of sources [n, S]; structure is taken as absent."""
        rows = self.standardised(meanings, features)
        mix = _softmax(rows @ self.gate.T)
        need = (mix * (rows @ self.need.T)).sum(axis=1)
        each = np.clip(np.einsum("nd,sld->nsl", rows, self.levels), _LEAST, _MOST)
        trusted = mix * self.trust
        trusted /= trusted.sum(axis=1, keepdims=True)
        return need, (trusted[:, :, None] * each).sum(axis=1), mix


def fit(sources: Sequence[Source], *, gate_c: float = 1.0) -> Fitted:
    """Needs scikit-learn. `gate_c`: the inverse strength of regularisation of the mix."""
    picks = np.random.default_rng(0)
    sample = [picks.choice(len(one.features), min(700, len(one.features)), replace=False) for one in sources]
    meanings = np.concatenate([one.meanings[rows] for one, rows in zip(sources, sample, strict=True)])
    features = np.concatenate([one.features[rows] for one, rows in zip(sources, sample, strict=True)])
    mean = meanings.mean(axis=0)
    empty = np.zeros((0, 0), np.float32)
    frame = Fitted(
        meaning_mean=mean,
        meaning_scale=float((meanings - mean).std()) / MEANING,
        feature_mean=features.mean(axis=0),
        feature_scale=features.std(axis=0) + 1e-3,
        need=empty,
        levels=empty,
        gate=empty,
        kind=empty,
        by_hand=_by_hand(),
        trust=np.array([one.trust for one in sources], np.float32),
        sources=tuple(one.name for one in sources),
        kinds=tuple(sorted({kind for one in sources for kind in one.kinds if kind})),
    )
    rows = [frame.standardised(one.meanings, one.features) for one in sources]
    offsets = _offsets(sources)
    need, levels = [], []
    for one, x in zip(sources, rows, strict=True):
        target = one.target()
        weights = _ridge(x, target, one.alpha) * (SPREAD / float(target.std()))
        weights[-1] += offsets[one.name] - SPREAD * float(target.mean() / target.std())
        need.append(weights)
        levels.append([_ridge(x, p, one.alpha) for p in all_levels(one.levels)])
    return msgspec.structs.replace(
        frame,
        need=np.array(need, np.float32),
        levels=np.array(levels, np.float32),
        gate=_classifier(
            np.concatenate(rows), np.repeat(np.arange(len(sources)), [len(x) for x in rows]), gate_c
        ),
        kind=_kinds(rows, sources, frame.kinds),
    )


def fit_head(levels: Matrix, scores: Vector) -> Head:
    """Where a model stands among the levels: the position between them and the shift that make its scores likeliest."""
    known = ~np.isnan(scores)
    logits = np.log(levels[known] / (1 - levels[known]))
    scores = scores[known]
    best: tuple[float, float, float] | None = None
    for position in np.arange(0, len(LEVELS) - 1 + 1e-9, 0.25):
        base = at_position(logits, float(position))
        shift = 0.0
        for _ in range(25):
            p = 1 / (1 + np.exp(-(base + shift)))
            # A normal prior of one logit keeps small samples near their level.
            step = float(((scores - p).sum() - shift) / ((p * (1 - p)).sum() + 1))
            # Where all is nearly certain the curve is so flat that a whole step would leap over the answer.
            shift += min(max(step, -1.0), 1.0)
        p = np.clip(1 / (1 + np.exp(-(base + shift))), 1e-6, 1 - 1e-6)
        loss = -float((scores * np.log(p) + (1 - scores) * np.log(1 - p)).sum()) + shift * shift / 2
        if best is None or loss < best[0]:
            best = (loss, float(position), shift)
    assert best  # noqa: S101 - the loop runs
    return Head(
        position=best[1],
        shift=round(best[2], 4),
        prompts=len(scores),
        accuracy=round(float(scores.mean()), 4),
    )


def at_position(logits: Matrix, position: float) -> Matrix:
    """Between two neighbouring levels in proportion. [n, 4] -> [n]"""
    low = min(int(position), len(LEVELS) - 2)
    share = position - low
    return logits[:, low] * (1 - share) + logits[:, low + 1] * share


def _ridge(x: Matrix, y: Vector, alpha: float) -> Vector:
    from sklearn.linear_model import Ridge

    model = Ridge(alpha=alpha).fit(x[:, :-1], y)
    return np.append(model.coef_, model.intercept_)


def _classifier(x: Matrix, classes: npt.NDArray[np.int64], c: float) -> Matrix:
    """Multinomial logistic regression in which each class weighs the same."""
    from sklearn.linear_model import LogisticRegression

    weights = 1 / np.bincount(classes)[classes]
    model = LogisticRegression(C=c, max_iter=500).fit(
        x[:, :-1], classes, sample_weight=weights * len(x) / weights.sum()
    )
    coefficients, constants = model.coef_, model.intercept_
    if len(constants) == 1:  # of two classes scikit-learn keeps one
        coefficients = np.concatenate([-coefficients / 2, coefficients / 2])
        constants = np.concatenate([-constants / 2, constants / 2])
    return np.concatenate([coefficients, constants[:, None]], axis=1).astype(np.float32)


def _kinds(rows: Sequence[Matrix], sources: Sequence[Source], kinds: Sequence[str]) -> Matrix:
    number = {kind: at for at, kind in enumerate(kinds)}
    labels = np.array([number.get(kind, -1) for one in sources for kind in one.kinds])
    x = np.concatenate(rows)
    return _classifier(x[labels >= 0], labels[labels >= 0], 0.1)


def _offsets(sources: Sequence[Source]) -> dict[str, float]:
    """Half of the mean gain: a prompt's share in a source is uncertain, and the mean must not drown the difference."""
    gains: dict[str, list[float]] = {}
    for one in sources:
        gains.setdefault(one.group, []).append(float(one.gain().mean()) + one.bonus)
    return {one.name: float(np.mean(gains[one.group])) / 2 for one in sources}


def all_levels(levels: Mapping[str, Vector]) -> list[Vector]:
    """All levels; one that no model of the source stands for is some logits away from its neighbour."""
    found: dict[str, Vector] = dict(levels)
    for (low, high), step in _STEPS.items():
        if high not in found and low in found:
            found[high] = _moved(found[low], step)
    for (low, high), step in reversed(_STEPS.items()):
        if low not in found and high in found:
            found[low] = _moved(found[high], -step)
    return [found[level] for level in LEVELS]


def _moved(p: Vector, step: float) -> Vector:
    held = np.clip(p, 0.1, 0.9)
    return 1 / (1 + np.exp(-(np.log(held / (1 - held)) + step)))


def _by_hand() -> Matrix:
    weights = dict(BY_HAND)
    structure = dict(BLOCKS)["structure"]
    return np.array([weights.get(name, 0.0) * SPREAD for name in structure], np.float32)


def _softmax(x: Matrix) -> Matrix:
    e: Matrix = np.exp(x - x.max(axis=1, keepdims=True))
    mix: Matrix = e / e.sum(axis=1, keepdims=True)
    return mix
