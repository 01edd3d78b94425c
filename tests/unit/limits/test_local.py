"""What the process's own limiter does differently: a share of the rates, no quotas, and never any money."""

import pytest

from gateway.clock import ManualClock
from gateway.limits.contract import LimiterUnavailableError
from gateway.limits.local import LocalLimiter
from gateway.values import Limits
from tests.fixtures.asking import ask, granted, refused, settlement


@pytest.mark.fault("S13")
async def test_rates_and_concurrency_hold_at_this_gateways_share(clock: ManualClock) -> None:
    limiter = LocalLimiter(clock, share=0.25)
    limits = Limits(requests_per_minute=9, concurrency=9)

    await granted(limiter, ask("r0", tenant=limits))
    await granted(limiter, ask("r1", tenant=limits))

    refusal = await refused(limiter, ask("r2", tenant=limits))
    assert (refusal.kind, refusal.limit) == ("requests", 2)


async def test_a_share_is_at_least_one_but_of_zero_it_is_zero(clock: ManualClock) -> None:
    limiter = LocalLimiter(clock, share=0.01)

    await granted(limiter, ask("r0", user=Limits(requests_per_minute=1)))
    await refused(limiter, ask("r1", user=Limits(requests_per_minute=0)))


@pytest.mark.fault("M16")
async def test_with_a_budget_only_what_is_free_is_granted(clock: ManualClock) -> None:
    limiter = LocalLimiter(clock)
    limits = Limits(budget_per_month=1000)

    assert (await granted(limiter, ask("r0", key=limits, amounts=(10, 0)))).amount == 0
    with pytest.raises(LimiterUnavailableError):
        await limiter.reserve(ask("r1", key=limits, amounts=(10, 5)))


async def test_without_a_budget_the_dearest_is_granted(clock: ManualClock) -> None:
    grant = await granted(LocalLimiter(clock), ask("r0", amounts=(10, 5, 0)))

    assert (grant.amount, grant.epoch) == (10, "")


async def test_a_monthly_quota_is_not_known_here(clock: ManualClock) -> None:
    await granted(LocalLimiter(clock), ask("r0", tenant=Limits(requests_per_month=0)))


async def test_scopes_that_have_fallen_silent_take_no_memory(clock: ManualClock) -> None:
    limiter = LocalLimiter(clock)
    for i in range(100):
        grant = await granted(limiter, ask(f"r{i}", user_id=f"u{i}", key_id=f"k{i}", ttl_s=5))
        await limiter.settle(settlement(f"r{i}", grant))

    clock.advance(61)
    await granted(limiter, ask("last"))

    assert len(limiter._taken) == 3
    assert len(limiter._expiries) == 1
