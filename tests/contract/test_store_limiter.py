"""What only a limiter with a store can promise: money, monthly quotas, and that nothing is forgotten. On both servers."""

import asyncio
from collections import Counter

import msgspec
import pytest

from gateway.clock import ManualClock
from gateway.limits.contract import Ask, Grant, LimiterUnavailableError
from gateway.limits.redis import LARGEST, RedisLimiter
from gateway.values import Limits, Settlement, Spent
from tests.fixtures.asking import ask, granted, refused, settlement
from tests.fixtures.stores import LedgerSays, StoreServer

DAY_S = 86400


def budget(nano: int) -> Limits:
    return Limits(budget_per_month=nano)


@pytest.mark.fault("M1")
async def test_of_200_requests_at_once_one_passes_a_budget_with_room_for_one(
    store_limiter: RedisLimiter,
) -> None:
    asks = [ask(f"r{i}", tenant=budget(100), amounts=(60,)) for i in range(200)]

    answers = await asyncio.gather(*map(store_limiter.reserve, asks))

    assert Counter(type(answer).__name__ for answer in answers) == {"Grant": 1, "Refusal": 199}


async def test_the_dearest_amount_that_fits_every_budget_is_granted(store_limiter: RedisLimiter) -> None:
    what = ask("r0", tenant=budget(1000), user=budget(50), amounts=(80, 60, 40, 20))

    assert (await granted(store_limiter, what)).amount == 40


async def test_what_is_held_is_not_there_for_others(store_limiter: RedisLimiter) -> None:
    await granted(store_limiter, ask("r0", key=budget(100), amounts=(70,)))

    refusal = await refused(store_limiter, ask("r1", key=budget(100), amounts=(70, 31)))

    assert (refusal.kind, refusal.scope, refusal.limit) == ("budget", "key", 100)


async def test_what_is_free_passes_a_budget_that_is_used_up(store_limiter: RedisLimiter) -> None:
    assert (await granted(store_limiter, ask("r0", tenant=budget(0), amounts=(10, 0)))).amount == 0


async def test_a_settled_cost_takes_the_place_of_what_was_held(store_limiter: RedisLimiter) -> None:
    first = await granted(store_limiter, ask("r0", tenant=budget(100), amounts=(100,)))

    await store_limiter.settle(settlement("r0", first, cost=30))
    await store_limiter.settle(settlement("r0", first, cost=30))

    await granted(store_limiter, ask("r1", tenant=budget(100), amounts=(70,)))
    await refused(store_limiter, ask("r2", tenant=budget(100), amounts=(1,)))


async def test_a_cost_beyond_what_was_held_is_charged_whole(store_limiter: RedisLimiter) -> None:
    first = await granted(store_limiter, ask("r0", tenant=budget(100), amounts=(10,)))

    await store_limiter.settle(settlement("r0", first, cost=90))

    await refused(store_limiter, ask("r1", tenant=budget(100), amounts=(11,)))


async def test_a_monthly_quota_counts_what_was_granted(
    store_limiter: RedisLimiter, clock: ManualClock
) -> None:
    limits = Limits(requests_per_month=2)
    first = await granted(store_limiter, ask("r0", tenant=limits))
    await granted(store_limiter, ask("r1", tenant=limits))

    refusal = await refused(store_limiter, ask("r2", tenant=limits))

    assert (refusal.kind, refusal.limit) == ("quota", 2)
    clock.advance(refusal.retry_after_s - 0.001)
    await refused(store_limiter, ask("r2", tenant=limits))
    await store_limiter.settle(settlement("r0", first, counts=False))
    await granted(store_limiter, ask("r2", tenant=limits))


@pytest.mark.fault("M28")
async def test_a_new_month_starts_at_zero_without_asking_the_ledger(
    store_limiter: RedisLimiter, clock: ManualClock, ledger_says: LedgerSays
) -> None:
    first = await granted(store_limiter, ask("r0", tenant=budget(100), amounts=(100,)))
    await store_limiter.settle(settlement("r0", first, cost=100))
    refusal = await refused(store_limiter, ask("r1", tenant=budget(100), amounts=(1,)))

    clock.advance(refusal.retry_after_s)

    second = await granted(store_limiter, ask("r1", tenant=budget(100), amounts=(100,)))
    assert second.window > first.window
    assert len(ledger_says.asked) == 1


@pytest.mark.fault("M28")
async def test_a_hold_of_last_month_is_released_and_not_charged_to_this_one(
    store_limiter: RedisLimiter, clock: ManualClock
) -> None:
    limits = Limits(budget_per_month=100, concurrency=2)
    old = await granted(store_limiter, ask("r0", tenant=limits, amounts=(100,), ttl_s=60 * DAY_S))
    clock.advance(31 * DAY_S)
    await granted(store_limiter, ask("r1", tenant=limits, amounts=(60,)))
    await refused(store_limiter, ask("r2", tenant=limits, amounts=(0,)))

    await store_limiter.settle(settlement("r0", old, cost=100))

    await granted(store_limiter, ask("r2", tenant=limits, amounts=(40,)))


