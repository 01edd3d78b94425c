"""Whatever upstreams answer, fail or cost, a cascade spends no more than is held and serves what it has paid for."""

import asyncio
from collections.abc import Mapping
from typing import Any

import hypothesis.strategies as st
import msgspec
from hypothesis import given, settings

from gateway.attempt import Attempt, Whole
from gateway.cascade import Cascade
from gateway.catalogue import Terms
from gateway.clock import ManualClock
from gateway.errors import UnavailableError
from gateway.failpoints import Failpoints
from gateway.ticket import Request, Ticket
from gateway.upstreams.contract import Reply, UpstreamError
from gateway.values import PASSED_OVER, Caller, Limits, Price, Reservation, Score, Tier, Usage, cost
from gateway.weighing import Weighing
from policies.contract import Acceptance, Candidate, Decision
from tests.fixtures.cascading import MarkedDeferral
from tests.unit.test_held_amounts import terms_of

TIER = Tier(
    name="paid",
    priority=0,
    limits=Limits(),
    sizes=("small",),
    default_output_tokens=1,
    max_output_tokens=1,
    max_choices=1,
)
CALLER = Caller(tenant="t", user="u", key="k", tier=TIER, tenant_limits=Limits())
PRICE = Price(version="1", input=0, cached_input=0, output=1000, reasoning=1000)
"""A nano-dollar a token written."""


class Fate(msgspec.Struct, frozen=True):
    """What becomes of one attempt."""

    kind: str
    share: float
    """Of its worst cost."""
    p_good: float
    is_empty: bool
    takes_s: float


class Asker:
    """Stands where upstreams are asked: does what fate says, in order."""

    def __init__(self, fates: list[Fate], clock: ManualClock) -> None:
        self._fates = fates
        self._clock = clock

    def attempt(self, ticket: Ticket, number: int, candidate: Candidate, term: Terms) -> Attempt:
        return Attempt(
            ticket.request_id, number, candidate, term, "chat", began=self._clock.monotonic(), began_ms=0
        )

    async def whole(
        self, _ticket: Ticket, _exchange: Any, attempt: Attempt, attempts: list[Attempt], *_: Any
    ) -> Whole:
        fate = self._fates[attempt.number % len(self._fates)]
        if fate.kind == "closed":
            raise UnavailableError("the journal is full", code="spend_journal_unavailable")
        attempts.append(attempt)
        self._clock.advance(fate.takes_s)
        if fate.kind in ("free", "charged"):
            raise UpstreamError("refused", "it failed", may_have_charged=fate.kind == "charged")
        tokens = int(attempt.terms.worst * fate.share)
        attempt.usage = Usage(output=tokens) if fate.kind == "told" else None
        attempt.outcome = "ok"
        low, high = max(0.0, fate.p_good - 0.3), min(1.0, fate.p_good + 0.3)
        text = "" if fate.is_empty else f"[{fate.p_good} {low} {high}]"
        attempt.text.append(text)
        body = {"choices": [{"index": 0, "message": {"content": text}, "finish_reason": "stop"}]}
        return Whole(
            attempt=attempt, reply=Reply(body=body, usage=attempt.usage, finish_reasons=("stop",), text=text)
        )

    def failed(self, _ticket: Ticket, attempt: Attempt, attempts: list[Attempt], exc: UpstreamError) -> None:
        attempt.outcome = "failed"
        if not exc.may_have_charged:
            attempts.remove(attempt)

    def ended(self, _ticket: Ticket, attempt: Attempt) -> None:
        attempt.ended = self._clock.monotonic()


class Nowhere:
    """Stands for the journal, the log and the metrics."""

    def progress(self, *_: Any) -> None:
        pass

    def warning(self, *_: Any, **__: Any) -> None:
        pass

    def degraded(self, _part: str) -> None:
        pass


class Client:
    is_gone = False


fates = st.builds(
    Fate,
    kind=st.sampled_from(["told", "told", "told", "told", "untold", "free", "charged", "closed"]),
    share=st.sampled_from([0.0, 0.1, 0.6, 1.0]),
    p_good=st.sampled_from([0.1, 0.6, 0.6, 0.79, 0.95]),
    is_empty=st.sampled_from([False, False, False, True]),
    takes_s=st.sampled_from([0.0, 0.0, 1.0, 200.0]),
)


