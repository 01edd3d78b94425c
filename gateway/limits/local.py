"""The limiter for the time when the store is gone: this process alone, in memory, and never with money.

Rates and concurrency hold at this gateway's share of each limit; monthly quotas are not known here and not checked.
"""

import heapq
from collections import deque
from datetime import UTC, datetime

import msgspec

from gateway.clock import Clock
from gateway.limits.contract import Ask, Grant, LimiterUnavailableError, Refusal, RefusalKind, Scope
from gateway.values import NanoUSD, ScopeKind, Settlement, Standing

_SECONDS = 61
"""The running second and the 60 before it: no 60 s anywhere hold more than the limit."""

ScopeId = tuple[str, ScopeKind, str]


class _Taken:
    """What a scope took in the last minute, second by second, and what of it is still running."""

    __slots__ = ("requests", "running", "seconds", "tokens")

    def __init__(self) -> None:
        self.seconds: deque[list[int]] = deque()
        self.requests = 0
        self.tokens = 0
        self.running = 0

    def advance(self, second: int) -> None:
        while self.seconds and self.seconds[0][0] <= second - _SECONDS:
            _, requests, tokens = self.seconds.popleft()
            self.requests -= requests
            self.tokens -= tokens

    def add(self, second: int, requests: int, tokens: int) -> None:
        """Change a second that is still in the minute; one that has left it stays as it was."""
        slot = next((slot for slot in reversed(self.seconds) if slot[0] == second), None)
        if slot is None:
            if self.seconds and second < self.seconds[-1][0]:
                return
            slot = [second, 0, 0]
            self.seconds.append(slot)
        slot[1] += requests
        slot[2] += tokens
        self.requests += requests
        self.tokens += tokens

    def frees_at(self, second: int, excess: int, column: int) -> int:
        """The second in which `excess` has left the minute; a whole minute from now if waiting will never do."""
        for slot in self.seconds:
            excess -= slot[column]
            if excess <= 0:
                return slot[0] + _SECONDS
        return second + _SECONDS


class _Hold(msgspec.Struct, frozen=True):
    grant: Grant
    scopes: tuple[ScopeId, ...]
    second: int
    tokens: int


