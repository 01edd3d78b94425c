"""Ways to have models served, and what a month of each costs for a load: an API, rented machines, own servers, a mix."""

import math
from collections.abc import Callable, Mapping

import msgspec

from gateway.planning.cost.costs import MONTH, cloud_month, egress, own_month, tokens_cost
from gateway.planning.cost.hybrid import Mix, cheapest
from gateway.planning.cost.load import HOURS, Load
from gateway.planning.cost.prices import ApiPrice
from gateway.planning.units import MONTHS_PER_YEAR, Bytes, Hours, Kilowatts, Money, TokensPerSecond, total

PARTS = (
    "tokens",
    "compute",
    "storage",
    "egress",
    "extra",
    "tax",
    "depreciation",
    "power",
    "maintenance",
    "software",
    "bandwidth",
    "colo",
    "staff",
)
TAXED = ("tokens", "compute", "storage", "egress", "extra")

_ALL_TRIED = 50


class Month(msgspec.Struct, frozen=True, kw_only=True):
    parts: Mapping[str, Money]
    """By names of PARTS; what there is not is left out."""
    needs: str
    """For people: 2 x p5.4xlarge."""
    servers: int = 0
    """That have been bought."""
    capacity: TokensPerSecond | None = None
    """Of what runs on average; None where somebody else's does."""
    numbers: str
    """How its largest parts were found."""

    @property
    def total(self) -> Money:
        return total(list(self.parts.values()))


class Option(msgspec.Struct, frozen=True, kw_only=True):
    key: str
    label: str
    month: Callable[[Load], Month] | None
    """None: it is impossible here, for this reason:"""
    reason: str = ""


class Api(msgspec.Struct, frozen=True, kw_only=True):
    price: ApiPrice
    cached_share: float
    """Of prompts' tokens, that are billed as cached ones."""
    tax: float

    def month(self, load: Load) -> Month:
        cached = load.month_input.millions * self.cached_share
        return Month(
            parts=self.parts(load, 1.0),
            needs=f"{self.price.model} by the token",
            numbers=f"({load.month_input.millions - cached:,.3f} x {self.price.input.amount:g}"
            f" + {cached:,.3f} x {self.price.cached_input.amount:g}"
            f" + {load.month_output.millions:,.3f} x {self.price.output.amount:g}) x {1 + self.tax:g}",
        )

    def parts(self, load: Load, share: float) -> dict[str, Money]:
        """Of a share of all requests."""
        tokens = tokens_cost(
            self.price.input,
            self.price.output,
            load.month_input * share,
            load.month_output * share,
            cached_price=self.price.cached_input,
            cached_tokens=load.month_input * (share * self.cached_share),
        )
        return {"tokens": tokens, "tax": tokens * self.tax}


class Replica(msgspec.Struct, frozen=True, kw_only=True):
    """One copy of the model on its GPUs."""

    speed: TokensPerSecond
    """Prompt and answer together, with nothing left free."""
    usable: float
    """Share of it that is planned with, so that requests do not wait."""

    def needed(self, load: Load) -> tuple[int, ...]:
        """In each hour of a day."""
        return load.replicas(self.speed * self.usable)


