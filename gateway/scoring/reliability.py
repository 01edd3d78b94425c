"""How well predicted probabilities agree with what came of them. Needs numpy.

Bins hold equally many predictions, so that none is empty and all are known equally well.
"""

import msgspec
import numpy as np

from gateway.scoring.metrics import Floats

BINS = 10
_Z = 1.959963984540054


class Bin(msgspec.Struct, frozen=True, kw_only=True):
    """Neighbouring predictions, and what came of them."""

    count: int
    lowest: float
    highest: float
    predicted: float
    """Their mean."""
    observed: float
    low: float
    """Wilson's interval of `observed`, 95 %."""
    high: float


def reliability(p: Floats, value: Floats, bins: int = BINS) -> list[Bin]:
    return [_bin(p[part], value[part]) for part in _parts(p, bins)]


def calibration_error(p: Floats, value: Floats, bins: int = BINS) -> float:
    """ECE: the distance between predicted and observed, averaged over the predictions.

    Chance alone makes it larger than 0: see `error_by_chance`.
    """
    return float(
        sum(len(part) * abs(p[part].mean() - value[part].mean()) for part in _parts(p, bins)) / len(p)
    )


def debiased_error(p: Floats, value: Floats, bins: int = BINS) -> float:
    """The root of the mean squared distance between predicted and observed, without the variance that chance adds.

    After Kumar, Liang and Ma, 2019. In the long run no smaller than ECE without the part of chance, and as large where
    all bins are off alike. Taking the variance off each bin's distance by itself would understate it.
    """
    square = 0.0
    for part in _parts(p, bins):
        off = value[part] - p[part]
        variance = off.var(ddof=1) / len(part) if len(part) > 1 else 0.25
        square += len(part) * (off.mean() ** 2 - variance)
    return float(max(square / len(p), 0.0) ** 0.5)


def error_by_chance(p: Floats, bins: int = BINS) -> float:
    """The ECE to be expected of so many outcomes if every prediction were true."""
    # The mean distance from 0 of a normal variable is its standard deviation times sqrt(2 / pi).
    deviation = sum(np.sqrt((p[part] * (1 - p[part])).sum()) for part in _parts(p, bins))
    return float(deviation * np.sqrt(2 / np.pi) / len(p))


def brier(p: Floats, value: Floats) -> float:
    return float(np.mean((p - value) ** 2))


def _parts(p: Floats, bins: int) -> list[np.ndarray[tuple[int], np.dtype[np.int64]]]:
    return [part for part in np.array_split(np.argsort(p, kind="stable"), bins) if len(part)]


def _bin(p: Floats, value: Floats) -> Bin:
    count, observed = len(p), float(value.mean())
    middle = (observed + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z * np.sqrt(observed * (1 - observed) / count + _Z**2 / (4 * count**2)) / (1 + _Z**2 / count)
    return Bin(
        count=count,
        lowest=float(p.min()),
        highest=float(p.max()),
        predicted=float(p.mean()),
        observed=observed,
        low=max(float(middle - half), 0.0),
        high=min(float(middle + half), 1.0),
    )
