"""P(good answer | complexity, model), until somebody has measured the models: an item-response curve per size."""

import math

from gateway.scoring.contract import Scorable
from policies.contract import Size

PRIORS: dict[Size, float] = {"small": 0.70, "medium": 0.85, "large": 0.95, "cloud": 0.97}
"""What a model of a size is expected to reach on prompts of middling difficulty, if nothing else is known."""

SLOPE = 3.0
"""Logits lost from the easiest prompt to the hardest."""

_ODDS = {size: math.log(prior / (1 - prior)) for size, prior in PRIORS.items()}


def p_good(complexity: float, candidate: Scorable) -> float:
    """`sigmoid(logit(p) - SLOPE * (complexity - 0.5))`, where p is the known accuracy or else the size's prior.

    The logistic model of test theory with one slope for all. Fitted to six pairs of model and public benchmark, the
    slope against our lexical complexity is 1.4 to 3.9 in five and has the wrong sign in one (November 2026): a
    prior to start from, not a measurement of anybody's model. With it the priors reach P(good) = 0.8 up to
    complexity 0.32 (small) and 0.62 (medium), and everywhere (large, cloud).
    """
    known = candidate.p_good
    if known is None:
        odds = _ODDS[candidate.size]
    else:
        # Somebody's 0 or 1 is a small sample, not certainty.
        known = min(max(known, 0.01), 0.99)
        odds = math.log(known / (1 - known))
    return 1 / (1 + math.exp(SLOPE * (complexity - 0.5) - odds))
