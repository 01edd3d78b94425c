"""The two sides of a break-even: what a month of own and of rented machines costs and serves, and what an API takes."""

from collections.abc import Sequence

import msgspec

from gateway.planning.contract import Assumption, PlanError
from gateway.planning.cost import prices
from gateway.planning.cost.costs import CloudMonth, OwnMonth, cloud_month, own_month
from gateway.planning.payoff.breakeven_inputs import BreakevenInputs
from gateway.planning.sizing import gpus, memory, models, performance
from gateway.planning.units import (
    DAYS_PER_MONTH,
    MONTHS_PER_YEAR,
    Bytes,
    Hours,
    Kilowatts,
    Money,
    TokensPerSecond,
)

_BESIDE_CARDS = Money(30_000)
"""Processors 5,000, memory 15,000, disks 8,000, network 2,000."""
_CHASSIS = Kilowatts(1.4)
_USD = prices.Exchange((), "USD")


class Copy(msgspec.Struct, frozen=True, kw_only=True):
    """One copy of the own model, on its GPUs."""

    gpus: int
    speed: TokensPerSecond
    """Prompts and answers together, with nothing left free."""
    assumptions: Sequence[Assumption] = ()


class Rent(msgspec.Struct, frozen=True, kw_only=True):
    """A way to rent the GPUs of one server."""

    key: str
    label: str
    month: CloudMonth


class Own(msgspec.Struct, frozen=True, kw_only=True):
    """Servers that have been bought."""

    price: Money
    """Of one."""
    month: OwnMonth
    """Of one, without people."""
    staff: Money
    """A month, however many servers there are."""
    assumptions: Sequence[Assumption] = ()

    @property
    def running(self) -> Money:
        """A month of the first one, once it is bought."""
        return self.month.running + self.staff

    @property
    def whole(self) -> Money:
        """The same with its price spread over its life."""
        return self.month.total + self.staff


class Api(msgspec.Struct, frozen=True, kw_only=True):
    """By the million tokens."""

    input: Money
    cached: Money
    output: Money
    assumptions: Sequence[Assumption] = ()

    def blended(self, input_tokens: float, output_tokens: float, cached_share: float = 0.0) -> Money:
        """(p_in t_in (1 - c) + p_cached t_in c + p_out t_out) / (t_in + t_out)."""
        prompt = self.input * (1 - cached_share) + self.cached * cached_share
        return (prompt * input_tokens + self.output * output_tokens) / (input_tokens + output_tokens)


def copy_of(inputs: BreakevenInputs, name: str, input_tokens: float, output_tokens: float) -> Copy:
    """Of a model of the catalogue, on the inputs' card. Raises PlanError if it does not fit."""
    if inputs.tok_s is not None:
        return Copy(gpus=inputs.replica_gpus or 1, speed=TokensPerSecond(inputs.tok_s))
    chosen, card = models.model(name), gpus.gpu(inputs.gpu)
    prompt, output = max(1, round(input_tokens)), max(1, round(output_tokens))
    serving = memory.Serving(
        architecture=chosen.architecture,
        precision=inputs.precision,
        ctx=prompt + output,
        tp=inputs.replica_gpus or 1,
    )
    found = memory.fit(serving, card.vram)
    if inputs.replica_gpus is None:
        found = memory.fewest_cards(serving, card.vram) or found
    if not found.is_fit:
        raise PlanError(
            memory.told_misfit(found, card.vram, util=memory.UTIL, called=card.name, name=chosen.name),
            param="gpu",
        )
    serving = found.serving.but(concurrency=min(inputs.concurrency, found.max_concurrency))
    efficiency = performance.Efficiency(serving=inputs.serving_eff)
    served = performance.speed(serving, card, prompt=prompt, output=output, efficiency=efficiency).served
    speed = served * ((prompt + output) / output)
    told = f"an estimate, at {serving.concurrency} requests at once on {serving.tp} x {card.name}; measure it"
    return Copy(
        gpus=serving.tp,
        speed=speed,
        assumptions=[
            Assumption(
                name=f"speed of {chosen.name}",
                value=round(speed.value, 1),
                unit="tokens/s",
                origin="derived",
                source=told,
            ),
            Assumption(
                name=f"GPUs of a copy of {chosen.name}",
                value=serving.tp,
                origin="derived",
                source="the fewest that hold it",
            )
            if inputs.replica_gpus is None
            else Assumption(name=f"GPUs of a copy of {chosen.name}", value=serving.tp, origin="given"),
        ],
    )


def copies(inputs: BreakevenInputs, copy: Copy, name: str) -> int:
    """That an own server holds. Raises PlanError if it is none."""
    if copy.gpus > inputs.server_gpus:
        raise PlanError(
            f"A copy of {name[:64]} takes {copy.gpus} GPUs, and a server has {inputs.server_gpus}.",
            param="server_gpus",
        )
    return inputs.server_gpus // copy.gpus


