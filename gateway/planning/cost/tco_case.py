"""From what `tco` was told to the ways of serving that it compares, with every price looked up and the impossible named."""

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TypeVar

import msgspec

from gateway.planning.contract import Assumption, PlanError
from gateway.planning.cost import prices
from gateway.planning.cost.cashflow import Growth, Servers
from gateway.planning.cost.costs import server_price, spot_price
from gateway.planning.cost.load import Load, load
from gateway.planning.cost.options import Api, Hybrid, Month, Option, Owned, Rented, Replica
from gateway.planning.cost.tco_inputs import USD, TcoInputs
from gateway.planning.sizing import gpus, memory, models, performance
from gateway.planning.units import MONTHS_PER_YEAR, Bytes, Kilowatts, Money, TokensPerSecond

_CHASSIS = Kilowatts(1.4)
"""Of a server beside its GPUs: with four A100 of 0.4 kW it is the 3 kW of which articles write."""
_IDLE_SHARE = 0.3
_SECONDS_PER_DAY = 86_400

W = TypeVar("W")


class Impossible(msgspec.Struct, frozen=True):
    """Why there is no such option here."""

    reason: str


class Copy(msgspec.Struct, frozen=True, kw_only=True):
    replica: Replica
    gpus: int
    is_estimate: bool


class Case(msgspec.Struct, frozen=True, kw_only=True):
    load: Load
    currency: str
    api: Api | Impossible
    copy: Copy | Impossible
    rented: Rented | Impossible
    owned: Owned | Impossible
    hybrid: Hybrid | Impossible
    options: Sequence[Option]
    growth: Growth
    servers: Servers
    assumptions: Sequence[Assumption]


class Sheet:
    """Prices of one answer: looks them up, converts them, and remembers what it used."""

    def __init__(self, inputs: TcoInputs) -> None:
        self._inputs = inputs
        self.exchange = prices.Exchange(inputs.exchange, inputs.currency)
        self.used: list[Assumption] = []

    def amount(self, name: str) -> Money:
        """As given, or its default."""
        given: Decimal | None = getattr(self._inputs, name)
        if given is not None:
            return self.own(given)
        default, unit, source, as_of = USD[name]
        return self.listed(name.replace("_", " "), Money(default), source, as_of, unit)

    def own(self, amount: Decimal) -> Money:
        return Money(amount, self._inputs.currency)

    def listed(self, name: str, price: Money, source: str, as_of: str, unit: str = "") -> Money:
        """Of a list: in the answer's currency, and among its assumptions in its own."""
        used = Assumption(
            name=name,
            value=price.amount,
            unit=f"{price.currency} {unit}".strip(),
            origin="catalogue",
            source=source,
            as_of=as_of,
        )
        if used not in self.used:
            self.used.append(used)
        return self.exchange(price)


def case(inputs: TcoInputs, own_list: str | None) -> Case:
    """`own_list` is the text of the reader's price list. Raises PlanError."""
    sheet = Sheet(inputs)
    per_day = inputs.requests_per_day if inputs.qps is None else inputs.qps * _SECONDS_PER_DAY
    asked = load(per_day, inputs.shape, inputs.input_tokens, inputs.output_tokens)
    api = _api(inputs, sheet)
    copy = _copy(inputs, sheet)
    rented, spot = _rented(inputs, sheet, copy, asked, own_list)
    owned = _owned(inputs, sheet, copy)
    hybrid = _hybrid(inputs, owned, api if inputs.overflow == "api" else rented)
    return Case(
        load=asked,
        currency=inputs.currency,
        api=api,
        copy=copy,
        rented=rented,
        owned=owned,
        hybrid=hybrid,
        options=_options(inputs, api, rented, spot, owned, hybrid),
        growth=Growth(
            demand=inputs.demand_growth,
            api=inputs.api_price_growth,
            rent=inputs.rent_price_growth,
            own=inputs.own_price_growth,
            hardware=inputs.hardware_price_growth,
        ),
        servers=Servers(
            price=Money(0, inputs.currency) if isinstance(owned, Impossible) else owned.server,
            life_years=inputs.life,
            residual=inputs.residual,
        ),
        assumptions=sheet.used,
    )


