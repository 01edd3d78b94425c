"""The limiter as the stages see it: one atomic step that reserves, one that settles."""

from typing import Literal, Protocol

import msgspec

from gateway.values import Limits, NanoUSD, ScopeKind, Settlement, Spent, Standing

RefusalKind = Literal["requests", "tokens", "concurrency", "quota", "budget"]


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    kind: ScopeKind
    id: str
    limits: Limits


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What a request wants held. All scopes belong to one tenant and are granted or refused together."""

    request_id: str
    tenant: str
    scopes: tuple[Scope, ...]
    amounts: tuple[NanoUSD, ...]
    """Worst costs that would do, dearest first: the first that fits every budget is granted. 0 always fits."""
    tokens: int
    """Counted against tokens per minute until the true count is known."""
    ttl_s: int
    """A hold that nobody settles is released after this."""


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    amount: NanoUSD
    epoch: str
    """Which life of the counters granted it; empty when granted without the store."""
    window: str
    """`2026-11`, UTC, by the store's clock."""
    standing: Standing = Standing()


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why nothing was held. A refusal changes no counter."""

    kind: RefusalKind
    scope: ScopeKind
    limit: int
    retry_after_s: float
    """Seconds until the same request could pass; for quota and budget, until the window ends."""
    standing: Standing = Standing()
    """Not told of quota and budget."""


class SpentSource(Protocol):
    async def spent(self, tenant: str, window: str) -> dict[tuple[ScopeKind, str], Spent]:
        """Sums of the window for the tenant, each of its users and each of its keys; absent means zero."""
        ...


class LimiterUnavailableError(Exception):
    """The store did not answer in time; nothing is known to be held."""


class Limiter(Protocol):
    async def reserve(self, ask: Ask) -> Grant | Refusal:
        """Atomic over all scopes; the same request id asked twice is granted once. Raises LimiterUnavailableError."""
        ...

    async def settle(self, settlement: Settlement) -> None:
        """Release the hold and charge the cost, once however often it is called. Raises LimiterUnavailableError."""
        ...

    async def is_reachable(self) -> bool: ...
