"""What is paid in which year: servers when they are bought and when their life ends, all else as it runs."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from gateway.planning.cost.costs import npv
from gateway.planning.cost.load import Load
from gateway.planning.cost.options import TAXED, Month
from gateway.planning.units import MONTHS_PER_YEAR, Money, total


class Growth(msgspec.Struct, frozen=True, kw_only=True):
    """Per year, as fractions."""

    demand: float = 0.0
    api: float = 0.0
    rent: float = 0.0
    own: float = 0.0
    """Of what own servers and people take."""
    hardware: float = 0.0
    """Of servers that are bought later."""

    def of(self, part: str) -> float:
        if part == "tokens":
            return self.api
        return self.rent if part in TAXED else self.own


class Years(msgspec.Struct, frozen=True, kw_only=True):
    flows: tuple[Money, ...]
    """What is paid at the start, and then in each year; what old servers fetch is taken off."""
    worth: Money
    """Today's worth of all that."""
    left: Money
    """What servers that have not come to their end would stand for in the books."""

    @property
    def total(self) -> Money:
        return total(self.flows)

    @property
    def so_far(self) -> list[Money]:
        """After the start, and after each year."""
        return [total(self.flows[: at + 1]) for at in range(len(self.flows))]


class Servers(msgspec.Struct, frozen=True, kw_only=True):
    price: Money
    life_years: int
    residual: float


def years(
    month: Callable[[Load], Month],
    load: Load,
    *,
    count: int,
    growth: Growth,
    tax: float,
    wacc: float,
    servers: Servers,
) -> Years:
    """`month` is of the first year's prices, and has the number of servers that its load takes.

    What runs is paid at the end of its year, servers at the start of theirs, so at the end of the year before.
    """
    none = servers.price * 0
    flows = [none] * (count + 1)
    bought: dict[int, int] = {}
    for year in range(1, count + 1):
        its = month(load.times((1 + growth.demand) ** (year - 1)))
        flows[year] += _running(its.parts, growth, year, tax) * MONTHS_PER_YEAR
        alive = sum(many for start, many in bought.items() if year < start + servers.life_years)
        bought[year] = max(0, its.servers - alive)
    for start, many in bought.items():
        price = servers.price * many * (1 + growth.hardware) ** (start - 1)
        flows[start - 1] += price
        end = start - 1 + servers.life_years
        if end <= count:
            flows[end] -= price * servers.residual
    return Years(
        flows=tuple(flows), worth=npv(flows, wacc), left=_left(bought, servers, growth.hardware, count)
    )


def _running(parts: Mapping[str, Money], growth: Growth, year: int, tax: float) -> Money:
    grown = {
        name: part * (1 + growth.of(name)) ** (year - 1)
        for name, part in parts.items()
        if name not in ("depreciation", "tax")
    }
    taxed = [part for name, part in grown.items() if name in TAXED]
    return total([*grown.values(), *(part * tax for part in taxed)])


def _left(bought: Mapping[int, int], servers: Servers, growth: float, count: int) -> Money:
    """In equal steps down to the residual."""
    left: Sequence[Money] = [
        servers.price
        * many
        * (1 + growth) ** (start - 1)
        * (1 - (1 - servers.residual) * (count - start + 1) / servers.life_years)
        for start, many in bought.items()
        if start - 1 + servers.life_years > count
    ]
    return total(left, servers.price.currency)
