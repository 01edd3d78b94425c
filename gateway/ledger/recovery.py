"""From the records of a dead process to the closings that it owed: pure."""

from collections.abc import Iterable

import msgspec

from gateway.ledger.contract import Closing, Intent
from gateway.ledger.segments import ClosingRecord, IntentRecord, ProgressRecord, Record
from gateway.values import Entry, Settlement, cost


def closings(records: Iterable[Record]) -> list[Closing]:
    """One closing per request: the one that was written, or one made from its intents and how far they came.

    Records may be repeated: a batch is written again, into another file, when the first one failed.
    """
    intents: dict[str, dict[int, Intent]] = {}
    relayed: dict[tuple[str, int], int] = {}
    closed: dict[str, Closing] = {}
    for record in records:
        match record:
            case IntentRecord(intent=intent):
                intents.setdefault(intent.draft.request_id, {})[intent.draft.attempt] = intent
            case ProgressRecord(request_id=request_id, attempt=attempt, output_tokens=tokens):
                relayed[request_id, attempt] = max(tokens, relayed.get((request_id, attempt), 0))
            case ClosingRecord(closing=closing):
                closed[closing.settlement.request_id] = closing
    lost = [
        _lost(
            [(intent, relayed.get((request_id, attempt), 0)) for attempt, intent in sorted(attempts.items())]
        )
        for request_id, attempts in intents.items()
        if request_id not in closed
    ]
    return [*closed.values(), *lost]


def _lost(attempts: list[tuple[Intent, int]]) -> Closing:
    entries = tuple(_entry(intent, output_tokens) for intent, output_tokens in attempts)
    last = attempts[-1][0]
    return Closing(
        entries=entries,
        settlement=Settlement(
            request_id=last.draft.request_id,
            tenant=last.draft.tenant,
            epoch=last.epoch,
            window=last.draft.window,
            cost=sum(entry.cost for entry in entries),
            tokens=sum(entry.usage.total for entry in entries),
        ),
    )


def _entry(intent: Intent, output_tokens: int) -> Entry:
    """The tenant pays for the input and for what was relayed; what may yet be billed beyond it stays in suspense."""
    draft = intent.draft
    usage = msgspec.structs.replace(draft.usage, output=max(draft.output_tokens, output_tokens))
    charged = cost(usage, intent.price)
    return msgspec.structs.replace(
        draft,
        output_tokens=usage.output,
        cost=charged,
        suspense=max(0, intent.worst - charged),
        outcome="lost",
        usage_source="estimated",
    )
