"""What an encoder's vector adds to the first stage's difficulty: a ridge regression, fitted where answers were measured.

Sources of measured answers differ in level and spread for reasons that no prompt shows. So only differences within a
source count, each source weighs the same, and how much of the vector is believed is what helped on sources left out.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from gateway.errors import ConfigError
from gateway.scoring.encoder import Vectors

Floats = NDArray[np.float64]

PENALTIES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""For weights on vectors of length 1, per unit of mean squared error of a standardised target."""

PROBE = "Prove that there are infinitely many prime numbers, then write a function that finds the next one."
_SAME_ENCODER = 0.9


class DeepHead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    slope: float
    """What stays of the first stage's difficulty."""
    weights: tuple[float, ...]
    """Per dimension of the encoder's vector."""
    bias: float
    probe: tuple[float, ...]
    """The encoder's vector of PROBE: another encoder with as many dimensions would give nonsense without a sign of it."""

    def __call__(self, difficulty: float, vector: Sequence[float] | NDArray[np.floating[Any]]) -> float:
        """The refined difficulty, a logit on the first stage's scale."""
        return self.slope * difficulty + float(np.dot(self.weights, vector)) + self.bias

    def check(self, probe: NDArray[np.floating[Any]]) -> None:
        """Raises ConfigError if the head was fitted to vectors of another encoder. Quantising one moves it little."""
        if len(probe) != len(self.probe) or float(np.dot(self.probe, probe)) < _SAME_ENCODER:
            raise ConfigError("head.json was fitted to another encoder than model.onnx; fit it again")


def fit_deep_head(
    difficulties: Floats, vectors: Vectors, failures: Floats, sources: Sequence[str], probe: Floats
) -> DeepHead:
    """`failures` are the shares of answers, of small models, that were not good: 0..1 per prompt. `difficulties` are the
    first stage's logits for prompts that it was not fitted on. Raises ValueError for fewer than two sources.
    """
    names = sorted(set(sources))
    if len(names) < 2:
        raise ValueError("the penalty is chosen on sources left out: give prompts of two sources or more")
    rows = {name: np.array([source == name for source in sources]) for name in names}
    features = np.column_stack([difficulties, vectors]).astype(np.float64)
    targets = np.asarray(failures, np.float64).copy()
    weights = np.empty(len(targets))
    for is_in in rows.values():
        features[is_in] -= features[is_in].mean(axis=0)
        targets[is_in] -= targets[is_in].mean()
        targets[is_in] /= max(float(targets[is_in].std()), 1e-9)
        weights[is_in] = 1 / is_in.sum() / len(names)

    def merit(penalty: float) -> float:
        """Mean correlation within sources that the fit has not seen."""
        found = 0.0
        for is_out in rows.values():
            fitted = _ridge(features[~is_out], targets[~is_out], weights[~is_out], penalty)
            found += _correlation(features[is_out] @ fitted, targets[is_out])
        return found / len(names)

    best = max((*PENALTIES, float("inf")), key=merit)
    return _on_the_scale_of(
        difficulties, vectors, _ridge(features, targets, weights, best), features, weights, probe
    )


def _ridge(features: Floats, targets: Floats, weights: Floats, penalty: float) -> Floats:
    """Weighted least squares; the difficulty, which comes first, is not penalised. An infinite penalty leaves only it."""
    weighted = features * (weights / weights.sum())[:, None]
    if penalty == float("inf"):
        return np.array([1.0, *np.zeros(features.shape[1] - 1)])
    penalties = np.full(features.shape[1], penalty)
    penalties[0] = 1e-9
    return np.asarray(np.linalg.solve(weighted.T @ features + np.diag(penalties), weighted.T @ targets))


def _on_the_scale_of(
    difficulties: Floats, vectors: Vectors, fitted: Floats, features: Floats, weights: Floats, probe: Floats
) -> DeepHead:
    """Refined and first difficulties stand side by side in the same policies, so they get the same mean and spread."""
    spread = _spread(features @ fitted, weights)
    scale = _spread(features[:, 0], weights) / spread if spread > 0 else 1.0
    slope, weights_of_vector = float(fitted[0] * scale), fitted[1:] * scale
    moved = slope * difficulties + vectors @ weights_of_vector
    bias = float(np.average(difficulties - moved, weights=weights))
    return DeepHead(slope, tuple(map(float, weights_of_vector)), bias, tuple(map(float, probe)))


def _spread(values: Floats, weights: Floats) -> float:
    return float(np.sqrt(np.average(values**2, weights=weights)))


def _correlation(a: Floats, b: Floats) -> float:
    spread = float(a.std() * b.std())
    return float((a * b).mean() / spread) if spread > 0 else 0.0


def load(path: Path) -> DeepHead:
    """Raises ConfigError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=DeepHead)
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc
    except msgspec.DecodeError as exc:
        raise ConfigError(f"{path}: not a head: {exc}") from exc


def save(head: DeepHead, path: Path) -> None:
    path.write_bytes(msgspec.json.encode(head) + b"\n")
