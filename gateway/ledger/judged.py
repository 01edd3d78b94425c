"""Entries of the ledger as outcomes: pure."""

from collections.abc import Sequence

from gateway.ledger.outcomes import Outcome
from gateway.values import Entry, OutcomeSource

DEFERRAL_WEIGHT = 0.2
"""A cascade's own word is the weakest there is: who learns from it learns what he thought himself."""

_ANSWERED = frozenset({"ok", "client_gone", "interrupted"})


def answered(entries: Sequence[Entry]) -> Entry | None:
    """Of one request's entries that of the answer that was given, if there was one."""
    given = [entry for entry in entries if entry.outcome in _ANSWERED]
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
    last = {entry.request_id: entry.attempt for entry in entries}
    return [
        outcome_of(
            entry,
            source="deferral",
            value=entry.p_good_after,
            created_ms=entry.created_ms + entry.duration_ms,
            weight=DEFERRAL_WEIGHT,
            reason="accepted" if entry.attempt == last[entry.request_id] else "escalated",
        )
        for entry in entries
        if entry.p_good_after is not None and 0 <= entry.p_good_after <= 1
    ]