@pytest.mark.fault("M28")
async def test_a_clock_that_jumps_back_opens_neither_month_nor_minute(
    store_limiter: RedisLimiter, clock: ManualClock
) -> None:
    limits = Limits(budget_per_month=100, requests_per_minute=2)
    clock.advance(31 * DAY_S)
    first = await granted(store_limiter, ask("r0", tenant=limits, amounts=(100,)))

    clock.advance(-31 * DAY_S)

    assert (await refused(store_limiter, ask("r1", tenant=limits, amounts=(1,)))).kind == "budget"
    free = await granted(store_limiter, ask("r2", tenant=limits, amounts=(0,)))
    assert free.window == first.window
    assert (await refused(store_limiter, ask("r3", tenant=limits, amounts=(0,)))).kind == "requests"
    clock.advance(61)
    await granted(store_limiter, ask("r3", tenant=limits, amounts=(0,)))


@pytest.mark.fault("M21")
async def test_a_lapsed_hold_gives_its_money_back_and_a_late_charge_still_counts_once(
    store_limiter: RedisLimiter, clock: ManualClock
) -> None:
    first = await granted(store_limiter, ask("r0", tenant=budget(100), amounts=(100,), ttl_s=30))
    clock.advance(30)
    await granted(store_limiter, ask("r1", tenant=budget(100), amounts=(20,)))

    for _ in range(3):
        await store_limiter.settle(settlement("r0", first, cost=50))

    await refused(store_limiter, ask("r2", tenant=budget(100), amounts=(31,)))
    await granted(store_limiter, ask("r2", tenant=budget(100), amounts=(30,)))


async def test_a_thousand_lapsed_holds_are_released_bit_by_bit(
    store_limiter: RedisLimiter, clock: ManualClock, store: StoreServer
) -> None:
    limits = Limits(concurrency=1000)
    await asyncio.gather(*(store_limiter.reserve(ask(f"r{i}", tenant=limits, ttl_s=1)) for i in range(1000)))
    clock.advance(1)

    for i in range(60):
        await store_limiter.reserve(ask(f"s{i}"))

    assert _counters(store, "tenant:acme")["running"] == 60


@pytest.mark.fault("M2")
async def test_counters_that_are_missing_are_built_from_the_ledger_once(
    store_limiter: RedisLimiter, store: StoreServer, ledger_says: LedgerSays
) -> None:
    limits = Limits(budget_per_month=100, requests_per_month=1000)
    await granted(store_limiter, ask("r0", tenant=limits, amounts=(1,)))
    ledger_says.spent_by = {("tenant", "acme"): Spent(requests=7, cost=95)}

    store.admin.flushall()
    answers = await asyncio.gather(
        *(
            store_limiter.reserve(ask(f"s{i}", tenant=limits, amounts=(2,), user_id=f"u{i}"))
            for i in range(50)
        )
    )

    assert sum(answer.amount for answer in answers if isinstance(answer, Grant)) == 4
    assert len(ledger_says.asked) == 2
    assert _counters(store, "tenant:acme")["requests"] == 9


@pytest.mark.fault("M2")
async def test_a_user_and_a_key_seen_for_the_first_time_are_looked_up(
    store_limiter: RedisLimiter, ledger_says: LedgerSays
) -> None:
    await granted(store_limiter, ask("r0", amounts=(1,)))
    ledger_says.spent_by = {("user", "bob"): Spent(requests=1, cost=60)}

    refusal = await refused(store_limiter, ask("r1", user_id="bob", user=budget(100), amounts=(41,)))

    assert refusal.scope == "user"
    await granted(store_limiter, ask("r1", user_id="bob", user=budget(100), amounts=(40,)))
    assert len(ledger_says.asked) == 2


@pytest.mark.fault("M2")
async def test_one_answer_of_the_ledger_serves_all_users_that_it_names(
    store_limiter: RedisLimiter, ledger_says: LedgerSays
) -> None:
    ledger_says.spent_by = {("user", f"u{i}"): Spent(requests=1, cost=i) for i in range(300)}
    ledger_says.spent_by[("key", "k1")] = Spent(requests=1, cost=0)

    for i in (0, 150, 299):
        limits = budget(i + 10)
        await refused(store_limiter, ask(f"r{i}", user_id=f"u{i}", user=limits, amounts=(11,)))

    assert len(ledger_says.asked) == 1


@pytest.mark.fault("M2")
async def test_without_the_ledger_nothing_is_granted_on_lost_counters(
    store_limiter: RedisLimiter, ledger_says: LedgerSays
) -> None:
    ledger_says.failure = LimiterUnavailableError("the database is gone")

    for i in range(2):
        with pytest.raises(LimiterUnavailableError):
            await store_limiter.reserve(ask(f"r{i}", tenant=budget(100), amounts=(1,)))

    ledger_says.failure = None
    await granted(store_limiter, ask("r2", tenant=budget(100), amounts=(1,)))