def _options(
    inputs: TcoInputs,
    api: Api | Impossible,
    rented: Rented | Impossible,
    spot: Rented | Impossible,
    owned: Owned | Impossible,
    hybrid: Hybrid | Impossible,
) -> list[Option]:
    made = [_option("api", "API", api, lambda way, asked: way.month(asked))]
    made += [
        _option("on_demand", "rented, all hours", rented, lambda way, asked: way.always_on(asked)),
        _option("on_demand_hours", "rented, hours needed", rented, lambda way, asked: way.when_needed(asked)),
        _option(
            "reserved",
            "rented, committed",
            rented,
            lambda way, asked: way.always_on(asked, discount=inputs.discount, is_committed=True),
        ),
        _option("spot", "spot, hours needed", spot, lambda way, asked: way.when_needed(asked)),
        _option("own", "own", owned, lambda way, asked: way.month(asked)),
        _option("hybrid", f"own and {inputs.overflow}", hybrid, lambda way, asked: way.month(asked)),
    ]
    return made


def _option(key: str, label: str, way: W | Impossible, month: Callable[[W, Load], Month]) -> Option:
    if isinstance(way, Impossible):
        return Option(key=key, label=label, month=None, reason=way.reason)
    return Option(key=key, label=label, month=lambda asked: month(way, asked))


def _api(inputs: TcoInputs, sheet: Sheet) -> Api | Impossible:
    if inputs.data != "anywhere":
        return Impossible("data may not go to an API")
    given = (inputs.api_input, inputs.api_cached, inputs.api_output)
    if inputs.api_input is not None and inputs.api_output is not None:
        cached = inputs.api_input if inputs.api_cached is None else inputs.api_cached
        price = prices.ApiPrice(
            model=inputs.api,
            provider="",
            input=sheet.own(inputs.api_input),
            cached_input=sheet.own(cached),
            output=sheet.own(inputs.api_output),
        )
    else:
        listed = prices.api_price(inputs.api)
        input_, cached_, output = (
            sheet.listed(f"{listed.model} {kind}", price, listed.source, listed.as_of, "per 1M tokens")
            if own is None
            else sheet.own(own)
            for own, kind, price in zip(
                given,
                ("input", "cached input", "output"),
                (listed.input, listed.cached_input, listed.output),
                strict=True,
            )
        )
        price = msgspec.structs.replace(listed, input=input_, cached_input=cached_, output=output)
    return Api(price=price, cached_share=inputs.cached_share, tax=inputs.tax)


def _copy(inputs: TcoInputs, sheet: Sheet) -> Copy | Impossible:
    if inputs.tok_s is not None:
        speed, cards = inputs.tok_s, inputs.replica_gpus or 1
    else:
        found = _fit(inputs)
        if isinstance(found, Impossible):
            return found
        served = _estimate(inputs, found)
        cards, speed = found.serving.tp, served
        sheet.used.append(
            Assumption(
                name="speed of a copy",
                value=round(speed, 1),
                unit="tokens/s",
                origin="derived",
                source=f"roofline of {cards} x {inputs.gpu} at {_batch(inputs, found)} requests, x {inputs.serving_eff:g}",
            )
        )
    return Copy(
        replica=Replica(speed=TokensPerSecond(speed), usable=inputs.utilisation),
        gpus=cards,
        is_estimate=inputs.tok_s is None,
    )


def _fit(inputs: TcoInputs) -> memory.Fit | Impossible:
    card = gpus.gpu(inputs.gpu)
    serving = memory.Serving(
        architecture=models.model(inputs.model).architecture,
        precision=inputs.precision,
        ctx=inputs.input_tokens + inputs.output_tokens,
        tp=inputs.replica_gpus or 1,
    )
    if inputs.replica_gpus is None:
        fewest = memory.fewest_cards(serving, card.vram)
        return fewest or Impossible(f"{inputs.model} does not fit 8 x {card.name}")
    found = memory.fit(serving, card.vram)
    if not found.is_fit:
        return Impossible(f"{inputs.model} does not fit {inputs.replica_gpus} x {card.name}")
    return found


