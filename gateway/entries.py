"""Ledger entries from what the stages know: the draft before an attempt, and the truth after it."""

from gateway.attempt import Attempt
from gateway.cache.exact import CachedReply
from gateway.ticket import Request, Ticket
from gateway.values import Entry, NanoUSD, Score, Usage, cost


def predicted(request: Request, score: Score, candidate: str) -> float | None:
    """P(good) as the scorer itself saw it; None where a default stands for what it did not say."""
    if score.is_degraded or request.kind != "chat":
        return None
    return (score.raw or score.p_good).get(candidate)


def draft(ticket: Ticket, attempt: Attempt) -> Entry:
    """What is billed if the process dies before it learns more: our estimate of the input."""
    assert ticket.request  # noqa: S101 - made by an earlier stage
    read = ticket.request.input_tokens
    engine_us = attempt.estimated_engine_us(read=read, written=0)
    usage = Usage(input=read, engine_us=engine_us, source="estimated")
    price = attempt.terms.price
    return _entry(ticket, attempt, usage, cost(usage, price), suspense=0, outcome="lost")


def entry(ticket: Ticket, attempt: Attempt, usage: Usage) -> Entry:
    assert ticket.reservation  # noqa: S101 - made by an earlier stage
    charged = cost(usage, attempt.terms.price)
    if attempt.outcome == "failed":
        # A failed attempt is on the house; what the upstream may bill for it is kept in view.
        return _entry(ticket, attempt, usage, 0, suspense=attempt.most_cost, outcome="failed")
    is_guess = usage.source == "estimated"
    suspense = max(0, attempt.most_cost - charged) if is_guess else 0
    return _entry(ticket, attempt, usage, charged, suspense=suspense, outcome=attempt.outcome)


def _entry(
    ticket: Ticket, attempt: Attempt, usage: Usage, charged: NanoUSD, *, suspense: NanoUSD, outcome: str
) -> Entry:
    assert ticket.caller and ticket.request and ticket.reservation and ticket.score and ticket.decision  # noqa: S101, PT018 - made by earlier stages
    return Entry(
        request_id=ticket.request_id,
        attempt=attempt.number,
        created_ms=attempt.began_ms,
        window=ticket.reservation.window,
        tenant=ticket.caller.tenant,
        user=ticket.caller.user,
        key=ticket.caller.key,
        tier=ticket.caller.tier.name,
        requested=ticket.request.model,
        model=attempt.candidate.model,
        upstream=attempt.candidate.upstream,
        size=attempt.candidate.size,
        policy=ticket.decision.policy,
        reason=ticket.decision.reason,
        complexity=ticket.score.complexity,
        price_version=attempt.terms.price.version,
        input_tokens=usage.input,
        cached_input_tokens=usage.cached_input,
        cache_write_tokens=usage.cache_write,
        cache_write_1h_tokens=usage.cache_write_1h,
        output_tokens=usage.output,
        reasoning_tokens=usage.reasoning,
        cost=charged,
        suspense=suspense,
        usage_source=usage.source,
        outcome=outcome,  # type: ignore[arg-type]  # a str here, one of the outcomes at every call above
        is_stream=ticket.request.is_stream,
        is_suspect=usage.is_suspect,
        is_overrun=charged > ticket.reservation.amount - sum([before.cost for before in ticket.entries]),
        duration_ms=round((attempt.ended - attempt.began) * 1000),
        first_token_ms=ticket.first_token_ms,
        p_good=predicted(ticket.request, ticket.score, attempt.candidate.id),
        category=ticket.score.category,
        p_good_after=attempt.p_good_after,
        engine_us=usage.engine_us,
    )


def hit_entry(ticket: Ticket, hit: CachedReply) -> Entry:
    """A reply from the cache: its tokens are told, its price is zero."""
    assert ticket.caller and ticket.request and ticket.reservation  # noqa: S101, PT018 - made by earlier stages
    return Entry(
        request_id=ticket.request_id,
        attempt=1,
        created_ms=ticket.started_ms,
        window=ticket.reservation.window,
        tenant=ticket.caller.tenant,
        user=ticket.caller.user,
        key=ticket.caller.key,
        tier=ticket.caller.tier.name,
        requested=ticket.request.model,
        model=hit.model,
        upstream=hit.upstream,
        size=hit.size,
        policy=hit.policy,
        reason=hit.reason,
        complexity=hit.complexity,
        price_version="cache",
        input_tokens=hit.usage.input,
        cached_input_tokens=hit.usage.cached_input,
        cache_write_tokens=hit.usage.cache_write,
        cache_write_1h_tokens=hit.usage.cache_write_1h,
        output_tokens=hit.usage.output,
        reasoning_tokens=hit.usage.reasoning,
        cost=0,
        usage_source=hit.usage.source,
        is_stream=ticket.request.is_stream,
        is_cache_hit=True,
        p_good=hit.p_good,
        category=hit.category,
    )
