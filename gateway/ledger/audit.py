"""Who changed what, when: written in the transaction of the change, never changed, without secrets."""

import msgspec
import sqlalchemy as sa

from gateway.ledger.account_records import AuditRecord
from gateway.ledger.schema import audit


def note(
    connection: sa.Connection,
    *,
    at_ms: int,
    actor: str,
    action: str,
    subject: str,
    before: msgspec.Struct | None = None,
    after: msgspec.Struct | None = None,
) -> None:
    connection.execute(
        sa.insert(audit).values(
            at_ms=at_ms,
            actor=actor,
            action=action,
            subject=subject,
            before=_text(before),
            after=_text(after),
        )
    )


def latest(connection: sa.Connection, limit: int, before_id: int | None) -> list[AuditRecord]:
    query = sa.select(audit).order_by(audit.c.id.desc()).limit(limit)
    if before_id is not None:
        query = query.where(audit.c.id < before_id)
    return [
        AuditRecord(
            id=row.id,
            at_ms=row.at_ms,
            actor=row.actor,
            action=row.action,
            subject=row.subject,
            before=row.before and msgspec.json.decode(row.before),
            after=row.after and msgspec.json.decode(row.after),
        )
        for row in connection.execute(query)
    ]


def _text(record: msgspec.Struct | None) -> str | None:
    return None if record is None else msgspec.json.encode(record).decode()
