"""One attempt, from the record on disk that says it is made to its answer: the only place that asks upstreams for
anything billable."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import ExitStack
from typing import Any

from gateway.attempt import Attempt, Collected, Leaving, Opened, Whole, gone
from gateway.catalogue import CACHE_SALT, Offer, Terms
from gateway.clock import Clock
from gateway.entries import draft
from gateway.errors import UnavailableError
from gateway.exchange import Exchange
from gateway.failpoints import Failpoints
from gateway.hops import one_more
from gateway.ledger.contract import Intent, Journal, JournalUnavailableError
from gateway.telemetry.logs import Logger
from gateway.telemetry.metrics import Metrics
from gateway.ticket import Endpoint, Failure, Request, Ticket
from gateway.upstreams.contract import Event, UpstreamCall, UpstreamError
from gateway.upstreams.pool import PooledAttempt, UpstreamPool
from policies.contract import Candidate

_MAX_COLLECTED_BYTES = 1_048_576
"""Of a stream that is read to its end before any of it is passed on; a longer one is passed on before."""
_NOTE_EVERY_S = 1.0
_PRIORITY_HEADER = "x-weighbridge-priority"
_TIME_LEFT_HEADER = "x-weighbridge-time-left-ms"
_SALT_HEADER = "x-weighbridge-salt"
_SALT_CHARS = 16


class Asking:
    def __init__(
        self,
        pool: UpstreamPool,
        journal: Journal,
        clock: Clock,
        metrics: Metrics,
        log: Logger,
        failpoints: Failpoints,
        *,
        max_unshipped: int,
    ) -> None:
        self._pool = pool
        self._journal = journal
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._failpoints = failpoints
        self._max_unshipped = max_unshipped

    def attempt(self, ticket: Ticket, number: int, candidate: Candidate, term: Terms) -> Attempt:
        assert ticket.request  # noqa: S101 - made by an earlier stage
        return Attempt(
            ticket.request_id,
            number,
            candidate,
            term,
            term.offer.form_for(ticket.request),
            began=self._clock.monotonic(),
            began_ms=self._clock.now_ms(),
        )

    async def whole(
        self,
        ticket: Ticket,
        exchange: Exchange,
        attempt: Attempt,
        attempts: list[Attempt],
        deadline: float,
        body: dict[str, Any],
    ) -> Whole:
        """Like the next two it adds to `attempts` what may have been billed. Raises UpstreamError, GatewayError,
        ClientGoneError."""
        with self._pooled(ticket, attempt, body) as pooled:
            call = await self._prepare(ticket, attempt, attempts, deadline, body)
            return await self._complete(pooled, call, exchange, attempt)

    async def stream(
        self,
        ticket: Ticket,
        exchange: Exchange,
        attempt: Attempt,
        attempts: list[Attempt],
        deadline: float,
        body: dict[str, Any],
    ) -> Opened:
        with ExitStack() as stack:
            pooled = stack.enter_context(self._pooled(ticket, attempt, body))
            call = await self._prepare(ticket, attempt, attempts, deadline, body)
            return await self._open(pooled, call, exchange, attempt, stack)

    async def collected(
        self,
        ticket: Ticket,
        exchange: Exchange,
        attempt: Attempt,
        attempts: list[Attempt],
        deadline: float,
        body: dict[str, Any],
        *,
        wait_s: float,
    ) -> Collected | Opened:
        """A stream that is read to its end; one that is long in coming, as far as it has come."""
        with ExitStack() as stack:
            pooled = stack.enter_context(self._pooled(ticket, attempt, body))
            call = await self._prepare(ticket, attempt, attempts, deadline, body)
            return await self._collect(pooled, call, exchange, attempt, stack, wait_s=wait_s)

    def failed(self, ticket: Ticket, attempt: Attempt, attempts: list[Attempt], exc: UpstreamError) -> None:
        """What must be known of it afterwards."""
        candidate = attempt.candidate
        attempt.outcome = "failed"
        if not exc.may_have_charged and attempt in attempts:
            attempts.remove(attempt)
        ticket.failures.append(Failure(model=candidate.model, upstream=candidate.upstream, reason=str(exc)))
        self._metrics.attempted(candidate.upstream, exc.kind)
        self._log.warning(
            "dispatch.attempt_failed",
            request_id=ticket.request_id,
            upstream=candidate.upstream,
            model=candidate.model,
            kind=exc.kind,
            status=exc.status,
            reason=str(exc),
        )

    def ended(self, ticket: Ticket, attempt: Attempt) -> None:
        attempt.ended = self._clock.monotonic()
        ticket.upstream_s += attempt.ended - attempt.began

    async def _prepare(
        self,
        ticket: Ticket,
        attempt: Attempt,
        attempts: list[Attempt],
        deadline: float,
        body: dict[str, Any],
    ) -> UpstreamCall:
        """The call, once a record on disk says that it is made."""
        assert ticket.reservation  # noqa: S101 - made by an earlier stage
        await self._intend(ticket, attempt)
        self._failpoints.reach("after_intent")
        attempts.append(attempt)
        call = UpstreamCall(
            reservation=ticket.reservation,
            upstream=attempt.candidate.upstream,
            form=attempt.form,
            body=_for_engine(body, ticket, attempt.terms.offer),
            headers=_headers(ticket, attempt.terms.offer, deadline - self._clock.monotonic()),
            deadline=deadline,
            aside=attempt.aside,
        )
        # The attempt's clock starts when it is sent: what came before is ours.
        attempt.began = self._clock.monotonic()
        return call

    def _pooled(self, ticket: Ticket, attempt: Attempt, body: dict[str, Any]) -> PooledAttempt:
        assert ticket.caller  # noqa: S101 - made by an earlier stage
        return self._pool.attempt(attempt.candidate.upstream, ticket.caller.tenant, body)

    async def _complete(
        self, pooled: PooledAttempt, call: UpstreamCall, exchange: Exchange, attempt: Attempt
    ) -> Whole:
        try:
            async with asyncio.timeout(None) as patience:
                with Leaving(exchange, patience, attempt):
                    reply = await pooled.complete(call)
        except TimeoutError as exc:
            raise gone(attempt) from exc
        self._failpoints.reach("after_reply")
        self._metrics.attempted(call.upstream, "ok")
        attempt.outcome = "ok"
        attempt.usage = reply.usage
        attempt.text.append(reply.text)
        attempt.finish_reasons.extend(reply.finish_reasons)
        return Whole(attempt=attempt, reply=reply)

    async def _open(
        self,
        pooled: PooledAttempt,
        call: UpstreamCall,
        exchange: Exchange,
        attempt: Attempt,
        stack: ExitStack,
    ) -> Opened:
        try:
            async with asyncio.timeout(None) as patience:
                with Leaving(exchange, patience, attempt):
                    first, rest = await pooled.open(call)
        except TimeoutError as exc:
            raise gone(attempt) from exc
        return Opened(attempt=attempt, first=first, rest=rest, pooled=stack.pop_all())

    async def _collect(
        self,
        pooled: PooledAttempt,
        call: UpstreamCall,
        exchange: Exchange,
        attempt: Attempt,
        stack: ExitStack,
        *,
        wait_s: float,
    ) -> Collected | Opened:
        rest: AsyncGenerator[list[Event], None] | None = None
        events: list[Event] = []
        try:
            async with asyncio.timeout(None) as patience:
                with Leaving(exchange, patience, attempt):
                    first, rest = await pooled.open(call)
                    is_whole = await self._read(first, rest, events, attempt, wait_s)
        except BaseException as exc:
            for event in events:
                attempt.absorb(event)
            if rest is not None:
                await rest.aclose()
            if isinstance(exc, TimeoutError):
                raise gone(attempt) from exc
            raise
        if not is_whole:
            return Opened(attempt=attempt, first=events, rest=rest, pooled=stack.pop_all())
        for event in events:
            attempt.absorb(event)
        self._failpoints.reach("after_reply")
        self._metrics.attempted(call.upstream, "ok")
        attempt.outcome = "ok"
        return Collected(attempt=attempt, events=events)

    async def _read(
        self,
        arrived: list[Event] | None,
        rest: AsyncGenerator[list[Event], None],
        events: list[Event],
        attempt: Attempt,
        wait_s: float,
    ) -> bool:
        """Whether it came to its end in time, and within bounds."""
        noted = attempt.began
        size = chars = 0
        while arrived is not None:
            events += arrived
            size += sum([len(event.data) for event in arrived])
            chars += sum([len(event.text) for event in arrived])
            now = self._clock.monotonic()
            if size > _MAX_COLLECTED_BYTES or now - attempt.began > wait_s:
                return False
            if now - noted >= _NOTE_EVERY_S:
                noted = now
                engine_us = attempt.engine_us_so_far(chars // 4)
                self._journal.progress(attempt.request_id, attempt.number, chars // 4, engine_us)
            arrived = await anext(rest, None)
        return True

    async def _intend(self, ticket: Ticket, attempt: Attempt) -> None:
        is_paid = attempt.terms.worst > 0
        if is_paid and self._journal.unshipped > self._max_unshipped:
            raise UnavailableError(
                "The ledger is too far behind, so nothing that costs money is started. Try again shortly.",
                code="budget_unavailable",
                retry_after_s=10,
            )
        assert ticket.reservation  # noqa: S101 - made by an earlier stage
        intent = Intent(
            draft=draft(ticket, attempt),
            worst=attempt.terms.worst,
            price=attempt.terms.price,
            epoch=ticket.reservation.epoch,
        )
        attempt.drafted_engine_us = intent.draft.engine_us
        # Even if this task is cancelled while it waits: the record may become durable, and must be closed.
        ticket.was_intended = True
        try:
            await self._journal.intend(intent)
        except JournalUnavailableError as exc:
            self._metrics.degraded("journal")
            if is_paid:
                raise UnavailableError(
                    "Spend cannot be recorded at the moment, so nothing that costs money is started. Try again shortly.",
                    code="spend_journal_unavailable",
                    retry_after_s=5,
                ) from exc


def _headers(ticket: Ticket, offer: Offer, left_s: float) -> dict[str, str]:
    """What a worker of ours is told besides, and nobody else: who goes first, until when, and whose prompts it may reuse."""
    headers = one_more(ticket.hops)
    if offer.is_worker:
        assert ticket.caller  # noqa: S101 - made by an earlier stage
        headers[_PRIORITY_HEADER] = str(_urgency(ticket))
        headers[_TIME_LEFT_HEADER] = str(max(0, int(min(left_s, offer.total_timeout_s) * 1000)))
        headers[_SALT_HEADER] = ticket.caller.salt[:_SALT_CHARS]
    return headers


def _urgency(ticket: Ticket) -> int:
    assert ticket.caller  # noqa: S101 - made by an earlier stage
    return 0 if ticket.is_background else ticket.caller.tier.priority_class


def _for_engine(body: dict[str, Any], ticket: Ticket, offer: Offer) -> dict[str, Any]:
    """With what vLLM is told besides. It reuses prompts among requests with the same salt alone, and takes those with the
    lowest `priority` first. A caller may divide his own prompts further, and has no say in who goes first."""
    if offer.salts_prompts:
        assert ticket.caller  # noqa: S101 - made by an earlier stage
        own, salt = body.get(CACHE_SALT), ticket.caller.salt
        body = {**body, CACHE_SALT: f"{salt}.{own}" if isinstance(own, str) else salt}
    return {**body, "priority": -_urgency(ticket)} if offer.sends_priority else body


def upstream_body(request: Request, terms: Terms, form: Endpoint) -> dict[str, Any]:
    """The caller's body with the upstream's name of the model, a ceiling on the answer, and usage asked for."""
    written = request.body if request.native is None or form != request.endpoint else request.native
    body = {**written, "model": terms.offer.upstream_model}
    if request.kind != "chat":
        return body
    body.pop("max_tokens", None)
    body.pop("max_completion_tokens", None)
    body[terms.offer.max_tokens_field if form == "chat" else "max_tokens"] = terms.output_tokens
    if request.is_stream and form != "messages":
        options = body.get("stream_options")
        body["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
    return body
