"""Moves models' heads to what became of their answers. No prompt is known there, only what had been predicted: so a head
moves as a whole, and the experts stay as they are.
"""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from gateway.scoring.artefact import Head
from gateway.scoring.calibration import logit_of
from gateway.scoring.contract import Scorable
from gateway.scoring.levels import learn
from gateway.values import OutcomeRow

LEAST = 50
"""Outcomes of a candidate: fewer move a head by less than they are unsure of (half a logit)."""


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    candidate: str
    outcomes: int
    observed: float
    predicted: float
    by: float
    """Logits; 0 where it was left as it is."""
    head: Head | None
    """None: too few outcomes."""


def moved_heads(
    rows: Sequence[OutcomeRow],
    candidates: Iterable[Scorable],
    head_of: Callable[[Scorable], Head],
    *,
    now_ms: int,
    since_ms: int,
) -> dict[str, Moved]:
    """By the name that the model has at its upstream. The bounds of calibration hold: no user, source or tenant counts
    for more than all others together or for 200 outcomes. `since_ms`: when the base was made."""
    learnt = learn(rows, now_ms, since_ms)
    moved: dict[str, Moved] = {}
    for candidate in candidates:
        told = [
            row for row in rows if row.candidate == candidate.id and row.p_good is not None and row.weight > 0
        ]
        known = moved.get(candidate.upstream_model)
        if not told or (known and known.outcomes >= len(told)):
            continue  # of one model at several upstreams, the one of which most is known speaks for all
        moved[candidate.upstream_model] = _moved(
            candidate, told, head_of(candidate), learnt.curve("", candidate.id).logit
        )
    return moved


def _moved(
    candidate: Scorable, told: Sequence[OutcomeRow], head: Head, curve: Callable[[float], float]
) -> Moved:
    weight = sum(row.weight for row in told)
    predictions = [(row.p_good or 0.0, row.weight) for row in told]
    by = sum((curve(p) - logit_of(p)) * share for p, share in predictions) / weight
    observed = sum(row.value * row.weight for row in told) / weight
    is_enough = weight >= LEAST
    return Moved(
        candidate=candidate.id,
        outcomes=len(told),
        observed=observed,
        predicted=sum(p * share for p, share in predictions) / weight,
        by=by if is_enough else 0.0,
        head=Head(
            position=head.position,
            shift=round(head.shift + by, 4),
            prompts=head.prompts + round(weight),
            accuracy=round(observed, 4),
        )
        if is_enough
        else None,
    )
