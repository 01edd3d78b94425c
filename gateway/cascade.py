"""The way through a decision that weighs answers: the cheap one first, and the next only where that will not do, what is
held pays for it, and there is time. What was paid for is never thrown away for an error."""

from collections.abc import Mapping, Sequence
from typing import Any

import anyio.to_thread
import msgspec

from gateway.answers import of_events, of_reply
from gateway.asking import Asking, upstream_body
from gateway.attempt import Answered, Attempt, ClientGoneError, Collected, Opened, Whole
from gateway.catalogue import Offer, Terms
from gateway.clock import Clock
from gateway.errors import GatewayError
from gateway.exchange import Exchange
from gateway.failpoints import Failpoints
from gateway.ledger.contract import Journal
from gateway.scoring.contract import Answer
from gateway.telemetry.logs import Logger
from gateway.ticket import Endpoint, Request, Step, Ticket, Verdict
from gateway.upstreams.contract import UpstreamError
from gateway.values import NanoUSD, cost
from gateway.weighing import Weighed, Weighing
from policies.contract import Acceptance, Candidate, Ceiling

_NOT_SAMPLED = (
    "stream", "stream_options", "n", "best_of", "logprobs", "top_logprobs", "seed", "temperature", "top_p", "top_k",
)  # fmt: skip
"""A second sample is one whole answer, drawn as the model is usually drawn from: at temperature 0 it would be the first
answer once more, and agree with it whatever that is worth."""

_MANY_EVENTS = 256
"""From here on reading them takes more than a millisecond and moves to a thread."""


class Cascade:
    def __init__(
        self,
        asking: Asking,
        weighing: Weighing,
        journal: Journal,
        clock: Clock,
        log: Logger,
        failpoints: Failpoints,
    ) -> None:
        self.asking = asking
        self.weighing = weighing
        self.journal = journal
        self.clock = clock
        self.log = log
        self.failpoints = failpoints
        self._without_logprobs: set[str] = set()
        """Offers that refused to tell them, against their configuration."""

    async def __call__(
        self,
        ticket: Ticket,
        exchange: Exchange,
        terms: Mapping[str, Terms],
        attempts: list[Attempt],
        deadline: float,
        errors: list[UpstreamError],
    ) -> Answered | None:
        """None if nobody answered; then `errors` says why. Raises GatewayError, ClientGoneError."""
        return await _Run(self, ticket, exchange, terms, attempts, deadline, errors)()

    def ceiling(self, request: Request, terms: Sequence[Terms]) -> Ceiling:
        """How good an answer to this request may be found at most, for policies."""

        def ceiling(candidate: Candidate, *, second: Candidate | None, asks_logprobs: bool) -> float:
            offer = next(term.offer for term in terms if term.offer.id == candidate.id)
            has_logprobs = "logprobs" in request.needs or (
                asks_logprobs and self._tells_logprobs(offer, offer.form_for(request))
            )
            return self.weighing.ceiling(candidate, has_logprobs=has_logprobs, second=second)

        return ceiling

    def asks_logprobs(self, request: Request, acceptance: Acceptance, attempt: Attempt) -> bool:
        """Whether the caller did not ask for them, and they can be had all the same."""
        return (
            acceptance.asks_logprobs
            and "logprobs" not in request.needs
            and self._tells_logprobs(attempt.terms.offer, attempt.form)
        )

    def _tells_logprobs(self, offer: Offer, form: Endpoint) -> bool:
        return (
            form == "chat"
            and "logprobs" in offer.abilities - offer.refuses
            and offer.id not in self._without_logprobs
        )

    def do_without_logprobs(self, offer: Offer) -> None:
        self._without_logprobs.add(offer.id)
        self.log.warning("cascade.logprobs_refused", upstream=offer.upstream, model=offer.model)


class _Held(msgspec.Struct, frozen=True):
    """An answer that was passed over, and may yet have to do."""

    answer: Whole | Collected
    weighed: Weighed
    step: int