class Rented(msgspec.Struct, frozen=True, kw_only=True):
    replica: Replica
    label: str
    price_h: Money
    """Of an instance."""
    replicas: int
    """That an instance has room for."""
    storage: Bytes
    storage_price: Money
    egress_price: Money
    free_egress: Bytes
    bytes_per_token: float
    egress: Bytes | None
    """Where it was given; else it follows from the answers."""
    extra: Money
    staff: Money
    tax: float

    def always_on(self, load: Load, *, discount: float = 0.0, is_committed: bool = False) -> Month:
        """As many instances as the busiest hour takes, all the time."""
        count = max(self.instances(self.replica.needed(load)))
        return self._month(load, float(count), count, discount, is_committed)

    def when_needed(self, load: Load) -> Month:
        """In each hour the instances that it takes."""
        by_hour = self.instances(self.replica.needed(load))
        return self._month(load, sum(by_hour) / HOURS, max(by_hour), 0.0, False)

    def instances(self, replicas: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(math.ceil(each / self.replicas) for each in replicas)

    def parts(
        self,
        load: Load,
        average: float,
        share: float = 1.0,
        discount: float = 0.0,
        is_committed: bool = False,
    ) -> dict[str, Money]:
        """`average` instances all month, which answer a share of all requests."""
        sent = egress(load.month_requests, load.output_tokens, bytes_per_token=self.bytes_per_token)
        month = cloud_month(
            instances=average,
            price_h=self.price_h,
            discount=discount,
            is_committed=is_committed,
            storage=self.storage,
            storage_price=self.storage_price,
            egress=(sent if self.egress is None else self.egress) * share,
            free_egress=self.free_egress,
            egress_price=self.egress_price,
            extra=self.extra,
            tax=self.tax,
            staff=self.staff,
        )
        return dict(month.parts)

    def _month(self, load: Load, average: float, most: int, discount: float, is_committed: bool) -> Month:
        hours = "" if average == most else f", {average * MONTH.value:,.0f} instance-hours"
        return Month(
            parts=self.parts(load, average, discount=discount, is_committed=is_committed),
            needs=f"{most:,} x {self.label}{hours}",
            capacity=self.replica.speed * (average * self.replicas),
            numbers=f"compute {average:,.4g} x {self.price_h.amount:,.4f} x {1 - discount:g} x 730",
        )


class Owned(msgspec.Struct, frozen=True, kw_only=True):
    replica: Replica
    label: str
    server: Money
    replicas: int
    """That a server has room for."""
    life_years: int
    residual: float
    wacc: float
    most: Kilowatts
    idle: Kilowatts
    pue: float
    price_kwh: Money
    maintenance: float
    software: Money
    bandwidth: Money
    colo: Money
    staff: Money

    def servers(self, load: Load) -> int:
        return math.ceil(max(self.replica.needed(load)) / self.replicas)

    def month(self, load: Load) -> Month:
        return self.month_of(load, self.servers(load))

    def month_of(self, load: Load, servers: int) -> Month:
        """With so many, whether they serve all of it or not."""
        capacity = self.replica.speed * (servers * self.replicas)
        used = sum(speed.value for speed in self.served(load, servers)) / HOURS / capacity.value
        month = own_month(
            servers=servers,
            server=self.server,
            life_years=self.life_years,
            residual=self.residual,
            wacc=self.wacc,
            most=self.most,
            idle=self.idle,
            utilisation=used,
            pue=self.pue,
            price_kwh=self.price_kwh,
            maintenance=self.maintenance,
            software=self.software,
            staff=self.staff,
            bandwidth=self.bandwidth,
            colo=self.colo,
        )
        return Month(
            parts=dict(month.parts),
            needs=f"{servers:,} x {self.label}",
            servers=servers,
            capacity=capacity,
            numbers=f"bought {servers:,} x {self.server.amount:,.2f} for {self.life_years * MONTHS_PER_YEAR} months, power"
            f" {servers:,} x ({self.idle.value:g} + {used:.3f} x {(self.most - self.idle).value:g}) x {self.pue:g} x 730"
            f" x {self.price_kwh.amount:g}",
        )

    def served(self, load: Load, servers: int) -> list[TokensPerSecond]:
        """In each hour, by so many of them."""
        most = self.replica.speed * (self.replica.usable * servers * self.replicas)
        return [min(speed, most) for speed in load.speeds]


class Hybrid(msgspec.Struct, frozen=True, kw_only=True):
    """Own servers for the base of the load, and for the rest what is paid by use."""

    owned: Owned
    rest: Rented | Api

    def mix(self, load: Load) -> Mix:
        return cheapest(lambda servers: self.month_of(load, servers).total, self._numbers(load))

    def month(self, load: Load) -> Month:
        return self.month_of(load, self.mix(load).own)

    def month_of(self, load: Load, servers: int) -> Month:
        if not servers:
            return self._all_rest(load)
        own = self.owned.month_of(load, servers)
        over = [max(0, each - servers * self.owned.replicas) for each in self.owned.replica.needed(load)]
        if not any(over):
            return own
        served = sum(speed.value for speed in self.owned.served(load, servers))
        share = 1 - served / sum(speed.value for speed in load.speeds)
        if isinstance(self.rest, Api):
            parts, needs, capacity = self.rest.parts(load, share), self.rest.price.model, own.capacity
        else:
            average = sum(self.rest.instances(tuple(over))) / HOURS
            parts = self.rest.parts(load, average, share)
            needs = f"{self.rest.label} for {average * MONTH.value:,.0f} h"
            capacity = own.capacity and own.capacity + self.rest.replica.speed * (
                average * self.rest.replicas
            )
        return Month(
            parts=_together(own.parts, parts),
            needs=f"{own.needs} + {needs}",
            servers=servers,
            capacity=capacity,
            numbers=own.numbers,
        )

    def busy_hours(self, load: Load, server: int) -> Hours:
        """Of a month, that this one would be busy for with all its copies, if it takes only what the others cannot."""
        room = self.owned.replicas
        taken = sum(min(room, max(0, each - (server - 1) * room)) for each in self.owned.replica.needed(load))
        return MONTH * (taken / room / HOURS)

    def fixed(self, load: Load) -> Money:
        """Of one more server that is always busy, without what is paid once for all of them."""
        busy = load.steady(self.owned.replica.speed * (self.owned.replica.usable * self.owned.replicas))
        parts = self.owned.month_of(busy, 1).parts
        return total([parts[name] for name in ("depreciation", "power", "maintenance", "software")])

    @property
    def hourly(self) -> Money:
        """Of renting for an hour what a server has room for; nothing where the rest goes to an API."""
        if isinstance(self.rest, Api):
            return self.owned.server * 0
        each = self.rest.price_h / self.rest.replicas
        return each * self.owned.replicas * (1 + self.rest.tax)

    def _numbers(self, load: Load) -> set[int]:
        """Of servers that may be the best: all, or of a large fleet those that an hour just takes or just exceeds.

        Between those the cost is a straight line, but for instances that are rented whole.
        """
        most = self.owned.servers(load)
        if most <= _ALL_TRIED:
            return set(range(most + 1))
        needed = {each / self.owned.replicas for each in self.owned.replica.needed(load)}
        return {0, most, *map(math.floor, needed), *map(math.ceil, needed)}

    def _all_rest(self, load: Load) -> Month:
        return self.rest.month(load) if isinstance(self.rest, Api) else self.rest.when_needed(load)


def _together(one: Mapping[str, Money], other: Mapping[str, Money]) -> dict[str, Money]:
    return {
        name: total([part for part in (one.get(name), other.get(name)) if part is not None])
        for name in PARTS
        if name in one or name in other
    }
