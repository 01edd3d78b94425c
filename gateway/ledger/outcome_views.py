"""Outcomes as people read them, in JSON, tables and CSV."""

from typing import Any

import msgspec

from gateway.ledger.outcomes import Outcome, OutcomeSummary
from gateway.ledger.views import iso

SUMMARY_COLUMNS = ("model", "category", "count", "weight", "value", "p_good")
COLUMNS = (
    "id",
    "created_at",
    "tenant",
    "user",
    "request_id",
    "item",
    "model",
    "candidate",
    "source",
    "value",
    "weight",
    "reason",
    "p_good",
    "complexity",
    "category",
)


def outcome_view(outcome: Outcome) -> dict[str, Any]:
    is_request = outcome.subject.startswith("req_")
    told = msgspec.structs.asdict(outcome) | {
        "created_at": iso(outcome.created_ms),
        "request_id": outcome.subject if is_request else None,
        "item": None if is_request else outcome.subject,
    }
    return {name: None if told[name] == "" else told[name] for name in COLUMNS}


def summary_view(row: OutcomeSummary) -> dict[str, Any]:
    return {**msgspec.structs.asdict(row), "category": row.category or None}
