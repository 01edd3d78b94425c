"""How many own servers or copies are worth having when the rest of the need is paid by the hour.

cost(k) = k F + c x sum over hours of max(0, need - k); the marginal rule says the same: number k pays when it is needed
for more hours than F / c.
"""

from collections.abc import Callable, Iterable, Mapping

import msgspec

from gateway.planning.units import Hours, Money


class Mix(msgspec.Struct, frozen=True, kw_only=True):
    costs: Mapping[int, Money]
    """Of a month, by the number of own ones."""
    own: int
    """The cheapest of them; among equals the one that buys least."""


def cheapest(cost: Callable[[int], Money], numbers: Iterable[int]) -> Mix:
    """Of these numbers of own ones. With 0 and the most that are needed among them it is never dearer than either."""
    costs = {own: cost(own) for own in sorted(numbers)}
    return Mix(costs=costs, own=min(costs, key=lambda own: (costs[own].amount, own)))


def paying_hours(fixed: Money, hourly: Money) -> Hours:
    """Of a month: one that is needed for longer is worth buying at `fixed` a month. F / c; without end if renting is
    free.
    """
    return Hours(fixed / hourly if hourly.amount > 0 else float("inf"))