class _Run:
    """One request's."""

    def __init__(
        self,
        cascade: Cascade,
        ticket: Ticket,
        exchange: Exchange,
        terms: Mapping[str, Terms],
        attempts: list[Attempt],
        deadline: float,
        errors: list[UpstreamError],
    ) -> None:
        assert ticket.request and ticket.decision and ticket.decision.acceptance and ticket.reservation  # noqa: S101, PT018 - made by earlier stages
        self._cascade = cascade
        self._asking = cascade.asking
        self._ticket = ticket
        self._request = ticket.request
        self._candidates = ticket.decision.candidates
        self._acceptance = ticket.decision.acceptance
        self._amount = ticket.reservation.amount
        self._exchange = exchange
        self._terms = terms
        self._attempts = attempts
        self._deadline = deadline
        self._errors = errors
        self._refusal: GatewayError | None = None
        self._made = 0
        self._longest_s = 0.0
        self._best: _Held | None = None

    async def __call__(self) -> Answered | None:
        for place, candidate in enumerate(self._candidates):
            if self._exchange.is_gone:
                raise ClientGoneError
            if self._left_s() <= 0:
                break
            if self._best is not None and self._objection(candidate, self._best.weighed.p_good):
                continue
            answer = await self._step(place, candidate)
            if answer is not None:
                return answer
            if self._best is None and self._is_blamed():
                break
        return self._fallen_back()

    async def _step(self, place: int, candidate: Candidate) -> Answered | None:
        """None if it failed, or will not do."""
        attempt = self._attempt(candidate)
        try:
            if place < len(self._acceptance.thresholds):
                return await self._try(place, attempt)
            answer = await self._ask(attempt, self._body(attempt))
            self._note(candidate, None, "last")
            return answer
        except UpstreamError as exc:
            self._asking.failed(self._ticket, attempt, self._attempts, exc)
            if attempt.hides_logprobs and _is_of_logprobs(exc):
                self._cascade.do_without_logprobs(attempt.terms.offer)
                return await self._step(place, candidate)
            self._errors.append(exc)
        except GatewayError as exc:
            if self._best is None:
                raise
            self._refusal = exc
        except ClientGoneError:
            raise
        except Exception:
            attempt.outcome = "failed"  # a fault of ours is on the house
            raise
        return None

    async def _try(self, place: int, attempt: Attempt) -> Answered | None:
        candidate, threshold = attempt.candidate, self._acceptance.thresholds[place]
        body = self._body(attempt)
        if self._cascade.asks_logprobs(self._request, self._acceptance, attempt):
            attempt.hides_logprobs = True
            body["logprobs"] = True
        answer = await self._ask(attempt, body, is_weighed=True)
        attempt.outcome = "deferred"  # until it is found good enough, whatever comes between
        weighed = await self._weigh(place, attempt, answer)
        if weighed.p_good >= threshold:
            self._note(candidate, weighed, "accepted")
            return _served(answer)
        best = self._best
        is_better = best is None or weighed.p_good >= best.weighed.p_good
        why = self._why_no_further(
            place, weighed.p_good if is_better or best is None else best.weighed.p_good
        )
        if why is not None and is_better:
            self._note(candidate, weighed, why)
            return _served(answer)
        step = self._note(candidate, weighed, "deferred")
        await self._pass_over(answer)
        if is_better and not isinstance(answer, Opened):
            self._best = _Held(answer, weighed, step)
        return None if why is None else self._keep(why)

    async def _weigh(self, place: int, attempt: Attempt, answer: Answered) -> Weighed:
        weighing, threshold = self._cascade.weighing, self._acceptance.thresholds[place]
        told = await _read(answer)
        seconds = self._acceptance.seconds
        sampled = seconds[place] if place < len(seconds) else None
        weighed = weighing(self._ticket, attempt.candidate, told, sampled=sampled)
        # A stream that is long in coming is not made longer.
        is_open = weighed.least < threshold <= weighed.most and not isinstance(answer, Opened)
        if sampled is not None and is_open:
            second = await self._second(place, sampled, weighed)
            if second is not None:
                weighed = weighing(self._ticket, attempt.candidate, told, sampled=sampled, second=second)
        attempt.p_good_after = weighed.p_good
        return weighed

    async def _second(self, place: int, sampled: Candidate, weighed: Weighed) -> Answer | None:
        """Another answer to the same, if it could buy something: whoever would be asked next must still be paid for."""
        if self._exchange.is_gone:
            return None
        term = self._terms[sampled.id]
        following = [
            self._terms[candidate.id].worst
            for candidate in self._candidates[place + 1 :]
            if self._objection(candidate, weighed.least) is None
        ]
        if not following or self._spent() + term.worst + following[0] > self._amount:
            return None
        attempt = self._attempt(sampled)
        body = {name: value for name, value in self._body(attempt).items() if name not in _NOT_SAMPLED}
        try:
            answer = await self._ask(attempt, body, is_whole=True)
        except UpstreamError as exc:
            self._asking.failed(self._ticket, attempt, self._attempts, exc)
            return None
        except GatewayError:
            return None
        attempt.outcome = "sampled"
        self._note(sampled, None, "sampled")
        return (await _read(answer))[0]

    async def _ask(
        self, attempt: Attempt, body: dict[str, Any], *, is_weighed: bool = False, is_whole: bool = False
    ) -> Answered:
        asked = (self._ticket, self._exchange, attempt, self._attempts, self._deadline, body)
        try:
            if is_whole or not self._request.is_stream:
                return await self._asking.whole(*asked)
            if is_weighed:
                return await self._asking.collected(*asked, wait_s=self._acceptance.stream_wait_s)
            return await self._asking.stream(*asked)
        finally:
            self._asking.ended(self._ticket, attempt)
            self._longest_s = max(self._longest_s, attempt.ended - attempt.began)

    def _attempt(self, candidate: Candidate) -> Attempt:
        self._made += 1
        return self._asking.attempt(self._ticket, self._made, candidate, self._terms[candidate.id])

    def _body(self, attempt: Attempt) -> dict[str, Any]:
        return upstream_body(self._request, attempt.terms, attempt.form)

    def _objection(self, candidate: Candidate, p_good: float) -> Verdict | None:
        """Why it is not asked, with an answer in hand that is good with this probability."""
        if candidate.p_good <= p_good:
            return "kept_promise"
        if self._spent() + self._terms[candidate.id].worst > self._amount:
            return "kept_budget"
        # A dearer model is hardly faster than what was asked before it.
        return "kept_deadline" if self._left_s() < self._longest_s else None

    def _why_no_further(self, place: int, p_good: float) -> Verdict | None:
        objections = [self._objection(candidate, p_good) for candidate in self._candidates[place + 1 :]]
        return None if None in objections else next(iter(objections), "kept_promise")

    def _spent(self) -> NanoUSD:
        return sum(map(_most_charged, self._attempts))

    def _left_s(self) -> float:
        return self._deadline - self._cascade.clock.monotonic()

    def _is_blamed(self) -> bool:
        """The last upstream found fault with the request itself, so another would too."""
        last = self._errors[-1] if self._errors else None
        return last is not None and last.caller_error is not None and last.kind != "untranslatable"

    async def _pass_over(self, answer: Answered) -> None:
        attempt = answer.attempt
        if isinstance(answer, Opened):
            for event in answer.first or ():
                attempt.absorb(event)
            await answer.abandon()
        # If the process dies before the request is closed, this is what the answer is billed by.
        usage = attempt.usage
        written = usage.output + usage.reasoning if usage else sum(map(len, attempt.text)) // 4
        engine_us = attempt.engine_us_so_far(written)
        self._cascade.journal.progress(attempt.request_id, attempt.number, written, engine_us)
        self._cascade.failpoints.reach("after_deferral")

    def _note(self, candidate: Candidate, weighed: Weighed | None, verdict: Verdict) -> int:
        step = Step(
            model=candidate.model,
            p_good=candidate.p_good,
            p_good_after=weighed.p_good if weighed else None,
            verdict=verdict,
        )
        self._ticket.steps += (step,)
        return len(self._ticket.steps) - 1

    def _keep(self, why: Verdict) -> Answered | None:
        """Serve the best of what was passed over."""
        best = self._best
        if best is None:
            return None
        steps = list(self._ticket.steps)
        steps[best.step] = msgspec.structs.replace(steps[best.step], verdict=why)
        self._ticket.steps = tuple(steps)
        return _served(best.answer)

    def _fallen_back(self) -> Answered | None:
        """Nobody else has answered. An answer that is paid for is better than an error, unless it is empty."""
        has_failed = bool(self._errors) or self._refusal is not None
        if has_failed and (self._best is None or self._best.weighed.is_empty):
            if self._refusal is not None:
                self._refusal.should_retry = False  # it would be paid for once more
                raise self._refusal
            return None
        return self._keep("kept_failure" if has_failed else "kept_deadline")


def _served(answer: Answered) -> Answered:
    """A stream that goes on may yet break off."""
    answer.attempt.outcome = "interrupted" if isinstance(answer, Opened) else "ok"
    return answer


async def _read(answer: Answered) -> list[Answer]:
    form = answer.attempt.form
    if isinstance(answer, Whole):
        return of_reply(answer.reply, form)
    events = answer.events if isinstance(answer, Collected) else answer.first or []
    if len(events) > _MANY_EVENTS:
        return await anyio.to_thread.run_sync(of_events, events, form)
    return of_events(events, form)


def _most_charged(attempt: Attempt) -> NanoUSD:
    """What it will be charged at, exactly where the upstream has told its usage."""
    if attempt.outcome == "failed":
        return 0
    usage, price = attempt.usage, attempt.terms.price
    engine_us = attempt.engine_us if price.engine_hour else 0
    if usage is None or engine_us is None:
        return attempt.terms.worst
    told = cost(msgspec.structs.replace(usage, engine_us=engine_us), price)
    return max(told, attempt.terms.worst) if usage.is_suspect else told


def _is_of_logprobs(exc: UpstreamError) -> bool:
    """It would rather have answered without what we added."""
    return exc.caller_error is not None and "logprob" in str(exc.caller_error).lower()