@settings(max_examples=1000)
@given(
    fates=st.lists(fates, min_size=1, max_size=6),
    worsts=st.lists(st.integers(0, 1000), min_size=1, max_size=4),
    promises=st.lists(st.sampled_from([0.2, 0.5, 0.9, 0.99]), min_size=4, max_size=4),
    weighed=st.integers(1, 4),
    has_second=st.sampled_from([True, True, False]),
    spare=st.sampled_from([0, 0, 100, 1000]),
)
def test_no_more_is_spent_than_is_held_and_one_answer_at_most_is_served(
    fates: list[Fate],
    worsts: list[int],
    promises: list[float],
    weighed: int,
    has_second: bool,
    spare: int,
) -> None:
    terms = {
        term.offer.id: msgspec.structs.replace(term, price=PRICE, output_tokens=term.worst)
        for term in terms_of(*worsts)
    }
    candidates = tuple(
        _candidate(id_, term.worst, promise)
        for (id_, term), promise in zip(terms.items(), promises, strict=False)
    )
    clock = ManualClock()
    held = max(worsts) + spare
    ticket = _ticket(clock, held, candidates, weighed, has_second=has_second)
    attempts: list[Attempt] = []
    errors: list[UpstreamError] = []

    answer, refusal = asyncio.run(_run(fates, clock, ticket, terms, attempts, errors))

    charged = [_charged(attempt) for attempt in attempts]
    served = [attempt for attempt in attempts if attempt.outcome == "ok"]
    assert sum(charged) <= held
    assert {attempt.outcome for attempt in attempts} <= {"ok", "failed", *PASSED_OVER}
    assert len({attempt.number for attempt in attempts}) == len(attempts)
    assert served == ([answer.attempt] if answer is not None else [])
    assert answer is not None or refusal is not None or errors
    if answer is None and refusal is None:
        assert not any("".join(attempt.text) for attempt in attempts if attempt.outcome == "deferred")
    told = [step for step in ticket.steps if step.verdict not in ("deferred", "sampled")]
    assert len(told) == len(served)


async def _run(
    fates: list[Fate],
    clock: ManualClock,
    ticket: Ticket,
    terms: Mapping[str, Terms],
    attempts: list[Attempt],
    errors: list[UpstreamError],
) -> tuple[Whole | None, UnavailableError | None]:
    nowhere: Any = Nowhere()
    asker: Any = Asker(fates, clock)
    client: Any = Client()
    weighing = Weighing(MarkedDeferral(), nowhere, nowhere)
    cascade = Cascade(asker, weighing, nowhere, clock, nowhere, Failpoints())
    deadline = clock.monotonic() + 300
    try:
        answer = await cascade(ticket, client, terms, attempts, deadline, errors)
    except UnavailableError as exc:
        return None, exc
    assert answer is None or isinstance(answer, Whole)
    return answer, None


def _charged(attempt: Attempt) -> int:
    """What its entry will say; where nobody has counted, it may be anything up to the worst."""
    if attempt.outcome == "failed":
        return 0
    return cost(attempt.usage, PRICE) if attempt.usage else attempt.terms.worst


def _candidate(id_: str, worst: int, promise: float) -> Candidate:
    return Candidate(
        id=id_,
        model=id_,
        upstream="local",
        size="small",
        abilities=frozenset(),
        context_window=1,
        max_output_tokens=1,
        expected_cost=worst,
        worst_cost=worst,
        p_good=promise,
    )


def _ticket(
    clock: ManualClock, held: int, candidates: tuple[Candidate, ...], weighed: int, *, has_second: bool
) -> Ticket:
    ticket = Ticket("req_1", clock.monotonic(), 0)
    ticket.request = Request(body={"messages": []}, body_bytes=1, model="auto:c")
    ticket.score = Score(complexity=0.5, p_good={one.id: one.p_good for one in candidates})
    ticket.reservation = Reservation(
        request_id="req_1", caller=CALLER, amount=held, tokens=1, epoch="", window="2026-11"
    )
    ticket.decision = Decision(
        candidates=candidates,
        policy="c",
        reason="c: because",
        acceptance=Acceptance(
            thresholds=(0.8,) * weighed, seconds=(candidates[0] if has_second else None,) * weighed
        ),
    )
    return ticket
