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
ONLY_FIRST = float("inf")
"""The penalty that leaves the first stage's difficulty as it was: the vectors have nothing to add."""
_TINY = 1e-9

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
    difficulties: Floats,
    vectors: Vectors,
    needs: Floats,
    sources: Sequence[str],
    probe: Vectors,
    *,
    penalties: Sequence[float] = (*PENALTIES, ONLY_FIRST),
) -> DeepHead:
    """`needs`, per prompt, is how much it was found to need a strong model, in a unit of its source's own.
    `difficulties` are the first stage's logits of prompts that it was not fitted on. Raises ValueError for fewer than
    two sources. One of `penalties` is chosen.
    """
    of_source = np.array(sources)
    features = np.column_stack([difficulties, vectors]).astype(np.float64)
    seen = [_moments(features[of_source == name], needs[of_source == name]) for name in sorted(set(sources))]
    if len(seen) < 2:
        raise ValueError("the penalty is chosen on sources left out: give prompts of two sources or more")

    def merit(penalty: float) -> float:
        return sum(
            _agreement(_ridge([*seen[:at], *seen[at + 1 :]], penalty), left_out)
            for at, left_out in enumerate(seen)
        )

    fitted = _ridge(seen, max(penalties, key=merit))
    gram = np.mean([one.gram for one in seen], axis=0)
    # Refined and first difficulties stand side by side in the same policies, so they get the same mean and spread.
    fitted *= np.sqrt(gram[0, 0] / max(float(fitted @ gram @ fitted), _TINY))
    mean = np.mean([one.mean for one in seen], axis=0)
    return DeepHead(
        slope=float(fitted[0]),
        weights=tuple(map(float, fitted[1:])),
        bias=float(mean[0] - fitted @ mean),
        probe=tuple(map(float, probe)),
    )


class _Moments(msgspec.Struct, frozen=True):
    """Of one source's features, and of them with its target, which has mean 0 and variance 1."""

    mean: Floats
    gram: Floats
    cross: Floats


def _moments(features: Floats, needs: Floats) -> _Moments:
    mean = features.mean(axis=0)
    centred = features - mean
    target = (needs - needs.mean()) / max(float(needs.std()), _TINY)
    return _Moments(mean, centred.T @ centred / len(centred), centred.T @ target / len(centred))


def _ridge(seen: Sequence[_Moments], penalty: float) -> Floats:
    """Each source weighs the same. The difficulty, which comes first, is not penalised."""
    gram = np.mean([one.gram for one in seen], axis=0)
    if penalty == ONLY_FIRST:
        return np.asarray(np.eye(len(gram))[0], np.float64)
    penalties = np.full(len(gram), penalty)
    penalties[0] = _TINY
    cross = np.mean([one.cross for one in seen], axis=0)
    return np.asarray(np.linalg.solve(gram + np.diag(penalties), cross), np.float64)


def _agreement(fitted: Floats, source: _Moments) -> float:
    """Correlation of what was fitted with a source's target."""
    return float(fitted @ source.cross / np.sqrt(max(float(fitted @ source.gram @ fitted), _TINY)))


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
