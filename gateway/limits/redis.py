"""The limiter on Redis or Valkey: every decision is one Lua call over all scopes of a request."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from importlib import resources
from itertools import islice
from typing import Any

import msgspec

from gateway.errors import ConfigError
from gateway.limits.client import Arg, Script, StoreClient, StoreRefusedError
from gateway.limits.contract import Ask, Grant, LimiterUnavailableError, Refusal, SpentSource
from gateway.values import Limits, ScopeKind, Settlement, Spent, Standing

LARGEST = 2**53
"""Lua counts in doubles, which are exact up to here: 9.0 million USD in nano-dollars."""

_ROUNDS = 5
_SEEDED_AT_ONCE = 100
_SEEDED_AT_MOST = 1000

ScopeId = tuple[ScopeKind, str]


class RedisLimiter:
    """Counters that are missing, or kept by an earlier life of the store, are built from the ledger before use.

    `source` raises LimiterUnavailableError when it cannot tell what was spent. `now_ms` is for tests: without it
    the store's own clock decides.
    """

    def __init__(
        self,
        client: StoreClient,
        source: SpentSource,
        *,
        new_nonce: Callable[[], str],
        source_timeout_s: float = 2.0,
        now_ms: Callable[[], int] | None = None,
    ) -> None:
        self._client = client
        self._source = source
        self._new_nonce = new_nonce
        self._source_timeout_s = source_timeout_s
        self._now_ms = now_ms
        self._reserve = _script(client, "reserve")
        self._settle = _script(client, "settle")
        self._seed = _script(client, "seed")
        self._rebuilds: dict[str, _Rebuild] = {}

    async def reserve(self, ask: Ask) -> Grant | Refusal:
        _check(ask)
        keys = [*_tenant_keys(ask.tenant)]
        for scope in ask.scopes:
            keys += _scope_keys(ask.tenant, scope.kind, scope.id)
        args = (self._now(), _encode(ask))
        for _ in range(_ROUNDS):
            reply = await self._client.run(self._reserve, keys, args)
            if reply[0] == b"OK":
                return _grant(reply)
            if reply[0] == b"NO":
                return _refusal(ask, reply)
            await self._rebuild(ask, reply[1].decode())
        raise LimiterUnavailableError("the store keeps losing counters that were just built")

    async def settle(self, settlement: Settlement) -> None:
        tenant = settlement.tenant
        scopes: list[ScopeId] = [("tenant", tenant), ("user", settlement.user), ("key", settlement.key)]
        keys = [*_tenant_keys(tenant), *(_scope_keys(tenant, *scope)[0] for scope in scopes if scope[1])]
        args = (self._now(), _encode(settlement))
        await self._client.run(self._settle, keys, args)

    async def is_reachable(self) -> bool:
        try:
            await self._client.execute("PING")
        except LimiterUnavailableError:
            return False
        return True

    def _now(self) -> Arg:
        return "" if self._now_ms is None else self._now_ms()

    async def _rebuild(self, ask: Ask, window: str) -> None:
        """Seed the ask's scopes from the ledger: one query a tenant at a time, whoever else waits for it."""
        wanted = {(scope.kind, scope.id) for scope in ask.scopes}
        running = self._rebuilds.get(ask.tenant)
        if running is not None:
            await running.join(wanted)
            return
        rebuild = self._rebuilds[ask.tenant] = _Rebuild(wanted)
        try:
            spent = await self._spent(ask.tenant, window)
            # The tenant's other users are about to ask as well: what else the ledger knows is seeded with it.
            rebuild.wanted.update(islice(spent, _SEEDED_AT_MOST))
            while missing := rebuild.wanted - rebuild.seeded:
                rebuild.seeded |= missing
                await self._seed_scopes(ask.tenant, window, list(missing), spent)
        except LimiterUnavailableError as exc:
            rebuild.failure = exc
            raise
        finally:
            del self._rebuilds[ask.tenant]
            rebuild.done.set()

    async def _spent(self, tenant: str, window: str) -> dict[ScopeId, Spent]:
        try:
            async with asyncio.timeout(self._source_timeout_s):
                return await self._source.spent(tenant, window)
        except TimeoutError as exc:
            raise LimiterUnavailableError("the ledger did not say in time what was spent") from exc

    async def _seed_scopes(
        self, tenant: str, window: str, scopes: Sequence[ScopeId], spent: dict[ScopeId, Spent]
    ) -> None:
        nonce = self._new_nonce()
        for start in range(0, len(scopes), _SEEDED_AT_ONCE):
            some = scopes[start : start + _SEEDED_AT_ONCE]
            keys = [*_tenant_keys(tenant), *(_scope_keys(tenant, *scope)[0] for scope in some)]
            args: list[Arg] = [nonce, window]
            for scope in some:
                known = spent.get(scope, _NOTHING)
                args += (min(known.cost, LARGEST), known.requests)
            await self._client.run(self._seed, keys, args)


