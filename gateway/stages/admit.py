"""Stage 2: rates, concurrency, quota and money in one atomic step. What passes holds a reservation."""

from collections.abc import Sequence

from gateway.catalogue import Catalogue, Offer, Terms
from gateway.errors import InvalidRequestError, QuotaExhaustedError, RateLimitedError, UnavailableError
from gateway.limits.contract import Ask, Grant, Limiter, LimiterUnavailableError, Refusal, Scope
from gateway.ticket import Request, Ticket
from gateway.values import Caller, Limits, NanoUSD, Reservation

_WINDOWS = {
    "requests": "requests per minute",
    "tokens": "tokens per minute",
    "concurrency": "requests at the same time",
    "quota": "requests this month",
    "budget": "this month's budget",
}
_SOON_S = 3600.0
"""A quota that resets later than this is no reason to tell a client when to come back."""


class Admit:
    def __init__(self, limiter: Limiter, catalogue: Catalogue, *, hold_s: int) -> None:
        self._limiter = limiter
        self._catalogue = catalogue
        self._hold_s = hold_s

    async def __call__(
        self, ticket: Ticket, caller: Caller, request: Request, offers: Sequence[Offer], *, calls: int = 1
    ) -> tuple[Reservation, tuple[Terms, ...]]:
        """Holds the worst cost of the dearest offer, or of the dearest few where several answers may have to be paid
        for, that the budgets have room for; routing and dispatch stay below it."""
        self._check_size(caller, request)
        is_background = ticket.is_background
        terms = tuple(
            [
                self._catalogue.terms(offer, request, caller.tier, is_background=is_background)
                for offer in offers
            ]
        )
        tokens = request.input_tokens + request.choices * min(t.output_tokens for t in terms)
        ask = Ask(
            request_id=ticket.request_id,
            tenant=caller.tenant,
            scopes=scopes_of(caller, is_background=is_background),
            amounts=amounts(terms, calls),
            tokens=tokens,
            ttl_s=self._hold_s,
        )
        try:
            answer = await self._limiter.reserve(ask)
        except LimiterUnavailableError as exc:
            raise UnavailableError(
                "Budgets cannot be checked at the moment, so nothing that costs money is started. Try again shortly.",
                code="budget_unavailable",
                retry_after_s=2,
            ) from exc
        ticket.standing = answer.standing
        if isinstance(answer, Refusal):
            raise refused(answer)
        return _reservation(ticket.request_id, caller, tokens, answer), terms

    @staticmethod
    def _check_size(caller: Caller, request: Request) -> None:
        tier = caller.tier
        if request.choices > tier.max_choices:
            raise InvalidRequestError(
                f"{request.choices} answers were asked for; the plan {tier.name!r} allows {tier.max_choices}.",
                param=request.choices_field,
            )
        if request.output_tokens is not None and request.output_tokens > tier.max_output_tokens:
            raise InvalidRequestError(
                f"{request.output_tokens} output tokens were asked for; the plan {tier.name!r} allows "
                f"{tier.max_output_tokens}.",
                param=request.output_field,
            )


def amounts(terms: Sequence[Terms], calls: int) -> tuple[NanoUSD, ...]:
    """What would do, dearest first: enough for so many calls, and for every lesser number of them down to one."""
    if calls == 1:
        return tuple(sorted({term.worst for term in terms}, reverse=True))
    dearest: dict[str, NanoUSD] = {}
    for term in terms:
        dearest[term.offer.model] = max(term.worst, dearest.get(term.offer.model, 0))
    costs = sorted(dearest.values(), reverse=True)
    sums = {term.worst for term in terms}
    for at, cost in enumerate(costs):
        # A model may be asked twice, for a second sample: the cheapest stands in where there are too few.
        cheaper = costs[at + 1 :] + [costs[-1]] * calls
        for others in range(1, calls):
            sums.add(cost + sum(cheaper[:others]))
            sums.add(cost + sum(costs[at + 1 :][-others:]))
    return tuple(sorted(sums, reverse=True))


def scopes_of(caller: Caller, *, is_background: bool = False) -> tuple[Scope, ...]:
    """The tenant always (spend is counted there); users and keys where they have limits of their own.

    What runs in the background has no part in rates and places, or it would crowd out those who wait.
    """
    limits = (caller.tenant_limits, caller.user_limits, caller.key_limits)
    tenant, user, key = map(_by_month, limits) if is_background else limits
    scopes = [Scope(kind="tenant", id=caller.tenant, limits=tenant)]
    unlimited = Limits()
    if user != unlimited:
        scopes.append(Scope(kind="user", id=caller.user, limits=user))
    if key != unlimited:
        scopes.append(Scope(kind="key", id=caller.key, limits=key))
    return tuple(scopes)


def _by_month(limits: Limits) -> Limits:
    return Limits(requests_per_month=limits.requests_per_month, budget_per_month=limits.budget_per_month)


def refused(refusal: Refusal) -> RateLimitedError | QuotaExhaustedError:
    if refusal.kind in ("quota", "budget"):
        spent = (
            f"The {refusal.scope}'s budget for this month is used up, or has no room for this request."
            if refusal.kind == "budget"
            else f"The {refusal.scope} has made its {refusal.limit} requests of this month."
        )
        return QuotaExhaustedError(
            f"{spent} It starts anew with the next calendar month (UTC); an administrator can raise it.",
            retry_after_s=refusal.retry_after_s if refusal.retry_after_s <= _SOON_S else None,
        )
    return RateLimitedError(
        f"Rate limit reached: {refusal.limit} {_WINDOWS[refusal.kind]} for this {refusal.scope}. "
        f"Try again in {refusal.retry_after_s:.3g} s.",
        retry_after_s=refusal.retry_after_s,
    )


def _reservation(request_id: str, caller: Caller, tokens: int, grant: Grant) -> Reservation:
    return Reservation(
        request_id=request_id,
        caller=caller,
        amount=grant.amount,
        tokens=tokens,
        epoch=grant.epoch,
        window=grant.window,
    )
