"""Stage 3: a reply that this tenant already paid for. Only whole, clean answers are kept."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, Literal

from gateway.cache.exact import CachedReply, ExactCache
from gateway.entries import predicted
from gateway.telemetry.metrics import Metrics
from gateway.ticket import Request, Ticket
from gateway.values import Caller, Usage
from policies.contract import Candidate

_CLEAN = frozenset({"stop", "tool_calls", "function_call"})


class Lookup:
    def __init__(
        self,
        cache: ExactCache | None,
        metrics: Metrics,
        *,
        when: Literal["deterministic", "always"],
        revision: str,
    ) -> None:
        self._cache = cache
        self._metrics = metrics
        self._when = when
        self._revision = revision
        """Of everything configured that decides an answer: a new policy must not be served old routes."""

    def key(self, caller: Caller, request: Request) -> str | None:
        """None if this request is not to be answered from the cache."""
        if self._cache is None or not (request.is_deterministic or self._when == "always"):
            return None
        variant = f"{request.endpoint}|{caller.tier.name}|{self._revision}"
        if request.native is not None:
            return self._cache.key(caller.tenant, request.native, variant=variant, ignored=frozenset())
        return self._cache.key(caller.tenant, request.body, variant=variant)

    def ask(self, caller: Caller, request: Request, key: str | None) -> Awaitable[bytes | None] | None:
        """The question is on its way while the request is admitted; nobody reads the answer before it is."""
        if self._cache is None or key is None or request.skips_cache:
            return None
        return self._cache.ask(caller.tenant, key)

    async def __call__(
        self, caller: Caller, key: str | None, asked: Awaitable[bytes | None] | None
    ) -> CachedReply | None:
        if self._cache is None or key is None or asked is None:
            return None
        try:
            return self._cache.read(await asked, caller.tenant, key)
        except ConnectionError:
            self._metrics.degraded("cache")
            return None

    def keep(
        self,
        ticket: Ticket,
        key: str,
        *,
        candidate: Candidate,
        usage: Usage,
        finish_reasons: Sequence[str],
        chunks: tuple[bytes, ...],
    ) -> None:
        """Called for replies that reached their end; truncated and filtered ones are not kept."""
        caller, request, score, decision = ticket.caller, ticket.request, ticket.score, ticket.decision
        if self._cache is None or not (caller and request and score and decision):
            return
        if not finish_reasons or not all(reason in _CLEAN for reason in finish_reasons):
            return
        reply = CachedReply(
            tenant=caller.tenant,
            key=key,
            model=candidate.model,
            upstream=candidate.upstream,
            size=candidate.size,
            policy=decision.policy,
            reason=decision.reason,
            complexity=score.complexity,
            usage=usage,
            chunks=chunks,
            p_good=predicted(request, score, candidate.id),
            category=score.category,
        )
        kept = self._cache.put(reply)
        if kept is not None:
            kept.add_done_callback(self._note)

    def _note(self, kept: asyncio.Future[Any]) -> None:
        """Nobody waits for the cache; that it failed is counted."""
        if not kept.cancelled() and kept.exception() is not None:
            self._metrics.degraded("cache")