async def check_eviction(client: StoreClient) -> bool:
    """Raise ConfigError for a store that would push counters out to make room. False if it will not tell."""
    try:
        info = await client.execute("INFO", "memory")
    except StoreRefusedError:
        return False
    facts = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
    policy = facts.get("maxmemory_policy")
    if policy is None:
        return False
    if policy != "noeviction" and facts.get("maxmemory", "0") != "0":
        raise ConfigError(
            f"limits.url: the store evicts keys (maxmemory-policy {policy}), which would forget what was spent; "
            "set it to noeviction, and give the cache a store of its own"
        )
    return True


class _Rebuild:
    """A query to the ledger that is under way for a tenant, and the scopes to seed from what it says."""

    def __init__(self, wanted: set[ScopeId]) -> None:
        self.wanted = wanted
        self.seeded: set[ScopeId] = set()
        self.done = asyncio.Event()
        self.failure: LimiterUnavailableError | None = None

    async def join(self, wanted: set[ScopeId]) -> None:
        self.wanted |= wanted
        await self.done.wait()
        if self.failure is not None:
            raise LimiterUnavailableError(str(self.failure)) from self.failure


_NOTHING = Spent(requests=0, cost=0)
_encode = msgspec.msgpack.Encoder().encode


def _script(client: StoreClient, name: str) -> Script:
    folder = resources.files("gateway.limits") / "scripts"
    shared, own = ((folder / f"{part}.lua").read_text(encoding="utf-8") for part in ("shared", name))
    return client.script(f"{shared}\n{own}")


def _tenant_keys(tenant: str) -> tuple[str, str]:
    """The braces put all keys of a tenant into one slot of a cluster."""
    return f"holds:{{{tenant}}}", f"expiries:{{{tenant}}}"


@lru_cache(maxsize=4096)
def _scope_keys(tenant: str, kind: ScopeKind, name: str) -> tuple[str, str]:
    return f"counters:{{{tenant}}}:{kind}:{name}", f"rates:{{{tenant}}}:{kind}:{name}"


def _check(ask: Ask) -> None:
    if not ask.amounts or not ask.scopes or ask.scopes[0].kind != "tenant":
        raise ValueError("an ask names at least one amount, and the tenant's scope first")
    for scope in ask.scopes:
        _check_limits(scope.limits)
    for number in (*ask.amounts, ask.tokens):
        _check_number(number)


@lru_cache(maxsize=1024)
def _check_limits(limits: Limits) -> None:
    for ceiling in msgspec.structs.astuple(limits):
        if ceiling is not None:
            _check_number(ceiling)


def _check_number(number: int) -> None:
    if not 0 <= number <= LARGEST:
        raise ValueError(
            f"{number} is not between 0 and 2^53, the largest number that the store counts exactly"
        )


def _grant(reply: list[Any]) -> Grant:
    _, amount, epoch, window, *standing = reply
    return Grant(amount=amount, epoch=epoch.decode(), window=window.decode(), standing=_standing(standing))


def _standing(figures: list[int]) -> Standing:
    reset_ms, limit_requests, requests, limit_tokens, tokens = figures
    return Standing(
        limit_requests=None if limit_requests < 0 else limit_requests,
        remaining_requests=None if limit_requests < 0 else requests,
        reset_requests_s=0.0 if limit_requests < 0 else reset_ms / 1000,
        limit_tokens=None if limit_tokens < 0 else limit_tokens,
        remaining_tokens=None if limit_tokens < 0 else tokens,
        reset_tokens_s=0.0 if limit_tokens < 0 else reset_ms / 1000,
    )


def _refusal(ask: Ask, reply: list[Any]) -> Refusal:
    _, kind, scope, limit, wait_ms, now_ms, window, *figures = reply
    name = kind.decode()
    if name in {"quota", "budget"}:
        wait_ms = _window_end_ms(window.decode()) - now_ms
    elif name == "concurrency":
        wait_ms = 1000
    return Refusal(
        kind=name,
        scope=ask.scopes[scope].kind,
        limit=limit,
        retry_after_s=max(0, wait_ms) / 1000,
        standing=_standing(figures) if figures else Standing(),
    )


def _window_end_ms(window: str) -> int:
    year, month = int(window[:4]), int(window[5:])
    after = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    return int(after.timestamp()) * 1000
