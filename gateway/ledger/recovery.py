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
    relayed: dict[tuple[str, int], ProgressRecord] = {}
    closed: dict[str, Closing] = {}
    for record in records:
        match record:
            case IntentRecord(intent=intent):
                intents.setdefault(intent.draft.request_id, {})[intent.draft.attempt] = intent
            case ProgressRecord(request_id=request_id, attempt=attempt):
                before = relayed.get((request_id, attempt), record)
                relayed[request_id, attempt] = max(before, record, key=_tokens)
            case ClosingRecord(closing=closing):
                closed[closing.settlement.request_id] = closing
    lost = [
        _lost([(intent, relayed.get((request_id, attempt))) for attempt, intent in sorted(attempts.items())])
        for request_id, attempts in intents.items()
        if request_id not in closed
    ]
    return [*closed.values(), *lost]


def _tokens(record: ProgressRecord) -> int:
    return record.output_tokens


def _lost(attempts: list[tuple[Intent, ProgressRecord | None]]) -> Closing:
    entries = tuple(_entry(intent, relayed) for intent, relayed in attempts)
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


def _entry(intent: Intent, relayed: ProgressRecord | None) -> Entry:
    """The tenant pays for the input and for what was relayed; what may yet be billed beyond it stays in suspense."""
    draft = intent.draft
    usage = draft.usage
    if relayed is not None:
        usage = msgspec.structs.replace(
            usage,
            output=max(usage.output, relayed.output_tokens),
            engine_us=max(usage.engine_us, relayed.engine_us),
        )
    charged = cost(usage, intent.price)
    return msgspec.structs.replace(
        draft,
        output_tokens=usage.output,
        engine_us=usage.engine_us,
        cost=charged,
        suspense=max(0, intent.worst - charged),
        outcome="lost",
        usage_source="estimated",
    )
