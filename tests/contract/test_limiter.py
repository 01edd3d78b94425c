"""What every limiter keeps to: the one on Valkey, the one on Redis, and the process's own."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from gateway.clock import ManualClock
from gateway.limits.contract import Grant, Limiter
from gateway.limits.local import LocalLimiter
from gateway.values import Limits, Standing
from tests.fixtures.asking import ask, granted, refused, settlement
from tests.fixtures.stores import BINARIES, LedgerSays, StoreServer, limiter_on

TEN_A_MINUTE = Limits(requests_per_minute=10)


@pytest.fixture(params=[*BINARIES, "local"])
async def limiter(
    request: pytest.FixtureRequest, clock: ManualClock, ledger_says: LedgerSays
) -> AsyncIterator[Limiter]:
    if request.param == "local":
        yield LocalLimiter(clock)
        return
    server: StoreServer = request.getfixturevalue(f"{request.param}_server")
    server.admin.flushall()
    async with limiter_on(server.url, ledger_says, now_ms=clock.now_ms) as store_limiter:
        yield store_limiter


async def test_of_200_requests_at_once_exactly_ten_pass_a_limit_of_ten_a_minute(limiter: Limiter) -> None:
    asks = [ask(f"r{i}", user=TEN_A_MINUTE) for i in range(200)]

    answers = await asyncio.gather(*map(limiter.reserve, asks))

    assert Counter(type(answer).__name__ for answer in answers) == {"Grant": 10, "Refusal": 190}


async def test_no_sixty_seconds_hold_more_than_the_limit(limiter: Limiter, clock: ManualClock) -> None:
    passed = []

    for i in range(400):
        clock.advance(0.7 if i % 40 else 59.7)
        if isinstance(await limiter.reserve(ask(f"r{i}", tenant=TEN_A_MINUTE)), Grant):
            passed.append(clock.now_ms())

    assert len(passed) > 40
    assert all(later - earlier > 60_000 for earlier, later in zip(passed, passed[10:], strict=False))


@pytest.mark.parametrize("limits", [TEN_A_MINUTE, Limits(tokens_per_minute=1000)], ids=["requests", "tokens"])
async def test_after_retry_after_the_request_passes_and_not_before(
    limiter: Limiter, clock: ManualClock, limits: Limits
) -> None:
    for i in range(10):
        await granted(limiter, ask(f"r{i}", key=limits, tokens=100))
        clock.advance(1.3)

    refusal = await refused(limiter, ask("r10", key=limits, tokens=100))

    clock.advance(refusal.retry_after_s - 0.001)
    await refused(limiter, ask("r10", key=limits, tokens=100))
    clock.advance(0.001)
    await granted(limiter, ask("r10", key=limits, tokens=100))


async def test_the_longest_wait_of_all_scopes_is_told(limiter: Limiter, clock: ManualClock) -> None:
    one, two = Limits(requests_per_minute=1), Limits(tokens_per_minute=5)
    await granted(limiter, ask("r0", key=one))
    clock.advance(30)
    await granted(limiter, ask("r1", key_id="k2", user=two, tokens=5))

    refusal = await refused(limiter, ask("r2", key=one, user=two, tokens=1))

    assert (refusal.kind, refusal.scope, refusal.limit) == ("tokens", "user", 5)
    assert refusal.retry_after_s == pytest.approx(61)


async def test_what_can_never_pass_is_told_to_wait_a_whole_minute(limiter: Limiter) -> None:
    refusal = await refused(limiter, ask("r0", tenant=Limits(tokens_per_minute=100), tokens=101))

    assert 60 <= refusal.retry_after_s <= 61


async def test_the_same_request_is_granted_once(limiter: Limiter) -> None:
    limits = Limits(requests_per_minute=1, concurrency=1)

    first = await limiter.reserve(ask("r0", tenant=limits))
    again = await limiter.reserve(ask("r0", tenant=limits))

    assert isinstance(first, Grant)
    assert again == first


async def test_a_refusal_changes_no_counter(limiter: Limiter) -> None:
    tight, wide = Limits(requests_per_minute=2, concurrency=2), Limits(concurrency=1)
    first = await granted(limiter, ask("r0", tenant=tight, key=wide))
    for i in range(5):
        assert (await refused(limiter, ask(f"no{i}", tenant=tight, key=wide))).scope == "key"

    await limiter.settle(settlement("r0", first))

    second = await granted(limiter, ask("r1", tenant=tight, key=wide))
    assert second.standing.remaining_requests == 0


async def test_a_place_is_free_again_once_its_request_is_settled(limiter: Limiter) -> None:
    limits = Limits(concurrency=1)
    first = await granted(limiter, ask("r0", user=limits))
    assert (await refused(limiter, ask("r1", user=limits))).kind == "concurrency"

    await limiter.settle(settlement("r0", first))
    await limiter.settle(settlement("r0", first))

    await granted(limiter, ask("r2", user=limits))
    await refused(limiter, ask("r3", user=limits))


@pytest.mark.fault("M21")
async def test_a_place_that_nobody_gives_back_is_free_after_its_time(
    limiter: Limiter, clock: ManualClock
) -> None:
    limits = Limits(concurrency=1)
    await granted(limiter, ask("r0", tenant=limits, ttl_s=30))

    clock.advance(29.9)
    await refused(limiter, ask("r1", tenant=limits))
    clock.advance(0.1)

    await granted(limiter, ask("r1", tenant=limits))


async def test_tokens_are_corrected_in_the_second_in_which_they_were_taken(
    limiter: Limiter, clock: ManualClock
) -> None:
    limits = Limits(tokens_per_minute=1000)
    first = await granted(limiter, ask("r0", tenant=limits, tokens=900))
    clock.advance(10)

    await limiter.settle(settlement("r0", first, tokens=100))

    second = await granted(limiter, ask("r1", tenant=limits, tokens=900))
    assert second.standing.remaining_tokens == 0
    clock.advance(51)
    assert (await granted(limiter, ask("r2", tenant=limits, tokens=50))).standing.remaining_tokens == 50


async def test_tokens_settled_after_their_minute_count_no_more(limiter: Limiter, clock: ManualClock) -> None:
    limits = Limits(tokens_per_minute=1000)
    first = await granted(limiter, ask("r0", tenant=limits, tokens=10))
    clock.advance(61)

    await limiter.settle(settlement("r0", first, tokens=5000))

    assert (await granted(limiter, ask("r1", tenant=limits, tokens=1000))).standing.remaining_tokens == 0


async def test_a_request_that_was_not_served_does_not_count(limiter: Limiter) -> None:
    limits = Limits(requests_per_minute=1, tokens_per_minute=10)
    first = await granted(limiter, ask("r0", tenant=limits, tokens=10))

    await limiter.settle(settlement("r0", first, counts=False))

    await granted(limiter, ask("r1", tenant=limits, tokens=10))


async def test_the_tightest_scope_is_reported(limiter: Limiter, clock: ManualClock) -> None:
    grant = await granted(
        limiter,
        ask(
            "r0",
            tenant=Limits(requests_per_minute=100, tokens_per_minute=50),
            key=Limits(requests_per_minute=10, tokens_per_minute=500),
            tokens=20,
        ),
    )

    minute_s = pytest.approx(61 - clock.now_ms() % 1000 / 1000)
    assert grant.standing == Standing(
        limit_requests=10,
        remaining_requests=9,
        reset_requests_s=minute_s,
        limit_tokens=50,
        remaining_tokens=30,
        reset_tokens_s=minute_s,
    )


async def test_a_refusal_tells_what_is_left_as_a_grant_does(limiter: Limiter) -> None:
    limits = Limits(requests_per_minute=1, tokens_per_minute=50)
    await granted(limiter, ask("r0", tenant=limits, tokens=20))

    refusal = await refused(limiter, ask("r1", tenant=limits, tokens=20))

    standing = refusal.standing
    assert (standing.limit_requests, standing.remaining_requests) == (1, 0)
    assert (standing.limit_tokens, standing.remaining_tokens) == (50, 30)
    assert refusal.retry_after_s <= standing.reset_requests_s


async def test_without_limits_nothing_is_reported(limiter: Limiter) -> None:
    grant = await granted(limiter, ask("r0"))

    assert grant.standing == Standing()


async def test_a_limit_of_zero_lets_nothing_pass(limiter: Limiter) -> None:
    for limits in (Limits(requests_per_minute=0), Limits(concurrency=0)):
        await refused(limiter, ask("r0", user=limits))


async def test_users_of_a_tenant_do_not_share_their_own_limits(limiter: Limiter) -> None:
    await granted(limiter, ask("r0", user=Limits(requests_per_minute=1), user_id="ann"))

    await granted(limiter, ask("r1", user=Limits(requests_per_minute=1), user_id="bob"))


async def test_the_window_is_the_month_in_utc(limiter: Limiter, clock: ManualClock) -> None:
    windows = {}
    for day in ("1970-01-01", "2024-02-29", "2026-12-31", "2027-01-01", "2100-03-01"):
        clock.advance((_ms(day) - clock.now_ms()) / 1000)
        windows[day] = (await limiter.reserve(ask(day, tenant=Limits()))).window  # type: ignore[union-attr]

    assert windows == {day: day[:7] for day in windows}


async def test_it_is_reachable(limiter: Limiter) -> None:
    assert await limiter.is_reachable()


def _ms(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000)
