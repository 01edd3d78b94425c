"""Which limiter is asked, and where a reservation is settled."""

import pytest

from gateway.clock import ManualClock
from gateway.limits.contract import Ask, Grant, LimiterUnavailableError, Refusal
from gateway.limits.failover import FailoverLimiter
from gateway.limits.local import LocalLimiter
from gateway.values import Limits, Settlement
from tests.fixtures.asking import ask, granted, refused, settlement


class Store:
    """Grants everything while it is there."""

    def __init__(self) -> None:
        self.is_there = True
        self.settled: list[str] = []

    async def reserve(self, ask: Ask) -> Grant | Refusal:
        self.must_be_there()
        return Grant(amount=ask.amounts[0], epoch="life.1", window="2026-11")

    async def settle(self, settlement: Settlement) -> None:
        self.must_be_there()
        self.settled.append(settlement.request_id)

    async def is_reachable(self) -> bool:
        return self.is_there

    def must_be_there(self) -> None:
        if not self.is_there:
            raise LimiterUnavailableError("gone")


class Scene:
    def __init__(self, clock: ManualClock) -> None:
        self.store = Store()
        self.degraded = 0
        self.limiter = FailoverLimiter(self.store, LocalLimiter(clock), on_degraded=self.count)

    def count(self) -> None:
        self.degraded += 1


@pytest.fixture
def scene(clock: ManualClock) -> Scene:
    return Scene(clock)


async def test_while_the_store_is_there_it_decides(scene: Scene) -> None:
    assert (await granted(scene.limiter, ask("r0", tenant=Limits(requests_per_minute=0)))).epoch == "life.1"
    assert scene.degraded == 0
    assert await scene.limiter.is_reachable()


@pytest.mark.fault("S13")
async def test_without_the_store_this_process_decides_and_it_is_counted(scene: Scene) -> None:
    scene.store.is_there = False

    await granted(scene.limiter, ask("r0", tenant=Limits(requests_per_minute=1)))
    await refused(scene.limiter, ask("r1", tenant=Limits(requests_per_minute=1)))

    assert scene.degraded == 2
    assert not await scene.limiter.is_reachable()


@pytest.mark.fault("M16")
async def test_without_the_store_paid_budgets_are_closed(scene: Scene) -> None:
    scene.store.is_there = False

    with pytest.raises(LimiterUnavailableError):
        await scene.limiter.reserve(ask("r0", tenant=Limits(budget_per_month=1000), amounts=(10,)))


@pytest.mark.fault("S14")
async def test_a_reservation_is_settled_where_it_was_granted(scene: Scene) -> None:
    limits = Limits(concurrency=1)
    shared = await granted(scene.limiter, ask("r0", tenant=limits))
    scene.store.is_there = False
    local = await granted(scene.limiter, ask("r1", tenant=limits))
    await refused(scene.limiter, ask("r2", tenant=limits))

    await scene.limiter.settle(settlement("r1", local))

    await granted(scene.limiter, ask("r2", tenant=limits))
    with pytest.raises(LimiterUnavailableError):
        await scene.limiter.settle(settlement("r0", shared))
    scene.store.is_there = True
    await scene.limiter.settle(settlement("r0", shared))
    assert scene.store.settled == ["r0"]


@pytest.mark.fault("S14")
async def test_a_store_that_comes_and_goes_does_not_multiply_the_local_limits(scene: Scene) -> None:
    limits = Limits(requests_per_minute=2)
    passed = 0

    for i in range(10):
        scene.store.is_there = False
        passed += isinstance(await scene.limiter.reserve(ask(f"local{i}", tenant=limits)), Grant)
        scene.store.is_there = True
        await granted(scene.limiter, ask(f"shared{i}", tenant=limits))

    assert passed == 2
