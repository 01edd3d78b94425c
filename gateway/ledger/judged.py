"""Entries of the ledger as outcomes: pure."""

from collections.abc import Sequence

from gateway.ledger.outcomes import Outcome
from gateway.values import PASSED_OVER, Entry, OutcomeSource

DEFERRAL_WEIGHT = 0.2
"""A cascade's own word is the weakest there is: who learns from it learns what he thought himself."""

_WITHOUT = frozenset({"failed", "lost"})
"""How an attempt ends of which there is no answer, or none that is known."""


def answered(entries: Sequence[Entry], *, by: str | None = None) -> Entry | None:
    """Of one request's entries that of the answer which the caller got; or of one model's, whether or not he saw it."""
    given = [
        entry
        for entry in entries
        if entry.outcome not in _WITHOUT
        and (entry.outcome not in PASSED_OVER if by is None else entry.model == by)
    ]
    return given[-1] if given else None


def outcome_of(
    entry: Entry,
    *,
    source: OutcomeSource,
    value: float,
    created_ms: int,
    weight: float = 1.0,
    user: str = "",
    reason: str = "",
) -> Outcome:
    return Outcome(
        tenant=entry.tenant,
        user=user,
        subject=entry.request_id,
        candidate=f"{entry.upstream}/{entry.model}",
        model=entry.model,
        source=source,
        value=value,
        weight=weight,
        reason=reason,
        p_good=entry.p_good,
        complexity=entry.complexity,
        category=entry.category,
        created_ms=created_ms,
    )


def deferral_outcomes(entries: Sequence[Entry]) -> list[Outcome]:
    """Of the answers that a cascade looked at. `value` is P(good) after the answer, and not whether that was enough,
    which would only repeat the threshold."""
    return [
        outcome_of(
            entry,
            source="deferral",
            value=entry.p_good_after,
            created_ms=entry.created_ms + entry.duration_ms,
            weight=DEFERRAL_WEIGHT,
            reason="deferred" if entry.outcome == "deferred" else "served",
        )
        for entry in entries
        if entry.p_good_after is not None and 0 <= entry.p_good_after <= 1
    ]
