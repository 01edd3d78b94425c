"""Logistic regression on counted outcomes with three coefficients and a standard normal prior on each.

Unrolled, in plain Python: calibration fits thousands of small ones in a gateway that may have no numpy.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

Three = tuple[float, float, float]
Triangle = tuple[float, float, float, float, float, float]
"""A symmetric matrix, row by row up to its diagonal."""

_STEPS = 30
_ENOUGH = 1e-6
_FARTHEST = 30.0


class Row(NamedTuple):
    """Outcomes with the same features."""

    features: Three
    offset: float
    """What the logit is without the features."""
    weight: float
    good: float
    """The part of the weight that was good."""


class _View(NamedTuple):
    """The log of the posterior density at a point, its slope, and its curvature's lower triangle, sign turned."""

    height: float
    slope: Three
    curvature: Triangle


class Peak(NamedTuple):
    at: Three
    """The coefficients of the highest posterior density."""
    evidence: float
    """Log of how likely the prior makes these outcomes, by Laplace's approximation."""


def most_probable(rows: Sequence[Row]) -> Peak:
    """By Newton's method: the density has one peak."""
    at = (0.0, 0.0, 0.0)
    view = _view(rows, at)
    for _ in range(_STEPS):
        step = _solved(view.curvature, view.slope)
        part = 1.0
        there, next_view = _beyond(rows, at, step, part)
        # A step can overshoot: halve it until it leads upwards.
        while next_view.height < view.height and part > _ENOUGH:
            part /= 2
            there, next_view = _beyond(rows, at, step, part)
        climbed = next_view.height - view.height
        if climbed > 0:
            at, view = there, next_view
        if climbed < _ENOUGH:
            break
    return Peak(at, view.height - sum(map(math.log, _diagonal(view.curvature))))


def _beyond(rows: Sequence[Row], at: Three, step: Three, part: float) -> tuple[Three, _View]:
    there = (at[0] + part * step[0], at[1] + part * step[1], at[2] + part * step[2])
    return there, _view(rows, there)


def _view(rows: Sequence[Row], at: Three) -> _View:
    x, y, z = at
    height = -0.5 * (x * x + y * y + z * z)
    sx, sy, sz = -x, -y, -z
    xx = yy = zz = 1.0
    yx = zx = zy = 0.0
    for (fx, fy, fz), offset, weight, good in rows:
        logit = offset + x * fx + y * fy + z * fz
        logit = min(max(logit, -_FARTHEST), _FARTHEST)
        odds = math.exp(logit)
        p = odds / (1 + odds)
        height += good * logit - weight * math.log1p(odds)
        missing = good - weight * p
        sx += missing * fx
        sy += missing * fy
        sz += missing * fz
        width = weight * p * (1 - p)
        xx += width * fx * fx
        yx += width * fy * fx
        yy += width * fy * fy
        zx += width * fz * fx
        zy += width * fz * fy
        zz += width * fz * fz
    return _View(height, (sx, sy, sz), (xx, yx, yy, zx, zy, zz))


def _solved(triangle: Triangle, right: Three) -> Three:
    """Of a symmetric positive definite system: by Cholesky's decomposition."""
    a, b, c, d, e, f = _decomposed(triangle)
    u = right[0] / a
    v = (right[1] - b * u) / c
    w = (right[2] - d * u - e * v) / f
    z = w / f
    y = (v - e * z) / c
    return (u - b * y - d * z) / a, y, z


def _diagonal(triangle: Triangle) -> Three:
    """Of the decomposition: its product is the root of the determinant."""
    a, _, c, _, _, f = _decomposed(triangle)
    return a, c, f


def _decomposed(triangle: Triangle) -> Triangle:
    xx, yx, yy, zx, zy, zz = triangle
    a = math.sqrt(xx)
    b, d = yx / a, zx / a
    c = math.sqrt(yy - b * b)
    e = (zy - d * b) / c
    return a, b, c, d, e, math.sqrt(zz - d * d - e * e)
