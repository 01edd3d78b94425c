"""The credentials of those who run the gateway: admins change it, finance reads what was spent."""

import sqlalchemy as sa

from gateway.clock import Clock
from gateway.ledger import audit
from gateway.ledger.account_records import ROLES, AccountError, IssuedOperator, Operator, Role, check_label
from gateway.ledger.credentials import Credentials, key_id
from gateway.ledger.database import Database
from gateway.ledger.schema import operators


class Operators:
    def __init__(self, database: Database, clock: Clock, credentials: Credentials) -> None:
        self._database = database
        self._clock = clock
        self._credentials = credentials

    def create(self, role: Role, *, label: str = "", actor: str) -> IssuedOperator:
        if role not in ROLES:
            raise AccountError("invalid", "role", f"role: expected {' or '.join(ROLES)}")
        check_label("label", label)
        issued = self._credentials.issue("wb-admin" if role == "admin" else "wb-finance")
        now = self._clock.now_ms()
        operator = Operator(id=issued.id, role=role, label=label, created_ms=now, revoked_ms=None)
        with self._database.changing() as connection:
            connection.execute(
                sa.insert(operators).values(
                    id=issued.id,
                    role=role,
                    label=label,
                    digest=issued.digest,
                    created_ms=now,
                    revoked_ms=None,
                )
            )
            audit.note(
                connection,
                at_ms=now,
                actor=actor,
                action="operator.create",
                subject=issued.id,
                after=operator,
            )
        return IssuedOperator(operator, issued.text)

    def all(self) -> list[Operator]:
        with self._database.reading() as connection:
            query = sa.select(operators).order_by(operators.c.created_ms, operators.c.id)
            return [_operator(row) for row in connection.execute(query).mappings()]

    def revoke(self, operator_id: str, *, actor: str) -> Operator:
        """At once and for ever; a second time changes nothing."""
        now = self._clock.now_ms()
        with self._database.changing() as connection:
            row = (
                connection.execute(sa.select(operators).where(operators.c.id == operator_id))
                .mappings()
                .one_or_none()
            )
            if row is None:
                raise AccountError("unknown", "operator", f"operator: there is no operator {operator_id!r}")
            before = _operator(row)
            if before.revoked_ms is not None:
                return before
            connection.execute(
                sa.update(operators).where(operators.c.id == operator_id).values(revoked_ms=now)
            )
            after = Operator(
                id=before.id,
                role=before.role,
                label=before.label,
                created_ms=before.created_ms,
                revoked_ms=now,
            )
            audit.note(
                connection,
                at_ms=now,
                actor=actor,
                action="operator.revoke",
                subject=operator_id,
                before=before,
                after=after,
            )
            return after

    def resolve(self, text: str) -> Operator | None:
        """Whose credential this is; None for every kind of wrong one. Raises DatabaseUnavailableError."""
        found = key_id(text, "wb-admin", "wb-finance")
        if found is None:
            return None
        with self._database.reading() as connection:
            row = (
                connection.execute(sa.select(operators).where(operators.c.id == found))
                .mappings()
                .one_or_none()
            )
        if not self._credentials.matches(text, row["digest"] if row else None) or row is None:
            return None
        operator = _operator(row)
        return operator if operator.revoked_ms is None else None


def _operator(row: sa.RowMapping) -> Operator:
    return Operator(
        id=row["id"],
        role=row["role"],
        label=row["label"],
        created_ms=row["created_ms"],
        revoked_ms=row["revoked_ms"],
    )
