"""What became of answers, in SQL: one row for each judgement, a later one of the same judge in its place.

No prompt and no answer is kept here. Synchronous.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from gateway.clock import Clock
from gateway.config import Outcomes as Settings
from gateway.ledger.database import Database
from gateway.ledger.schema import outcomes
from gateway.values import OutcomeRow, OutcomeSource

_DAY_MS = 86_400_000
_PURGED_AT_ONCE = 500
_ONCE = ("tenant_id", "subject", "model", "source", "user_id")


class Outcome(OutcomeRow, frozen=True, kw_only=True, gc=False):
    """As it is kept."""

    id: int = 0
    """Grows with each that is added; 0: not added yet."""
    subject: str
    """The request's id; where there was none, the name of an evaluation's item, or one of our making."""
    reason: str = ""
    """One short word of the judge's."""


class OutcomeQuery(msgspec.Struct, frozen=True, kw_only=True):
    """None: any."""

    tenant: str | None = None
    model: str | None = None
    source: OutcomeSource | None = None
    since_ms: int | None = None


class OutcomeSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Means are weighted; None where nothing has a weight, or a prediction."""

    model: str
    category: str
    count: int
    weight: float
    value: float | None
    p_good: float | None


class Outcomes:
    """Its calls raise DatabaseUnavailableError."""

    def __init__(self, database: Database, clock: Clock, settings: Settings) -> None:
        self._database = database
        self._clock = clock
        self._retention_ms = settings.retention_days * _DAY_MS
        self._votes_per_day = settings.votes_per_day

    def vote(self, vote: Outcome) -> Outcome:
        """A user's, as it is kept: his latest stands, and beyond what he may have in a day it has no weight."""
        row = _row(vote)
        changed = {name: row[name] for name in ("value", "reason", "created_ms")}
        with self._database.writing() as connection:
            if _other_votes(connection, vote) >= self._votes_per_day:
                row["weight"] = 0.0
            upsert = _insert(connection).values(row).on_conflict_do_update(index_elements=_ONCE, set_=changed)
            return _outcome(connection.execute(upsert.returning(outcomes)).one())

    def page(self, query: OutcomeQuery, *, limit: int = 100, before_id: int | None = None) -> list[Outcome]:
        """Newest first."""
        wanted = sa.select(outcomes).where(*_conditions(query)).order_by(outcomes.c.id.desc()).limit(limit)
        if before_id is not None:
            wanted = wanted.where(outcomes.c.id < before_id)
        with self._database.reading() as connection:
            return [_outcome(row) for row in connection.execute(wanted)]

    def summary(self, query: OutcomeQuery) -> list[OutcomeSummary]:
        """By model and category, ordered by them."""
        groups = (outcomes.c.model, outcomes.c.category)
        asked = sa.select(*groups, *_SUMS).where(*_conditions(query)).group_by(*groups).order_by(*groups)
        with self._database.reading() as connection:
            return [_summary(row) for row in connection.execute(asked)]

    def purge(self) -> int:
        """Forget some of what is too old; how many."""
        is_old = outcomes.c.created_ms <= self._clock.now_ms() - self._retention_ms
        some = sa.select(outcomes.c.id).where(is_old).limit(_PURGED_AT_ONCE)
        with self._database.writing() as connection:
            # Asked again of the row itself: on PostgreSQL, a vote may be renewed in between.
            return connection.execute(sa.delete(outcomes).where(outcomes.c.id.in_(some), is_old)).rowcount


def put(connection: sa.Connection, given: Sequence[Outcome]) -> None:
    """What the same judge said before is replaced."""
    insert = _insert(connection)
    changed = {name: insert.excluded[name] for name in _COLUMNS}
    if given:
        upsert = insert.on_conflict_do_update(index_elements=_ONCE, set_=changed)
        connection.execute(upsert, [_row(outcome) for outcome in given])


def add(connection: sa.Connection, given: Sequence[Outcome]) -> None:
    """What is there stays."""
    if given:
        rows = [_row(outcome) for outcome in given]
        connection.execute(_insert(connection).on_conflict_do_nothing(), rows)


_COLUMNS = tuple(column.name for column in outcomes.columns if column.name != "id")
_FIELDS = {"tenant_id": "tenant", "user_id": "user", "candidate_id": "candidate"}
_HAS_BOTH = sa.case((outcomes.c.p_good.is_not(None), outcomes.c.weight), else_=0.0)
_SUMS = (
    sa.func.count().label("rows"),
    sa.func.sum(outcomes.c.weight).label("weight"),
    sa.func.sum(outcomes.c.weight * outcomes.c.value).label("value"),
    sa.func.sum(_HAS_BOTH).label("predicted"),
    sa.func.sum(outcomes.c.weight * outcomes.c.p_good).label("p_good"),
)


def _insert(connection: sa.Connection) -> Any:
    # ON CONFLICT is both databases' and neither dialect's in common.
    is_postgres = connection.dialect.name == "postgresql"
    return (postgresql.insert if is_postgres else sqlite.insert)(outcomes)


def _row(outcome: Outcome) -> dict[str, Any]:
    return {name: getattr(outcome, _FIELDS.get(name, name)) for name in _COLUMNS}


def _outcome(row: sa.Row[*tuple[Any, ...]]) -> Outcome:
    return Outcome(**{_FIELDS.get(name, name): value for name, value in row._mapping.items()})  # noqa: SLF001 - SQLAlchemy's public way


def _other_votes(connection: sa.Connection, vote: Outcome) -> int:
    """Of the same user that count, in the day before it."""
    query = sa.select(sa.func.count()).where(
        outcomes.c.tenant_id == vote.tenant,
        outcomes.c.user_id == vote.user,
        outcomes.c.created_ms > vote.created_ms - _DAY_MS,
        outcomes.c.source == "feedback",
        outcomes.c.weight > 0,
        outcomes.c.subject != vote.subject,
    )
    return int(connection.scalar(query) or 0)


def _conditions(query: OutcomeQuery) -> list[sa.ColumnElement[bool]]:
    wanted = (
        (outcomes.c.tenant_id, query.tenant),
        (outcomes.c.model, query.model),
        (outcomes.c.source, query.source),
    )
    conditions = [column == value for column, value in wanted if value is not None]
    if query.since_ms is not None:
        conditions.append(outcomes.c.created_ms >= query.since_ms)
    return conditions


def _summary(row: sa.Row[*tuple[Any, ...]]) -> OutcomeSummary:
    return OutcomeSummary(
        model=row.model,
        category=row.category,
        count=row.rows,
        weight=row.weight,
        value=row.value / row.weight if row.weight else None,
        p_good=row.p_good / row.predicted if row.predicted else None,
    )
