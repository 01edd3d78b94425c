"""How many own replicas are worth having when the rest of the need is rented by the hour.

cost(k) = k F + c x sum over hours of max(0, need - k); the marginal rule says the same: replica k pays when it is needed
for more hours than F / c.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from gateway.planning.units import Hours, Money, total


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """So many replicas, for so many hours of a month."""

    hours: Hours
    replicas: int


class Mix(msgspec.Struct, frozen=True, kw_only=True):
    costs: Mapping[int, Money]
    """Of a month, by the number of own ones."""
    own: int
    """The cheapest of them; among equals the one that buys least."""


def cheapest(cost: Callable[[int], Money], numbers: Iterable[int]) -> Mix:
    """Of these numbers of own ones. With 0 and the most that are needed among them it is never dearer than either."""
    costs = {own: cost(own) for own in sorted(numbers)}
    return Mix(costs=costs, own=min(costs, key=lambda own: (costs[own].amount, own)))


def mix(needs: Sequence[Need], *, fixed: Money, hourly: Money) -> Mix:
    """`fixed` is of an own replica and a month, `hourly` of a rented one."""

    def cost(own: int) -> Money:
        rented = [hourly * (each.hours.value * max(0, each.replicas - own)) for each in needs]
        return fixed * own + total(rented, fixed.currency)

    return cheapest(cost, range(max((each.replicas for each in needs), default=0) + 1))


def hours_needed(needs: Sequence[Need], replica: int) -> Hours:
    """Of the month in which at least so many replicas work."""
    return Hours(sum(each.hours.value for each in needs if each.replicas >= replica))


def paying_hours(fixed: Money, hourly: Money) -> Hours:
    """A replica that is needed for more hours of a month than these is worth buying; F / c."""
    if hourly.amount <= 0:
        return Hours(float("inf"))
    return Hours(fixed / hourly)
