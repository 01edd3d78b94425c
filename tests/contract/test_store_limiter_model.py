"""The real scripts on real servers against a plain model of what they promise, under time that moves both ways."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from gateway.clock import ManualClock, SystemClock
from gateway.limits.client import StoreClient
from gateway.limits.contract import Ask, Grant, Refusal, Scope
from gateway.limits.redis import RedisLimiter
from gateway.values import Limits, ScopeKind, Spent
from tests.fixtures.asking import settlement
from tests.fixtures.stores import StoreServer

ScopeId = tuple[ScopeKind, str]

LIMITS: dict[ScopeId, Limits] = {
    ("tenant", "acme"): Limits(
        requests_per_minute=6,
        tokens_per_minute=400,
        concurrency=5,
        requests_per_month=9,
        budget_per_month=1000,
    ),
    ("user", "ann"): Limits(requests_per_minute=3, budget_per_month=600),
    ("user", "bob"): Limits(tokens_per_minute=250, concurrency=2),
    ("key", "k1"): Limits(requests_per_month=4),
    ("key", "k2"): Limits(),
}


class Minute:
    """Every second that was counted, and no cleverness: sums are taken anew each time."""

    def __init__(self) -> None:
        self.seconds: dict[int, list[int]] = {}
        self.last: int | None = None

    def at(self, now: int) -> "Minute":
        seen = Minute()
        if self.last is None or self.last <= now:
            seen.last = now
        elif self.last <= now + 60:
            seen.last = self.last
        else:
            seen.last = now
            kept = [slot for second, slot in self.seconds.items() if second > self.last - 61]
            seen.seconds[now] = [sum(column) for column in zip(*kept, strict=True)]
            return seen
        seen.seconds = {second: slot[:] for second, slot in self.seconds.items() if second > seen.last - 61}
        return seen

    def total(self, column: int) -> int:
        return sum(slot[column] for slot in self.seconds.values())

    def add(self, second: int, requests: int, tokens: int) -> None:
        slot = self.seconds.setdefault(second, [0, 0])
        slot[0] = max(0, slot[0] + requests)
        slot[1] = max(0, slot[1] + tokens)


class Row:
    def __init__(self, ask: Ask, grant: Grant, expires_ms: int, seconds: dict[ScopeId, int]) -> None:
        self.ask = ask
        self.grant = grant
        self.expires_ms = expires_ms
        self.seconds = seconds
        self.scopes: list[ScopeId] = [(scope.kind, scope.id) for scope in ask.scopes]
        self.is_held = True


class Counters:
    def __init__(self, window: str) -> None:
        self.window = window
        self.settled = self.held = self.requests = self.running = 0


class LimiterMachine(RuleBasedStateMachine):
    server: StoreServer

    def __init__(self) -> None:
        super().__init__()
        self.server.admin.flushall()
        self.runner = asyncio.Runner()
        self.clock = ManualClock()
        self.ledger: dict[tuple[str, ScopeId], list[int]] = {}
        """By window and scope: cost and requests that were settled."""
        self.client = StoreClient(self.server.url, clock=SystemClock(), timeout_s=5)
        self.limiter = RedisLimiter(
            self.client, self, new_nonce=iter(map(str, range(10**6))).__next__, now_ms=self.clock.now_ms
        )
        self.runner.run(self.client.__aenter__())
        self.made = 0
        self.beyond_control = 0
        """What may be charged though it is held no longer: the store lost the hold, or it lapsed."""
        self.forget()

    def teardown(self) -> None:
        self.runner.run(self.client.__aexit__(None, None, None))
        self.runner.close()

    async def spent(self, tenant: str, window: str) -> dict[ScopeId, Spent]:
        return {
            scope: Spent(cost=cost, requests=requests)
            for (month, scope), (cost, requests) in self.ledger.items()
            if month == window
        }

    def forget(self) -> None:
        self.counters: dict[ScopeId, Counters] = {}
        self.minutes: dict[ScopeId, Minute] = {scope: Minute() for scope in LIMITS}
        self.rows: dict[str, Row] = {}
        self.lost: dict[str, Row] = {}

    @initialize()
    def start(self) -> None:
        self.clock.advance(20 * 86400)

    @rule(
        seconds=st.sampled_from(
            [0.2, 0.9, 5, 31, 60, 61, 400, 3 * 86400, 20 * 86400, -0.5, -40, -3600, -20 * 86400]
        )
    )
    def move_the_clock(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(
        user=st.sampled_from(["ann", "bob"]),
        key=st.sampled_from(["k1", "k2"]),
        dearest=st.integers(0, 300),
        tokens=st.integers(0, 90),
        ttl_s=st.sampled_from([1, 30, 3000]),
    )
    def reserve(self, user: str, key: str, dearest: int, tokens: int, ttl_s: int) -> None:
        self.made += 1
        ids: list[ScopeId] = [("tenant", "acme"), ("user", user), ("key", key)]
        amounts = (dearest, dearest // 3) if dearest % 2 else (dearest, 0)
        ask = Ask(
            request_id=f"r{self.made}",
            tenant="acme",
            scopes=tuple(Scope(kind=kind, id=name, limits=LIMITS[kind, name]) for kind, name in ids),
            amounts=amounts,
            tokens=tokens,
            ttl_s=ttl_s,
        )

        answer = self.runner.run(self.limiter.reserve(ask))

        self.lapse()
        expected = self.expect(ask, ids)
        if isinstance(expected, str):
            assert isinstance(answer, Refusal), f"wanted {expected}, got {answer}"
            assert answer.kind == expected
        else:
            assert isinstance(answer, Grant), answer
            assert (answer.amount, answer.window) == expected
            self.take(ask, ids, answer)

    @rule(which=st.integers(0, 1000))
    def reserve_again(self, which: int) -> None:
        held = [row for row in self.rows.values() if row.is_held]
        if held:
            row = held[which % len(held)]
            assert self.runner.run(self.limiter.reserve(row.ask)) == row.grant

    @rule(
        which=st.integers(0, 1000), share=st.integers(0, 4), tokens=st.integers(0, 300), counts=st.booleans()
    )
    def settle(self, which: int, share: int, tokens: int, counts: bool) -> None:
        known = [*self.rows, *self.lost]
        if not known:
            return
        request_id = known[which % len(known)]
        is_lost = request_id in self.lost
        row = self.lost.pop(request_id) if is_lost else self.rows.pop(request_id)
        cost = row.grant.amount * share // 4
        user, key = row.scopes[1][1], row.scopes[2][1]
        how: dict[str, Any] = {"cost": cost, "tokens": tokens, "counts": counts}
        message = settlement(request_id, row.grant, **how)
        message = type(message)(
            **{**{f: getattr(message, f) for f in message.__struct_fields__}, "user": user, "key": key}
        )

        for _ in range(2):
            self.runner.run(self.limiter.settle(message))

        if is_lost:
            self.charge_lost(row, cost, counts)
        else:
            self.close(row, cost, tokens, counts)
        for scope in row.scopes:
            entry = self.ledger.setdefault((row.grant.window, scope), [0, 0])
            entry[0] += cost
            entry[1] += int(counts)

    @rule()
    def lose_everything(self) -> None:
        """Holds that were open are in no ledger yet."""
        self.server.admin.flushall()
        self.beyond_control += sum(row.grant.amount for row in self.rows.values())
        lost = self.rows | self.lost
        self.forget()
        self.lost = lost

    @invariant()
    def the_store_agrees(self) -> None:
        for scope, counters in self.counters.items():
            text = self.server.admin.get(f"counters:{{acme}}:{scope[0]}:{scope[1]}")
            assert isinstance(text, bytes)
            _, window, *numbers = text.decode().split()
            expected = (counters.settled, counters.held, counters.requests, counters.running)
            assert (window, tuple(map(int, numbers))) == (counters.window, expected), scope

    @invariant()
    def held_is_the_sum_of_the_rows(self) -> None:
        for scope, counters in self.counters.items():
            held = [row for row in self.rows.values() if row.is_held and scope in row.scopes]
            assert counters.running == len(held)
            assert counters.held == sum(
                row.grant.amount for row in held if row.grant.window == counters.window
            )

    @invariant()
    def no_budget_is_overdrawn(self) -> None:
        for scope, counters in self.counters.items():
            budget = LIMITS[scope].budget_per_month
            assert budget is None or counters.settled + counters.held <= budget + self.beyond_control

    def lapse(self) -> None:
        """In the order and up to the number in which the script looks at rows; lapsed ones are remembered two days."""
        due = sorted(
            (row.expires_ms, request_id)
            for request_id, row in self.rows.items()
            if row.expires_ms <= self.clock.now_ms()
        )
        for _, request_id in due[:20]:
            row = self.rows[request_id]
            if not row.is_held:
                del self.rows[request_id]
                continue
            row.is_held = False
            self.beyond_control += row.grant.amount
            row.expires_ms = self.clock.now_ms() + 2 * 86400 * 1000
            for scope in row.scopes:
                counters = self.counters[scope]
                counters.running -= 1
                if counters.window == row.grant.window:
                    counters.held -= row.grant.amount

    def expect(self, ask: Ask, ids: list[ScopeId]) -> str | tuple[int, str]:
        window = max([self.month(), *(self.counters[s].window for s in ids if s in self.counters)])
        for scope in self.missing(ids):
            self.counters[scope] = Counters(window)
            cost, requests = self.ledger.get((window, scope), [0, 0])
            self.counters[scope].settled, self.counters[scope].requests = cost, requests
        now = {scope: self.rolled(scope, window) for scope in ids}
        minutes = {scope: self.minutes[scope].at(self.clock.now_ms() // 1000) for scope in ids}
        if any(_above(now[s].requests + 1, LIMITS[s].requests_per_month) for s in ids):
            return "quota"
        fits = [a for a in ask.amounts if a == 0 or not any(self.is_short(s, now[s], a) for s in ids)]
        if not fits:
            return "budget"
        waits = []
        for scope in ids:
            limits, minute = LIMITS[scope], minutes[scope]
            for kind, column, used, limit in (
                ("requests", 0, minute.total(0) + 1, limits.requests_per_minute),
                ("tokens", 1, minute.total(1) + ask.tokens, limits.tokens_per_minute),
            ):
                if limit is not None and used > limit:
                    waits.append((-_free_from(minute, column, used - limit), len(waits), kind))
        if waits:
            return min(waits)[2]
        if any(_above(now[s].running + 1, LIMITS[s].concurrency) for s in ids):
            return "concurrency"
        return fits[0], window

    def take(self, ask: Ask, ids: list[ScopeId], grant: Grant) -> None:
        seconds = {}
        for scope in ids:
            counters = self.counters[scope] = self.rolled(scope, grant.window)
            counters.held += grant.amount
            counters.requests += 1
            counters.running += 1
            if LIMITS[scope].requests_per_minute is not None or LIMITS[scope].tokens_per_minute is not None:
                minute = self.minutes[scope] = self.minutes[scope].at(self.clock.now_ms() // 1000)
                assert minute.last is not None
                minute.add(minute.last, 1, ask.tokens)
                seconds[scope] = minute.last
        self.rows[ask.request_id] = Row(ask, grant, self.clock.now_ms() + ask.ttl_s * 1000, seconds)

    def close(self, row: Row, cost: int, tokens: int, counts: bool) -> None:
        for scope in row.scopes:
            counters = self.counters[scope]
            is_now = counters.window == row.grant.window
            if row.is_held:
                counters.running -= 1
                counters.held -= row.grant.amount if is_now else 0
            if is_now:
                counters.settled += cost
                counters.requests -= 0 if counts else 1
            second = row.seconds.get(scope)
            if second is not None and (tokens != row.ask.tokens or not counts):
                minute = self.minutes[scope].at(self.clock.now_ms() // 1000)
                if minute.last is not None and minute.last - 61 < second <= minute.last:
                    minute.add(second, 0 if counts else -1, tokens - row.ask.tokens)
                    self.minutes[scope] = minute

    def charge_lost(self, row: Row, cost: int, counts: bool) -> None:
        for scope in row.scopes:
            counters = self.counters.get(scope)
            if ("tenant", "acme") in self.counters and counters and counters.window == row.grant.window:
                counters.settled += cost
                counters.requests += int(counts)

    def missing(self, ids: list[ScopeId]) -> list[ScopeId]:
        """One that is missing has the ledger asked, and then everything that the ledger knows is there."""
        if all(scope in self.counters for scope in ids):
            return []
        window = max([self.month(), *(self.counters[s].window for s in ids if s in self.counters)])
        told = [scope for month, scope in self.ledger if month == window]
        return [scope for scope in {*ids, *told} if scope not in self.counters]

    def rolled(self, scope: ScopeId, window: str) -> Counters:
        counters = self.counters[scope]
        if counters.window == window:
            return counters
        fresh = Counters(window)
        fresh.running = counters.running
        return fresh

    def is_short(self, scope: ScopeId, counters: Counters, amount: int) -> bool:
        return _above(counters.settled + counters.held + amount, LIMITS[scope].budget_per_month)

    def month(self) -> str:
        return datetime.fromtimestamp(self.clock.now_ms() / 1000, UTC).strftime("%Y-%m")


def _above(number: int, limit: int | None) -> bool:
    return limit is not None and number > limit


def _free_from(minute: Minute, column: int, excess: int) -> int:
    assert minute.last is not None
    for second in sorted(minute.seconds):
        excess -= minute.seconds[second][column]
        if excess <= 0:
            return second
    return minute.last


@pytest.mark.fault("M1")
@pytest.mark.fault("M28")
def test_any_course_of_events_leaves_the_store_as_the_model_says(store: StoreServer) -> None:
    class Machine(LimiterMachine):
        server = store

    run_state_machine_as_test(  # type: ignore[no-untyped-call]  # hypothesis leaves it bare
        Machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
