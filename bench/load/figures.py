"""The arithmetic of the figures: what becomes of many interleaved loads. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median


@dataclass(frozen=True, slots=True)
class Slope:
    value: float
    error: float
    """Standard error, widened for residuals that hang together."""

    @property
    def is_noise(self) -> bool:
        return self.value <= 2 * self.error


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median of the ratios round by round: what slows both of a round down cancels."""
    return median(a / b for a, b in zip(ours, theirs, strict=True))


def median_difference(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return median(a - b for a, b in zip(ours, theirs, strict=True))


def fit_slope(xs: Sequence[float], ys: Sequence[float]) -> Slope:
    """Least squares of y over x.

    Memory grows in steps, so neighbouring residuals are alike and the textbook error is too small. The sample size
    is cut to what independent samples would tell, n (1 - r) / (1 + r) with r their lag-1 correlation
    (Santer et al. 2000, doi:10.1029/1999JD901105).
    """
    if len(xs) < 3:
        raise ValueError("a slope with an error needs three points")
    x_mean, y_mean = fmean(xs), fmean(ys)
    spread = sum((x - x_mean) ** 2 for x in xs)
    value = sum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True)) / spread
    residuals = [y - y_mean - value * (x - x_mean) for x, y in zip(xs, ys, strict=True)]
    squares = sum(e * e for e in residuals)
    if squares == 0:
        return Slope(value, 0.0)
    r = max(0.0, sum(a * b for a, b in pairwise(residuals)) / squares)
    independent = max(3.0, len(xs) * (1 - r) / (1 + r))
    return Slope(value, math.sqrt(squares / (independent - 2) / spread))


def after_warm_up(points: Sequence[tuple[float, float]], share: float) -> list[tuple[float, float]]:
    """The points beyond the first `share` of the way along x."""
    start = points[0][0] + share * (points[-1][0] - points[0][0])
    return [point for point in points if point[0] >= start]