class LocalLimiter:
    def __init__(self, clock: Clock, *, share: float = 1.0) -> None:
        self._clock = clock
        self._share = share
        self._taken: dict[ScopeId, _Taken] = {}
        self._holds: dict[str, _Hold] = {}
        self._expiries: list[tuple[float, str]] = []
        self._swept_at = clock.monotonic()

    async def reserve(self, ask: Ask) -> Grant | Refusal:
        known = self._holds.get(ask.request_id)
        if known is not None:
            return known.grant
        amount = _affordable(ask)
        now = self._clock.monotonic()
        self._release_lapsed(now)
        taken = [self._at(ask.tenant, scope, int(now)) for scope in ask.scopes]
        refusal = self._check_rates(ask, taken, now) or self._check_concurrency(ask, taken)
        if refusal is not None:
            return msgspec.structs.replace(refusal, standing=self._standing(ask, taken, now))
        return self._grant(ask, taken, amount, now)

    async def settle(self, settlement: Settlement) -> None:
        hold = self._holds.get(settlement.request_id)
        if hold is None:
            return
        self._release(settlement.request_id, hold)
        second = int(self._clock.monotonic())
        for scope in hold.scopes:
            taken = self._taken[scope]
            taken.advance(second)
            if hold.second > second - _SECONDS:
                taken.add(hold.second, 0 if settlement.counts else -1, settlement.tokens - hold.tokens)

    async def is_reachable(self) -> bool:
        return True

    def _at(self, tenant: str, scope: Scope, second: int) -> _Taken:
        taken = self._taken.setdefault((tenant, scope.kind, scope.id), _Taken())
        taken.advance(second)
        return taken

    def _check_rates(self, ask: Ask, taken: list[_Taken], now: float) -> Refusal | None:
        """Of all rates that are used up, the one with the longest wait: only after it could the request pass."""
        refusals = []
        for scope, was in zip(ask.scopes, taken, strict=True):
            rates: tuple[tuple[RefusalKind, int | None, int, int], ...] = (
                ("requests", scope.limits.requests_per_minute, was.requests + 1, 1),
                ("tokens", scope.limits.tokens_per_minute, was.tokens + ask.tokens, 2),
            )
            for kind, whole, used, column in rates:
                limit = self._share_of(whole)
                if limit is not None and used > limit:
                    wait_s = max(0.0, was.frees_at(int(now), used - limit, column) - now)
                    refusals.append(Refusal(kind=kind, scope=scope.kind, limit=limit, retry_after_s=wait_s))
        return max(refusals, key=lambda refusal: refusal.retry_after_s, default=None)

    def _check_concurrency(self, ask: Ask, taken: list[_Taken]) -> Refusal | None:
        for scope, was in zip(ask.scopes, taken, strict=True):
            limit = self._share_of(scope.limits.concurrency)
            if limit is not None and was.running + 1 > limit:
                return Refusal(kind="concurrency", scope=scope.kind, limit=limit, retry_after_s=1.0)
        return None

    def _grant(self, ask: Ask, taken: list[_Taken], amount: NanoUSD, now: float) -> Grant:
        second = int(now)
        for was in taken:
            was.add(second, 1, ask.tokens)
            was.running += 1
        grant = Grant(
            amount=amount,
            epoch="",
            window=f"{datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC):%Y-%m}",
            standing=self._standing(ask, taken, now),
        )
        scopes = tuple((ask.tenant, scope.kind, scope.id) for scope in ask.scopes)
        self._holds[ask.request_id] = _Hold(grant, scopes, second, ask.tokens)
        heapq.heappush(self._expiries, (now + ask.ttl_s, ask.request_id))
        return grant

    def _standing(self, ask: Ask, taken: list[_Taken], now: float) -> Standing:
        requests = self._tightest(
            [scope.limits.requests_per_minute for scope in ask.scopes], [t.requests for t in taken]
        )
        tokens = self._tightest(
            [scope.limits.tokens_per_minute for scope in ask.scopes], [t.tokens for t in taken]
        )
        reset_s = int(now) + _SECONDS - now
        return Standing(
            limit_requests=requests and requests[0],
            remaining_requests=requests and requests[1],
            reset_requests_s=reset_s if requests else 0.0,
            limit_tokens=tokens and tokens[0],
            remaining_tokens=tokens and tokens[1],
            reset_tokens_s=reset_s if tokens else 0.0,
        )

    def _tightest(self, limits: list[int | None], used: list[int]) -> tuple[int, int] | None:
        """The limit, and what remains of it, of the scope that has the least left."""
        shares = [(self._share_of(limit), taken) for limit, taken in zip(limits, used, strict=True)]
        left = [(limit, limit - taken) for limit, taken in shares if limit is not None]
        return min(left, key=lambda pair: pair[1], default=None)

    def _share_of(self, limit: int | None) -> int | None:
        return limit if limit is None or limit == 0 else max(1, int(limit * self._share))

    def _release(self, request_id: str, hold: _Hold) -> None:
        del self._holds[request_id]
        for scope in hold.scopes:
            self._taken[scope].running -= 1

    def _release_lapsed(self, now: float) -> None:
        while self._expiries and self._expiries[0][0] <= now:
            _, request_id = heapq.heappop(self._expiries)
            hold = self._holds.get(request_id)
            if hold is not None:
                self._release(request_id, hold)
        if now - self._swept_at >= _SECONDS:
            self._swept_at = now
            for scope, taken in list(self._taken.items()):
                taken.advance(int(now))
                if not taken.seconds and not taken.running:
                    del self._taken[scope]


def _affordable(ask: Ask) -> NanoUSD:
    """What was spent is not known here: whoever has a budget may only have what is free."""
    if all(scope.limits.budget_per_month is None for scope in ask.scopes):
        return ask.amounts[0]
    if 0 in ask.amounts:
        return 0
    raise LimiterUnavailableError("budgets cannot be checked while the store is gone")