def _batch(inputs: TcoInputs, found: memory.Fit) -> int:
    return min(inputs.concurrency, found.max_concurrency)


def _estimate(inputs: TcoInputs, found: memory.Fit) -> float:
    """Tokens per second, prompt and answer together."""
    speed = performance.speed(
        found.serving.but(concurrency=_batch(inputs, found)),
        gpus.gpu(inputs.gpu),
        prompt=inputs.input_tokens,
        output=inputs.output_tokens,
        efficiency=performance.Efficiency(serving=inputs.serving_eff),
    )
    return speed.served.value * (inputs.input_tokens + inputs.output_tokens) / inputs.output_tokens


def _rented(
    inputs: TcoInputs, sheet: Sheet, copy: Copy | Impossible, asked: Load, own_list: str | None
) -> tuple[Rented | Impossible, Rented | Impossible]:
    """On demand, and spot."""
    if inputs.data == "own":
        none = Impossible("data may not leave own machines")
        return none, none
    if isinstance(copy, Impossible):
        return copy, copy
    known = prices.gpu_prices() if own_list is None else prices.read_gpu_prices(own_list)
    found = _offers(inputs, sheet, copy, known)
    if not found:
        none = Impossible(_no_offer(inputs, copy, known))
        return none, none
    most = max(copy.replica.needed(asked))

    def for_all(each: prices.GpuPrice, price: Money) -> Decimal:
        return sheet.exchange(price).amount * math.ceil(most / (each.count // copy.gpus))

    chosen = min(found, key=lambda each: for_all(each, each.price))
    cheaper = [
        each
        for each in found
        if each.spot is not None and for_all(each, each.spot) < for_all(chosen, chosen.price)
    ]
    with_spot = min(cheaper, key=lambda each: for_all(each, each.spot or each.price), default=None)
    return (
        _renting(inputs, sheet, copy, chosen, _listed(sheet, inputs, chosen, chosen.price, "")),
        _renting(inputs, sheet, copy, with_spot or chosen, _spot(inputs, sheet, with_spot, chosen)),
    )


def _offers(
    inputs: TcoInputs, sheet: Sheet, copy: Copy, known: Sequence[prices.GpuPrice]
) -> list[prices.GpuPrice]:
    if inputs.gpu_price is not None:
        return [
            prices.GpuPrice(
                instance=f"{copy.gpus} x {inputs.gpu}",
                gpu=inputs.gpu,
                count=copy.gpus,
                price=sheet.own(inputs.gpu_price) * copy.gpus,
            )
        ]
    return prices.offers(known, inputs.gpu, at_least=copy.gpus, cloud=inputs.cloud, region=inputs.region)


def _no_offer(inputs: TcoInputs, copy: Copy, known: Sequence[prices.GpuPrice]) -> str:
    asked = f"no price is known of {copy.gpus} x {inputs.gpu}"
    elsewhere = prices.offers(known, inputs.gpu, at_least=copy.gpus)
    if not elsewhere:
        return f"{asked}; give gpu_price"
    places = ", ".join(sorted({" ".join(filter(None, (each.cloud, each.region))) for each in elsewhere}))
    return f"{asked} there; there are some at {places}"


def _listed(sheet: Sheet, inputs: TcoInputs, offer: prices.GpuPrice, price: Money, kind: str) -> Money:
    if inputs.gpu_price is not None:
        return price
    return sheet.listed(f"{_called(offer)}{kind}", price, offer.source, offer.as_of, "per hour")


def _spot(
    inputs: TcoInputs, sheet: Sheet, listed: prices.GpuPrice | None, on_demand: prices.GpuPrice
) -> Money:
    try:
        if listed is not None and listed.spot is not None:
            price, discount = _listed(sheet, inputs, listed, listed.spot, " spot"), 0.0
        else:
            price, discount = sheet.exchange(on_demand.price), inputs.spot_discount
        return spot_price(
            price, discount=discount, interrupts_per_h=inputs.interrupts_per_h, lost_min=inputs.lost_min
        )
    except ValueError as exc:
        raise PlanError(f"A spot machine is never there: {exc}.", param="interrupts_per_h") from exc


def _called(offer: prices.GpuPrice) -> str:
    return f"{offer.instance} ({offer.cloud})" if offer.cloud else offer.instance


def _renting(inputs: TcoInputs, sheet: Sheet, copy: Copy, offer: prices.GpuPrice, price_h: Money) -> Rented:
    streamed = inputs.streamed_share
    return Rented(
        replica=copy.replica,
        label=_called(offer),
        price_h=price_h,
        replicas=offer.count // copy.gpus,
        storage=Bytes.of_gb(inputs.storage_gb),
        storage_price=sheet.amount("storage_price"),
        egress_price=sheet.amount("egress_price"),
        free_egress=Bytes.of_gb(inputs.free_egress_gb),
        bytes_per_token=inputs.text_bytes * (1 - streamed) + inputs.sse_bytes * streamed,
        egress=None if inputs.egress_gb is None else Bytes.of_gb(inputs.egress_gb),
        extra=sheet.own(inputs.extra),
        staff=_staff(inputs, sheet, inputs.rented_fte),
        tax=inputs.tax,
    )


def _staff(inputs: TcoInputs, sheet: Sheet, fte: float) -> Money:
    if not fte:
        return Money(0, inputs.currency)
    return sheet.amount("fte_price") * fte / MONTHS_PER_YEAR


def _owned(inputs: TcoInputs, sheet: Sheet, copy: Copy | Impossible) -> Owned | Impossible:
    if isinstance(copy, Impossible):
        return copy
    if copy.gpus > inputs.server_gpus:
        return Impossible(f"a copy takes {copy.gpus} GPUs, and a server has {inputs.server_gpus}")
    server = _server(inputs, sheet)
    if isinstance(server, Impossible):
        return server
    most = _power(inputs)
    return Owned(
        replica=copy.replica,
        label=f"server with {inputs.server_gpus} x {inputs.gpu}",
        server=server,
        replicas=inputs.server_gpus // copy.gpus,
        life_years=inputs.life,
        residual=inputs.residual,
        wacc=inputs.wacc,
        most=most,
        idle=most * _IDLE_SHARE if inputs.kw_idle is None else Kilowatts(inputs.kw_idle),
        pue=inputs.pue,
        price_kwh=sheet.amount("kwh_price"),
        maintenance=inputs.maintenance,
        software=sheet.own(inputs.software),
        bandwidth=sheet.own(inputs.bandwidth),
        colo=sheet.own(inputs.colo),
        staff=_staff(inputs, sheet, inputs.own_fte),
    )


def _server(inputs: TcoInputs, sheet: Sheet) -> Money | Impossible:
    if inputs.server_price is not None:
        return sheet.own(inputs.server_price)
    if inputs.card_price is not None:
        card = sheet.own(inputs.card_price)
    else:
        known = gpus.gpu(inputs.gpu)
        if known.price is None:
            return Impossible(f"no price is known of buying a {known.name}; give card_price")
        card = sheet.listed(
            f"{known.name}, bought", known.price, known.price_source, known.price_as_of, "each"
        )
    return server_price(
        gpus=inputs.server_gpus,
        gpu=card,
        cpu=sheet.amount("cpu_price"),
        memory=sheet.amount("memory_price"),
        disk=sheet.amount("disk_price"),
        network=sheet.amount("network_price"),
    )


def _power(inputs: TcoInputs) -> Kilowatts:
    if inputs.kw_max is not None:
        return Kilowatts(inputs.kw_max)
    return gpus.gpu(inputs.gpu).power * inputs.server_gpus + _CHASSIS


def _hybrid(
    inputs: TcoInputs, owned: Owned | Impossible, rest: Rented | Api | Impossible
) -> Hybrid | Impossible:
    if inputs.data == "own":
        return Impossible("data may not leave own machines")
    if isinstance(owned, Impossible):
        return owned
    if isinstance(rest, Impossible):
        return rest
    return Hybrid(owned=owned, rest=rest)
