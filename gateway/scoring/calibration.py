"""Curves from a predicted P(good) to the one that comes true: beta, Platt's and isotonic. All are monotone, and take a
microsecond. How they are fitted stands in `calibration_fit`.
"""

from bisect import bisect_right
from math import exp, log, log1p

import msgspec

LEAST = 0.001
MOST = 1 - LEAST
"""No prediction is surer than this: to refute a larger claim would take more outcomes than anybody collects."""

_MOST_LOGITS = 30.0


class Beta(msgspec.Struct, frozen=True, kw_only=True, tag="beta"):
    """`logit q = a ln p - b ln(1 - p) + c` with a, b >= 0 (Kull, Silva Filho and Flach, 2017). With a = b it is
    Platt's; as it stands here it changes nothing."""

    a: float = 1.0
    b: float = 1.0
    c: float = 0.0

    def __call__(self, p: float) -> float:
        return sigmoid(self.logit(p))

    def logit(self, p: float) -> float:
        if p < LEAST:
            p = LEAST
        elif not p <= MOST:  # NaN too
            p = MOST
        return self.a * log(p) - self.b * log1p(-p) + self.c


class Isotonic(msgspec.Struct, frozen=True, kw_only=True, tag="isotonic"):
    """Straight lines between points, level beyond the first and the last; both ascend."""

    x: tuple[float, ...]
    y: tuple[float, ...]

    def __call__(self, p: float) -> float:
        above = bisect_right(self.x, p)
        if above == 0:
            return self.y[0]
        if above == len(self.x):
            return self.y[-1]
        low, first = self.x[above - 1], self.y[above - 1]
        return first + (self.y[above] - first) * (p - low) / (self.x[above] - low)


Calibrator = Beta | Isotonic
IDENTITY = Beta()


def sigmoid(logit: float) -> float:
    # exp overflows beyond 709, and beyond 30 nothing changes.
    return 1 / (1 + exp(-logit)) if -_MOST_LOGITS < logit < _MOST_LOGITS else float(logit > 0)


def logit_of(p: float) -> float:
    return IDENTITY.logit(p)
