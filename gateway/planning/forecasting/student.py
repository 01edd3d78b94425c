"""Student's t distribution, exact in the standard library: how far a few observed days let one trust their mean."""

import math

_TINY = 1e-300
_TERMS = 400


def below(t: float, freedom: int) -> float:
    """The probability that a value of the t distribution with `freedom` degrees of freedom lies below `t`.

    Abramowitz and Stegun 26.7.1, by the regularised incomplete beta function.
    """
    if math.isinf(t):
        return 1.0 if t > 0 else 0.0
    tail = incomplete_beta(freedom / (freedom + t * t), freedom / 2, 0.5) / 2
    return 1 - tail if t > 0 else tail


def half_width(coverage: float, freedom: int) -> float:
    """How many standard deviations either side of the mean hold `coverage` (0.8) of the t distribution."""
    if not 0 < coverage < 1 or freedom < 1:
        raise ValueError("coverage lies between 0 and 1, and there is at least one degree of freedom")
    wanted = (1 + coverage) / 2
    low, high = 0.0, 1.0
    while below(high, freedom) < wanted:
        low, high = high, 2 * high
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if below(middle, freedom) < wanted else (low, middle)
    return high


def incomplete_beta(x: float, a: float, b: float) -> float:
    """Regularised, I_x(a, b): the continued fraction of DLMF 8.17.22 by Lentz's method, on the side where it converges."""
    if x in (0.0, 1.0):
        return x
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(1 - x, b, a)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    fraction, c, d = 1.0, 1.0, 0.0
    for step in range(_TERMS):
        m = step // 2
        if step == 0:
            term = 1.0
        elif step % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / (1 + term * d or _TINY)
        c = 1 + term / c or _TINY
        fraction *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return front * (fraction - 1) / a