def own_side(inputs: BreakevenInputs) -> Own:
    assumptions: list[Assumption] = []
    price, card = inputs.server_price, None
    if price is None or inputs.kw_max is None:
        card = gpus.gpu(inputs.gpu)
    if price is None:
        if card is None or card.price is None:
            raise PlanError(
                f"Nobody knows the price of a {inputs.gpu}: give that of a server.", param="server_price"
            )
        price = (card.price * inputs.server_gpus + _BESIDE_CARDS).amount
        assumptions.append(
            Assumption(
                name=f"price of a {card.name}",
                value=card.price.amount,
                unit="USD",
                origin="catalogue",
                source=card.price_source,
                as_of=card.price_as_of,
            )
        )
    most = (
        Kilowatts(inputs.kw_max)
        if inputs.kw_max is not None
        else card.power * inputs.server_gpus + _CHASSIS
        if card
        else _CHASSIS
    )
    month = own_month(
        servers=1,
        server=Money(price),
        life_years=inputs.life,
        residual=inputs.residual,
        wacc=inputs.wacc,
        most=most,
        utilisation=inputs.utilisation,
        pue=inputs.pue,
        price_kwh=Money(inputs.kwh_price),
        maintenance=inputs.maintenance,
        software=Money(inputs.software),
        colo=Money(inputs.colo),
    )
    if month.total.amount <= 0:
        raise PlanError(
            "An own server that costs nothing has no break-even: it always pays.", param="server_price"
        )
    staff = Money(inputs.fte_price) * inputs.own_fte / MONTHS_PER_YEAR
    return Own(price=Money(price), month=month, staff=staff, assumptions=assumptions)


def rents(inputs: BreakevenInputs) -> tuple[list[Rent], list[Assumption]]:
    """The GPUs of one server: always on, on for a part of each day, and committed to."""
    hourly, assumptions = _gpu_price(inputs)
    hours = Hours(inputs.hours_per_day * DAYS_PER_MONTH)

    def month(**how: object) -> CloudMonth:
        return cloud_month(
            instances=inputs.server_gpus,
            price_h=hourly,
            storage=Bytes.of_gb(inputs.storage_gb),
            storage_price=Money(inputs.storage_price),
            egress=Bytes.of_gb(inputs.egress_gb),
            free_egress=Bytes.of_gb(inputs.free_egress_gb),
            egress_price=Money(inputs.egress_price),
            tax=inputs.tax,
            **how,  # type: ignore[arg-type]  # of cloud_month's own arguments, below
        )

    return [
        Rent(key="always", label="rented, always on", month=month()),
        Rent(key="part", label=f"rented, {inputs.hours_per_day:g} h a day", month=month(hours=hours)),
        Rent(
            key="committed",
            label=f"rented, committed ({inputs.discount:.0%} off)",
            month=month(discount=inputs.discount, is_committed=True),
        ),
    ], assumptions


def api_side(inputs: BreakevenInputs) -> Api:
    given = (inputs.api_input, inputs.api_cached, inputs.api_output)
    if inputs.api_input is not None and inputs.api_output is not None:
        cached = inputs.api_input if inputs.api_cached is None else inputs.api_cached
        return Api(input=Money(inputs.api_input), cached=Money(cached), output=Money(inputs.api_output))
    listed = prices.api_price(inputs.api)
    found = [
        _USD(price) if other is None else Money(other)
        for other, price in zip(given, (listed.input, listed.cached_input, listed.output), strict=True)
    ]
    shown = " / ".join(str(price.amount) for price in found)
    return Api(
        input=found[0],
        cached=found[1],
        output=found[2],
        assumptions=[
            Assumption(
                name=f"price of {listed.model}",
                value=f"{shown} for input / cached / output",
                unit="USD per 1M tokens",
                origin="catalogue",
                source=listed.source,
                as_of=listed.as_of,
            )
        ],
    )


def _gpu_price(inputs: BreakevenInputs) -> tuple[Money, list[Assumption]]:
    if inputs.gpu_price is not None:
        return Money(inputs.gpu_price), []
    offers = [each for each in prices.offers(prices.gpu_prices(), inputs.gpu) if each.price.currency == "USD"]
    if not offers:
        raise PlanError(f"The list has no rent of a {inputs.gpu}: give that of a GPU.", param="gpu_price")
    offer = offers[0]
    return offer.of_each, [
        Assumption(
            name=f"rent of a {offer.gpu}",
            value=offer.of_each.amount,
            unit="USD per GPU-hour",
            origin="catalogue",
            source=f"{offer.cloud} {offer.instance}: {offer.source}",
            as_of=offer.as_of,
        )
    ]
