"""Judgements and measured answers from elsewhere: read from JSON, matched with the ledger, and kept as outcomes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Literal, TypeVar

import msgspec
import sqlalchemy as sa

from gateway.clock import Clock
from gateway.ledger import audit, outcomes
from gateway.ledger.database import Database
from gateway.ledger.judged import answered, outcome_of
from gateway.ledger.outcomes import Outcome
from gateway.ledger.schema import entries, tenants
from gateway.ledger.store import entry_from
from gateway.values import Entry

MOST_LINES = 10_000
"""In one import, which is one transaction: on SQLite, all other writers wait for it, half a second at most."""
_IDS_PER_QUERY = 500

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Weight = Annotated[float, msgspec.Meta(gt=0, le=100)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f]{1,128}\Z")]
Word = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9_-]{0,32}\Z")]
_Item = TypeVar("_Item")


class OutcomeLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """With `request_id` about an answer in the ledger, which knows what was predicted; else about a measured one."""

    value: Share
    """0 (bad) to 1 (good)."""
    request_id: Name | None = None
    model: Name | None = None
    """Which of the request's answers, if not the one that was given. Of a measured answer it must be said."""
    source: Literal["judge", "evaluation"] | None = None
    """Left out: `judge` for a request, `evaluation` without one."""
    weight: Weight = 1.0
    reason: Word = ""
    tenant: Name | None = None
    """Whose measurement it is; left out: nobody's in particular."""
    upstream: Name | None = None
    """Where a measured model answered: calibration knows candidates, and a model may be at several upstreams."""
    item: Name | None = None
    """A measured answer's name in your data: told again, it replaces the first; without a name it counts twice."""
    p_good: Share | None = None
    complexity: Share | None = None
    category: Word = ""


class LinesError(Exception):
    """What was given cannot be read, and none of it was kept. The message names the line."""


class Refused(msgspec.Struct, frozen=True):
    line: int
    reason: str


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    recorded: int
    refused: tuple[Refused, ...]
    """Lines about what is not known here."""


Lines = Sequence[tuple[int, OutcomeLine]]
"""With their numbers, from 1."""


def read_lines(raw: bytes) -> Lines:
    """From a JSON array, or from JSON objects, one a line. Raises LinesError."""
    decoder = msgspec.json.Decoder(OutcomeLine)
    lines: list[tuple[int, OutcomeLine]] = []
    for number, piece in enumerate(_pieces(raw), start=1):
        if not piece.strip():
            continue
        try:
            line = decoder.decode(piece)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise LinesError(f"line {number}: {exc}") from exc
        problem = _problem(line)
        if problem:
            raise LinesError(f"line {number}: {problem}")
        lines.append((number, line))
    return lines


class OutcomeImport:
    def __init__(self, database: Database, clock: Clock, new_id: Callable[[], str]) -> None:
        """`new_id` names measured answers that have no name."""
        self._database = database
        self._clock = clock
        self._new_id = new_id

    def __call__(self, lines: Lines, *, actor: str) -> Imported:
        """All or, if the database goes away, none. Raises DatabaseUnavailableError."""
        refused: list[Refused] = []
        # One at a time: two with the same rows in another order would wait for each other.
        with self._database.changing() as connection:
            served = _entries(connection, {line.request_id for _, line in lines if line.request_id})
            known = {*_tenants(connection, {line.tenant for _, line in lines if line.tenant})}
            made = []
            for number, line in lines:
                outcome = self._outcome(line, served, known)
                if isinstance(outcome, Outcome):
                    made.append(outcome)
                else:
                    refused.append(Refused(number, outcome))
            outcomes.put(connection, made)
            done = Imported(recorded=len(made), refused=tuple(refused))
            self._note(connection, done, actor)
        return done

    def _outcome(
        self, line: OutcomeLine, served: Mapping[str, Sequence[Entry]], tenants: set[str]
    ) -> Outcome | str:
        """Or why there is none."""
        if line.request_id is None:
            return self._measured(line, tenants)
        attempts = served.get(line.request_id, ())
        if not attempts or line.tenant not in (None, attempts[0].tenant):
            return f"the ledger has no request {line.request_id!r}"
        entry = answered(attempts, by=line.model)
        if entry is None:
            by = f" by {line.model!r}" if line.model else ""
            return f"request {line.request_id!r} was not answered{by}"
        return outcome_of(
            entry,
            source=line.source or "judge",
            value=line.value,
            weight=line.weight,
            reason=line.reason,
            created_ms=self._clock.now_ms(),
        )

    def _measured(self, line: OutcomeLine, tenants: set[str]) -> Outcome | str:
        if line.tenant and line.tenant not in tenants:
            return f"there is no tenant {line.tenant!r}"
        return Outcome(
            tenant=line.tenant or "",
            subject=line.item or self._new_id(),
            candidate=f"{line.upstream}/{line.model}" if line.upstream else "",
            model=line.model or "",
            source=line.source or "evaluation",
            value=line.value,
            weight=line.weight,
            reason=line.reason,
            p_good=line.p_good,
            complexity=line.complexity,
            category=line.category,
            created_ms=self._clock.now_ms(),
        )

    def _note(self, connection: sa.Connection, done: Imported, actor: str) -> None:
        audit.note(
            connection,
            at_ms=self._clock.now_ms(),
            actor=actor,
            action="outcomes.import",
            subject="outcomes",
            after=_Counts(recorded=done.recorded, refused=len(done.refused)),
        )


class _Counts(msgspec.Struct, frozen=True, kw_only=True):
    recorded: int
    refused: int


def _pieces(raw: bytes) -> Iterable[bytes]:
    if not raw.lstrip().startswith(b"["):
        return raw.split(b"\n")
    try:
        return [bytes(piece) for piece in msgspec.json.decode(raw, type=list[msgspec.Raw])]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise LinesError(f"not a JSON array: {exc}") from exc


def _problem(line: OutcomeLine) -> str:
    if line.request_id is not None:
        measured = ("upstream", "item", "p_good", "complexity", "category")
        wrong = next((name for name in measured if getattr(line, name) not in (None, "")), None)
        return f"`{wrong}`: the ledger knows that of a request" if wrong else ""
    if line.model is None:
        return "say `request_id`, or the `model` that was measured"
    if line.item is not None and line.item.startswith("req_"):
        return "`item`: a request's id goes into `request_id`"
    return ""


def _entries(connection: sa.Connection, request_ids: Iterable[str]) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for some in _chunks(request_ids):
        query = sa.select(entries).where(entries.c.request_id.in_(some)).order_by(entries.c.attempt)
        for row in connection.execute(query):
            found.setdefault(row.request_id, []).append(entry_from(row))
    return found


def _tenants(connection: sa.Connection, wanted: Iterable[str]) -> Iterable[str]:
    for some in _chunks(wanted):
        yield from connection.scalars(sa.select(tenants.c.id).where(tenants.c.id.in_(some)))


def _chunks(items: Iterable[_Item]) -> Iterable[list[_Item]]:
    every = list(items)
    return (every[start : start + _IDS_PER_QUERY] for start in range(0, len(every), _IDS_PER_QUERY))
