"""The path of every billable request: eight stages, always in this order."""

import asyncio
from collections.abc import Callable

import anyio
import msgspec

from gateway.answers import WithoutLogprobs
from gateway.attempt import Attempt, Collected, Opened
from gateway.cache.exact import CachedReply
from gateway.catalogue import Catalogue, Terms
from gateway.clock import Clock
from gateway.entries import entry, hit_entry
from gateway.errors import UpstreamFailedError
from gateway.exchange import Exchange, Voice
from gateway.hops import hops_of
from gateway.ledger.idempotency import StoredReply
from gateway.report import Report
from gateway.stages.admit import Admit
from gateway.stages.authenticate import Authenticate
from gateway.stages.dispatch import Dispatch
from gateway.stages.lookup import Lookup
from gateway.stages.meter import Meter, usage_event, with_usage
from gateway.stages.relay import Relay
from gateway.stages.repeat import Repeat, replay
from gateway.stages.route import Route
from gateway.stages.score import ScoreStage
from gateway.stages.settle import Settle
from gateway.ticket import Request, Ticket
from gateway.upstreams.contract import UpstreamError
from gateway.values import Caller

_EVENTS_AT_ONCE = 256
"""Of a stream that is here as a whole: telling more takes milliseconds, in which nobody else is served."""


class Stages(msgspec.Struct, frozen=True, kw_only=True):
    authenticate: Authenticate
    admit: Admit
    lookup: Lookup
    score: ScoreStage
    route: Route
    dispatch: Dispatch
    relay: Relay
    meter: Meter
    settle: Settle
    repeat: Repeat
    """Before the second: an answer that was given under an Idempotency-Key is given again, and nothing begins."""


