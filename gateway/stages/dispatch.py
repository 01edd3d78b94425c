"""Stage 6: try the candidates in order until one answers. The only place that asks upstreams for anything billable."""

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from gateway.attempt import Attempt, ClientGoneError, Leaving, Opened, Whole, gone
from gateway.catalogue import Terms
from gateway.clock import Clock
from gateway.entries import draft
from gateway.errors import GatewayError, InvalidRequestError, UnavailableError, UpstreamFailedError
from gateway.exchange import Exchange
from gateway.failpoints import Failpoints
from gateway.hops import one_more
from gateway.ledger.contract import Intent, Journal, JournalUnavailableError
from gateway.telemetry.logs import Logger
from gateway.telemetry.metrics import Metrics
from gateway.ticket import Endpoint, Failure, Request, Ticket
from gateway.upstreams.contract import Upstream, UpstreamCall, UpstreamError
from gateway.upstreams.pool import UpstreamPool
from policies.contract import Candidate


class Dispatch:
    def __init__(
        self,
        pool: UpstreamPool,
        journal: Journal,
        clock: Clock,
        metrics: Metrics,
        log: Logger,
        failpoints: Failpoints,
        *,
        total_s: float,
        max_unshipped: int,
    ) -> None:
        self._pool = pool
        self._journal = journal
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._failpoints = failpoints
        self._total_s = total_s
        self._max_unshipped = max_unshipped

    async def __call__(
        self, ticket: Ticket, exchange: Exchange, terms: Mapping[str, Terms], attempts: list[Attempt]
    ) -> Whole | Opened:
        """Leaves in `attempts` those that may have been billed. Raises GatewayError, ClientGoneError."""
        assert ticket.decision and ticket.request  # noqa: S101, PT018 - made by the stages before
        deadline = ticket.started + self._total_s
        errors: list[UpstreamError] = []
        for number, candidate in enumerate(ticket.decision.candidates, start=1):
            if exchange.is_gone:
                raise ClientGoneError
            if self._clock.monotonic() >= deadline:
                break
            term = terms[candidate.id]
            attempt = Attempt(
                ticket.request_id,
                number,
                candidate,
                term,
                term.offer.form_for(ticket.request),
                began=self._clock.monotonic(),
                began_ms=self._clock.now_ms(),
            )
            try:
                return await self._try(ticket, exchange, attempt, attempts, deadline)
            except UpstreamError as exc:
                self._note(ticket, candidate, exc)
                errors.append(exc)
                attempt.outcome = "failed"
                if not exc.may_have_charged and attempt in attempts:
                    attempts.remove(attempt)
                if exc.caller_error is not None and exc.kind != "untranslatable":
                    raise _blamed(exc) from exc
            except (GatewayError, ClientGoneError):
                raise
            except Exception:
                attempt.outcome = "failed"  # a fault of ours is on the house
                raise
            finally:
                attempt.ended = self._clock.monotonic()
                ticket.upstream_s += attempt.ended - attempt.began
        if errors and errors[-1].kind == "untranslatable":
            raise _blamed(errors[-1]) from errors[-1]
        raise _exhausted(ticket, errors)

    async def _try(
        self, ticket: Ticket, exchange: Exchange, attempt: Attempt, attempts: list[Attempt], deadline: float
    ) -> Whole | Opened:
        assert ticket.request  # noqa: S101 - made by an earlier stage
        pooled = self._pool.attempt(attempt.candidate.upstream)
        if not ticket.request.is_stream:
            with pooled as upstream:
                call = await self._prepare(ticket, attempt, attempts, deadline)
                return await self._complete(upstream, call, exchange, attempt)
        with ExitStack() as stack:
            upstream = stack.enter_context(pooled)
            call = await self._prepare(ticket, attempt, attempts, deadline)
            return await self._open(upstream, call, exchange, attempt, stack)

    async def _prepare(
        self, ticket: Ticket, attempt: Attempt, attempts: list[Attempt], deadline: float
    ) -> UpstreamCall:
        """The call, once a record on disk says that it is made."""
        assert ticket.request  # noqa: S101 - made by an earlier stage
        assert ticket.reservation  # noqa: S101 - likewise
        await self._intend(ticket, attempt)
        self._failpoints.reach("after_intent")
        attempts.append(attempt)
        call = UpstreamCall(
            reservation=ticket.reservation,
            upstream=attempt.candidate.upstream,
            form=attempt.form,
            body=upstream_body(ticket.request, attempt.terms, attempt.form),
            headers=one_more(ticket.hops),
            deadline=deadline,
        )
        # The attempt's clock starts when it is sent: what came before is ours.
        attempt.began = self._clock.monotonic()
        return call

    async def _complete(
        self, upstream: Upstream, call: UpstreamCall, exchange: Exchange, attempt: Attempt
    ) -> Whole:
        try:
            async with asyncio.timeout(None) as patience:
                with Leaving(exchange, patience, attempt):
                    reply = await upstream.complete(call)
        except TimeoutError as exc:
            raise gone(attempt) from exc
        self._failpoints.reach("after_reply")
        self._metrics.attempted(upstream.name, "ok")
        attempt.outcome = "ok"
        attempt.usage = reply.usage
        attempt.text.append(reply.text)
        attempt.finish_reasons.extend(reply.finish_reasons)
        return Whole(attempt=attempt, reply=reply)

    async def _open(
        self, upstream: Upstream, call: UpstreamCall, exchange: Exchange, attempt: Attempt, pooled: ExitStack
    ) -> Opened:
        events = upstream.stream(call)
        try:
            async with asyncio.timeout(None) as patience:
                with Leaving(exchange, patience, attempt):
                    first = await anext(events, None)
        except TimeoutError as exc:
            await events.aclose()
            raise gone(attempt) from exc
        except BaseException:
            await events.aclose()
            raise
        self._pool.answered(upstream.name)
        return Opened(attempt=attempt, first=first, rest=events, pooled=pooled.pop_all())

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

    def _note(self, ticket: Ticket, candidate: Candidate, exc: UpstreamError) -> None:
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


def _blamed(exc: UpstreamError) -> GatewayError:
    """The upstream says that the request itself is wrong: so do we, in its words but our shape."""
    blame = exc.caller_error or {}
    return InvalidRequestError(
        blame.get("message") or "The upstream refused the request as invalid.",
        status=400 if exc.status == 422 else exc.status,
        code=blame.get("code") or "invalid_value",
        param=blame.get("param"),
    )


def _exhausted(ticket: Ticket, errors: list[UpstreamError]) -> GatewayError:
    tried = "; ".join(f"{failure.model}: {failure.reason}" for failure in ticket.failures)
    attempts = [{"model": failure.model, "reason": failure.reason} for failure in ticket.failures]
    if all(error.kind == "busy" for error in errors):
        hints = [error.retry_after_s for error in errors if error.retry_after_s is not None]
        return UnavailableError(
            f"Every upstream for this request is overloaded or being left alone ({tried}).",
            code="server_is_overloaded" if any(error.status for error in errors) else "no_healthy_upstream",
            retry_after_s=min(hints, default=2),
            attempts=attempts,
        )
    code = {"timeout": "upstream_timeout", "invalid": "upstream_invalid_response"}.get(
        errors[-1].kind, "upstream_error"
    )
    return UpstreamFailedError(
        f"No upstream answered this request ({tried}).",
        status=504 if code == "upstream_timeout" else 502,
        code=code,
        should_retry=False if any(error.may_have_charged for error in errors) else None,
        attempts=attempts,
    )