@pytest.mark.fault("M18")
async def test_a_hold_that_was_lost_is_charged_unless_the_ledger_had_it(
    store_limiter: RedisLimiter, store: StoreServer, ledger_says: LedgerSays
) -> None:
    limits = Limits(budget_per_month=100)
    lost = [await granted(store_limiter, ask(f"r{i}", key=limits, amounts=(10,))) for i in range(2)]
    store.admin.flushall()
    ledger_says.spent_by = {(kind, name): Spent(requests=1, cost=10) for kind, name in SCOPES}
    await granted(store_limiter, ask("r2", key=limits, amounts=(0,)))

    await store_limiter.settle(settlement("r0", lost[0], cost=10, is_posted=True))
    for _ in range(3):
        await store_limiter.settle(settlement("r1", lost[1], cost=7))

    for kind, name in SCOPES:
        assert _counters(store, f"{kind}:{name}")["settled"] == 17
        assert _counters(store, f"{kind}:{name}")["requests"] == 3


@pytest.mark.fault("M27")
@pytest.mark.parametrize("limit", [2**31 - 1, 2**31, 2**53 - 1, 2**53])
async def test_money_is_exact_up_to_the_largest_limit(store_limiter: RedisLimiter, limit: int) -> None:
    first = await granted(store_limiter, ask("r0", tenant=budget(limit), amounts=(limit - 1,)))
    await refused(store_limiter, ask("r1", tenant=budget(limit), amounts=(2,)))
    await store_limiter.settle(settlement("r0", first, cost=limit - 1))

    assert (await granted(store_limiter, ask("r1", tenant=budget(limit), amounts=(2, 1)))).amount == 1
    assert (await refused(store_limiter, ask("r2", tenant=budget(limit), amounts=(1,)))).limit == limit


@pytest.mark.fault("M27")
@pytest.mark.parametrize(
    "what",
    [
        ask("r0", tenant=budget(LARGEST + 1)),
        ask("r0", user=Limits(tokens_per_minute=LARGEST + 1)),
        ask("r0", key=Limits(requests_per_minute=-1)),
        ask("r0", amounts=(LARGEST + 1,)),
        ask("r0", tokens=-1),
        ask("r0", amounts=()),
        msgspec.structs.replace(ask("r0"), scopes=ask("r0").scopes[1:]),
    ],
)
async def test_numbers_that_the_store_cannot_count_are_refused(
    store_limiter: RedisLimiter, what: Ask
) -> None:
    with pytest.raises(ValueError, match=r"2\^53|scope first"):
        await store_limiter.reserve(what)


async def test_no_key_lives_for_ever(
    store_limiter: RedisLimiter, store: StoreServer, clock: ManualClock
) -> None:
    limits = Limits(requests_per_minute=1000, tokens_per_minute=10_000)
    for i in range(5):
        grant = await granted(store_limiter, ask(f"r{i}", tenant=limits, key=limits, tokens=1, ttl_s=1))
        await store_limiter.settle(settlement(f"r{i}", grant, tokens=2))
        clock.advance(0.5)
    await granted(store_limiter, ask("lapses", ttl_s=1))
    clock.advance(31 * DAY_S)
    await granted(store_limiter, ask("next-month"))
    await store_limiter.settle(_foreign("lost"))

    lives = {key: store.admin.ttl(key) for key in store.admin.scan_iter()}

    assert len(lives) == 7
    assert all(
        0 < life <= 180 if key.startswith(b"rates") else life > 70 * DAY_S for key, life in lives.items()
    )


async def test_all_keys_of_a_tenant_are_in_one_slot(store_limiter: RedisLimiter, store: StoreServer) -> None:
    await granted(store_limiter, ask("r0", tenant=Limits(requests_per_minute=1)))

    assert all(b"{acme}" in key for key in store.admin.scan_iter())


async def test_rows_and_counters_agree_and_nothing_is_left_at_rest(
    store_limiter: RedisLimiter, store: StoreServer
) -> None:
    limits = Limits(budget_per_month=10_000, concurrency=100)

    async def one(i: int) -> None:
        grant = await granted(store_limiter, ask(f"r{i}", tenant=limits, amounts=(i,)))
        await store_limiter.settle(settlement(f"r{i}", grant, cost=i // 2))

    await asyncio.gather(*(one(i) for i in range(100)))

    counters = _counters(store, "tenant:acme")
    assert (counters["held"], counters["running"]) == (0, 0)
    assert (counters["settled"], counters["requests"]) == (sum(i // 2 for i in range(100)), 100)
    assert store.admin.hkeys("holds:{acme}") == [b""]
    assert store.admin.zrange("expiries:{acme}", 0, -1) == [b""]


SCOPES = (("tenant", "acme"), ("user", "ann"), ("key", "k1"))


def _counters(store: StoreServer, scope: str) -> dict[str, int]:
    text = store.admin.get(f"counters:{{acme}}:{scope}")
    assert isinstance(text, bytes)
    return dict(zip(("settled", "held", "requests", "running"), map(int, text.split()[2:]), strict=True))


def _foreign(request_id: str) -> Settlement:
    grant = Grant(amount=0, epoch="another.life", window="2026-10")
    return settlement(request_id, grant, cost=1)