class Pipeline:
    def __init__(
        self, stages: Stages, catalogue: Catalogue, report: Report, clock: Clock, new_id: Callable[[], str]
    ) -> None:
        self._stages = stages
        self._catalogue = catalogue
        self._report = report
        self._clock = clock
        self._new_id = new_id

    def ticket(self, *, is_background: bool = False) -> Ticket:
        return Ticket(
            self._new_id(), self._clock.monotonic(), self._clock.now_ms(), is_background=is_background
        )

    async def __call__(self, ticket: Ticket, exchange: Exchange, caller: Caller | None = None) -> None:
        """Answers the exchange. Raises GatewayError as long as nothing has been sent.

        A `caller` is given by what has authenticated him before, as a batch has.
        """
        stages = self._stages
        with self._report.following(ticket):
            ticket.hops = hops_of(exchange.headers)
            ticket.caller = caller or await stages.authenticate(exchange.headers)
            ticket.request = msgspec.structs.replace(await exchange.read(), id=ticket.request_id)
            claim = await stages.repeat(ticket.request_id, ticket.caller, exchange.headers, ticket.request)
            if claim is None:
                await self._serve(ticket, exchange, ticket.caller, ticket.request)
            elif isinstance(claim, StoredReply):
                ticket.status = claim.status
                await replay(claim, exchange, self._report.headers(ticket))
            else:
                try:
                    await self._serve(ticket, claim.listen(exchange), ticket.caller, ticket.request)
                finally:
                    was_billed = any(entry.outcome != "failed" for entry in ticket.entries)
                    claim.close(is_whole=ticket.is_whole, was_billed=was_billed)

    async def _serve(self, ticket: Ticket, exchange: Exchange, caller: Caller, request: Request) -> None:
        stages = self._stages
        offers = self._catalogue.offers(request.model, caller.tier, request.kind)
        calls = stages.route.calls(request)
        key = stages.lookup.key(caller, request)
        asked = stages.lookup.ask(caller, request, key)
        ticket.reservation, terms = await stages.admit(ticket, caller, request, offers, calls=calls)
        attempts: list[Attempt] = []
        try:
            hit = await stages.lookup(caller, key, asked)
            if hit is not None:
                await self._replay(ticket, exchange, hit)
                return
            ticket.cache = "miss" if key else "off"
            ticket.score = stages.score(request, offers)
            if stages.score.is_near(ticket.score):
                ticket.score = await stages.score.look_again(request, ticket.score)
            ticket.score = stages.score.for_tenant(caller.tenant, ticket.score)
            ticket.decision = stages.route(
                caller,
                request,
                ticket.score,
                ticket.reservation,
                terms,
                is_background=ticket.is_background,
            )
            await self._answer(ticket, exchange, terms, attempts, key)
        finally:
            # Whatever happened, and whoever left: the charge is written and the hold released.
            if not ticket.is_settled:
                with anyio.CancelScope(shield=True):
                    await self._close(ticket, attempts)

    async def _answer(
        self,
        ticket: Ticket,
        exchange: Exchange,
        terms: tuple[Terms, ...],
        attempts: list[Attempt],
        key: str | None,
    ) -> None:
        assert ticket.request  # noqa: S101 - read before
        by_id = {term.offer.id: term for term in terms}
        answer = await self._stages.dispatch(ticket, exchange, by_id, attempts)
        if isinstance(answer, Opened):
            await self._stream(ticket, exchange, answer, attempts, key)
            return
        if isinstance(answer, Collected):
            await self._tell(ticket, exchange, answer, attempts, key)
            return
        voice = _voice(ticket.request, exchange, answer.attempt)
        await self._close(ticket, attempts)
        assert ticket.served  # noqa: S101 - just made
        body = voice.whole(with_usage(answer.reply, answer.attempt.form, ticket.served))
        self._keep(ticket, key, answer.attempt, (body,))
        ticket.status = 200
        ticket.is_whole = True
        await exchange.reply(body, self._report.headers(ticket))

    async def _tell(
        self,
        ticket: Ticket,
        exchange: Exchange,
        answer: Collected,
        attempts: list[Attempt],
        key: str | None,
    ) -> None:
        """A stream that is here as a whole."""
        assert ticket.request  # noqa: S101 - read before
        ticket.first_token_ms = round((self._clock.monotonic() - ticket.started) * 1000)
        voice = _voice(ticket.request, exchange, answer.attempt)
        await self._close(ticket, attempts)
        assert ticket.served  # noqa: S101 - just made
        counted = usage_event(answer.attempt, ticket.served)
        events = [*answer.events, counted] if counted else answer.events
        frames: list[bytes] = []
        for at in range(0, len(events), _EVENTS_AT_ONCE):
            frames += voice.events(events[at : at + _EVENTS_AT_ONCE])
            await asyncio.sleep(0)
        told = b"".join(frames) + voice.end()
        self._keep(ticket, key, answer.attempt, (told,))
        ticket.status = 200
        ticket.is_whole = True
        await exchange.begin(self._report.headers(ticket))
        await exchange.send(told + self._report.trailer(ticket) + exchange.done, is_last=True)

    async def _stream(
        self, ticket: Ticket, exchange: Exchange, opened: Opened, attempts: list[Attempt], key: str | None
    ) -> None:
        assert ticket.request  # noqa: S101 - read before
        ticket.status = 200
        ticket.answering = opened.attempt.candidate
        ticket.first_token_ms = round((self._clock.monotonic() - ticket.started) * 1000)
        try:
            await exchange.begin(self._report.headers(ticket))
        except BaseException:
            await opened.abandon()
            raise
        kept: list[bytes] | None = [] if key else None
        voice = _voice(ticket.request, exchange, opened.attempt)
        began = self._clock.monotonic()
        try:
            await self._stages.relay(opened, exchange, voice, kept)
        except UpstreamError as exc:
            ticket.status = 502
            await self._close(ticket, attempts)
            await exchange.send(voice.broken(_broken_off(ticket, exc)), is_last=True)
            return
        finally:
            ticket.upstream_s += self._clock.monotonic() - began
        await self._close(ticket, attempts)
        assert ticket.served  # noqa: S101 - just made
        counted = usage_event(opened.attempt, ticket.served)
        end = (b"".join(voice.events([counted])) if counted else b"") + voice.end()
        if kept is not None:
            self._keep(ticket, key, opened.attempt, (*kept, end))
        ticket.is_whole = True
        await exchange.send(end + self._report.trailer(ticket) + exchange.done, is_last=True)

    async def _replay(self, ticket: Ticket, exchange: Exchange, hit: CachedReply) -> None:
        assert ticket.request  # noqa: S101 - read before
        ticket.cache = "hit"
        ticket.entries.append(hit_entry(ticket, hit))
        self._stages.settle(ticket)
        ticket.status = 200
        ticket.is_whole = True
        headers = self._report.headers(ticket)
        if not ticket.request.is_stream:
            await exchange.reply(hit.chunks[0], headers)
            return
        await exchange.begin(headers)
        await exchange.send(b"".join(hit.chunks) + self._report.trailer(ticket) + exchange.done, is_last=True)

    async def _close(self, ticket: Ticket, attempts: list[Attempt]) -> None:
        """Meter and settle, once."""
        if ticket.is_settled or ticket.reservation is None:
            return
        assert ticket.request  # noqa: S101 - a reservation has one
        for attempt in attempts:
            usage = await self._stages.meter(ticket.request, attempt)
            ticket.entries.append(entry(ticket, attempt, usage))
        self._stages.settle(ticket)

    def _keep(self, ticket: Ticket, key: str | None, attempt: Attempt, chunks: tuple[bytes, ...]) -> None:
        if not (key and ticket.request and ticket.request.stores_cache and attempt.usage):
            return
        if ticket.is_makeshift:  # whoever asks again may find more money, time or luck
            return
        if attempt.terms.offer.is_cached:
            self._stages.lookup.keep(
                ticket,
                key,
                candidate=attempt.candidate,
                usage=attempt.usage,
                finish_reasons=attempt.finish_reasons,
                chunks=chunks,
            )


def _voice(request: Request, exchange: Exchange, attempt: Attempt) -> Voice:
    voice = exchange.voice(request, attempt.terms, attempt.form)
    return WithoutLogprobs(voice) if attempt.hides_logprobs else voice


def _broken_off(ticket: Ticket, exc: UpstreamError) -> UpstreamFailedError:
    return UpstreamFailedError(
        f"The stream broke off before its end: {exc}. Request id: {ticket.request_id}.",
        code="upstream_stream_interrupted",
    )
