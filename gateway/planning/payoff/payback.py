"""When what was paid once has paid for itself."""

import math

from gateway.planning.contract import NEVER, Cell
from gateway.planning.units import MONTHS_PER_YEAR, Money


def months(cost: Money, saved: Money) -> float:
    """cost / what is saved each month; infinite where nothing is saved."""
    return cost / saved if saved.amount > 0 else math.inf


def discounted_months(cost: Money, saved: Money, rate: float) -> float:
    """Months until the savings' worth today reaches the cost: -ln(1 - cost i / saved) / ln(1 + i), i = rate / 12.

    From saved (1 - (1+i)^-n) / i = cost, an annuity's worth. Infinite where the interest on the cost eats the saving.
    """
    plain = months(cost, saved)
    step = rate / MONTHS_PER_YEAR
    if step == 0 or plain in (0, math.inf):
        return plain
    return -math.log1p(-plain * step) / math.log1p(step) if plain * step < 1 else math.inf


def cell(number: float) -> Cell:
    """`never` for what is endless."""
    return NEVER if math.isinf(number) else number


def shown(number: float) -> str:
    """For a formula's end."""
    return NEVER if math.isinf(number) else f"{number:,.6g}"


def shown_short(number: float) -> str:
    """For a sentence, after its unit was said."""
    return NEVER if math.isinf(number) else f"{number:,.1f}"


def told(number: float) -> str:
    """Months, for a sentence."""
    return NEVER if math.isinf(number) else f"after {number:,.1f} months"
