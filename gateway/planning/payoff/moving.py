"""Which of the measured traffic own servers would take over, how many of them to buy, and what that saves."""

import math
from collections.abc import Mapping, Sequence

import msgspec

from gateway.planning.contract import PlanError
from gateway.planning.payoff import measured, payback, replicas
from gateway.planning.payoff.breakeven_inputs import BreakevenInputs
from gateway.planning.payoff.measured import Month
from gateway.planning.payoff.replicas import Step
from gateway.planning.payoff.sides import Copy, Own, copies, copy_of
from gateway.planning.traffic import Hour, Traffic
from gateway.planning.units import Money, TokensPerSecond, total


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """An own model, with the traffic that it may replace."""

    name: str
    hours: tuple[Hour, ...]
    copy: Copy
    copies: int
    """On a server."""
    server: TokensPerSecond
    """That a server may be loaded to."""
    servers: int
    """That pay."""
    steps: tuple[Step, ...]
    """The first of them, and the first that does not."""
    needs: Mapping[int, float]
    """Servers that each hour would keep busy, by its beginning."""
    nano: Mapping[int, float]
    """What they avoid in each hour, in nano-dollars."""
    avoided: Month

    @property
    def replaces(self) -> str:
        return ", ".join(sorted({_name(hour) for hour in self.hours}))


class Move(msgspec.Struct, frozen=True, kw_only=True):
    targets: tuple[Target, ...]
    servers: int
    """That pay by themselves."""
    price: Money
    running: Money
    """A month of them all and of the people, once they are bought."""
    avoided: Month
    saved: Month
    """What is avoided, less what runs."""
    gained: Money
    """Less the servers' price spread over their life too: below zero it is better to buy none."""

    @property
    def pays(self) -> bool:
        return self.servers > 0 and self.gained.amount > 0

    @property
    def payback(self) -> float:
        return payback.months(self.price, self.saved.amount) if self.pays else math.inf

    @property
    def payback_band(self) -> tuple[float, float] | None:
        if not self.pays or self.saved.low is None or self.saved.high is None:
            return None
        return payback.months(self.price, self.saved.high), payback.months(self.price, self.saved.low)


def move(inputs: BreakevenInputs, traffic: Traffic, own: Own) -> Move:
    """Servers of each own model are bought while each next one avoids more than its month costs; people are paid once.

    Raises PlanError for an own model that is not known or fits no server, and for what it should replace if that is
    not in the traffic.
    """
    targets = tuple(
        _target(inputs, traffic, own, name, hours)
        for name, hours in _assigned(inputs.own, traffic, inputs.model).items()
    )
    servers = sum(target.servers for target in targets)
    nano: dict[int, float] = {}
    for target in targets:
        for start_ms, saved in target.nano.items():
            nano[start_ms] = nano.get(start_ms, 0) + saved
    avoided = measured.month(traffic, nano)
    running = own.month.running * servers + (own.staff if servers else Money(0))
    return Move(
        targets=targets,
        servers=servers,
        price=own.price * servers,
        running=running,
        avoided=avoided,
        saved=less(avoided, running),
        gained=avoided.amount - running - own.month.depreciation * servers,
    )


def less(month: Month, cost: Money) -> Month:
    return Month(
        amount=month.amount - cost,
        low=None if month.low is None else month.low - cost,
        high=None if month.high is None else month.high - cost,
    )


def by_model(hours: Sequence[Hour]) -> dict[tuple[str, str], list[Hour]]:
    """By upstream and model, the dearest first."""
    found: dict[tuple[str, str], list[Hour]] = {}
    for hour in hours:
        found.setdefault((hour.upstream, hour.model), []).append(hour)
    return dict(sorted(found.items(), key=lambda pair: -sum(hour.cost for hour in pair[1])))


def moved_share(target: Target, hours: Sequence[Hour], *, pays: bool) -> float:
    """Of what these hours' tokens cost, the part that the target's servers take over."""
    spent = sum(hour.cost for hour in hours)
    if not pays or not spent:
        return 0.0
    moved = sum(
        hour.cost * min(1.0, target.servers / target.needs[hour.start_ms])
        for hour in hours
        if target.needs[hour.start_ms]
    )
    return moved / spent


def _target(inputs: BreakevenInputs, traffic: Traffic, own: Own, name: str, hours: Sequence[Hour]) -> Target:
    copy = _copy(inputs, name, hours)
    many = copies(inputs, copy, name)
    server = copy.speed * (inputs.utilisation * many)
    variable = Money(inputs.variable)
    busy = replicas.busy_hours(traffic, hours, server, variable)
    servers = replicas.paying(busy, own.month.total)
    nano = replicas.avoided_by(servers, hours, server, variable)
    return Target(
        name=name,
        hours=tuple(hours),
        copy=copy,
        copies=many,
        server=server,
        servers=servers,
        needs=replicas.needs(hours, server),
        steps=tuple(replicas.shown(busy, own.month.total)),
        nano=nano,
        avoided=measured.month(traffic, nano),
    )


def _copy(inputs: BreakevenInputs, name: str, hours: Sequence[Hour]) -> Copy:
    requests = sum(hour.requests for hour in hours) or 1
    prompt = sum(hour.input_tokens for hour in hours) / requests
    output = sum(hour.output_tokens for hour in hours) / requests
    try:
        speed = float(name)
    except ValueError:
        return copy_of(inputs, name, prompt, output)
    if not 0 < speed < 1e9:
        raise PlanError(f"{name} is no speed in tokens per second.", param="own")
    return copy_of(msgspec.structs.replace(inputs, tok_s=speed), name, prompt, output)


def _assigned(own: Sequence[str], traffic: Traffic, model: str) -> Mapping[str, list[Hour]]:
    """The own models, each with the hours it may replace; what is said first counts, UPSTREAM/MODEL before a model's
    name before a size."""
    wanted = dict(_split(text) for text in own)
    if not own:
        paid = {name for name, hours in by_model(traffic.hours).items() if any(hour.cost for hour in hours)}
        if not paid:
            raise PlanError(
                "Nothing in that traffic cost anything: there is nothing to save.", param="from_ledger"
            )
        return {model: [hour for hour in traffic.hours if (hour.upstream, hour.model) in paid]}
    found: dict[str, list[Hour]] = {name: [] for name in wanted.values()}
    used: set[str] = set()
    for hour in traffic.hours:
        for what in (_name(hour), hour.model, hour.size):
            if what in wanted:
                found[wanted[what]].append(hour)
                used.add(what)
                break
    for what in wanted:
        if what not in used:
            known = ", ".join(sorted({_name(hour) for hour in traffic.hours}))
            raise PlanError(
                f"The traffic has nothing of {what[:64]!r}, or all of it is replaced otherwise; it has {known}.",
                param="own",
            )
    return found


def _split(text: str) -> tuple[str, str]:
    what, _, name = text.partition("=")
    if not what.strip() or not name.strip():
        raise PlanError(
            f"{text[:64]!r} does not say what replaces what; write it as large=llama-3-70b, or gpt-4o=3200.",
            param="own",
        )
    return what.strip(), name.strip()


def _name(hour: Hour) -> str:
    return f"{hour.upstream}/{hour.model}"


def spend_of(traffic: Traffic, hours: Sequence[Hour]) -> Month:
    return measured.month(traffic, measured.by_hour(hours, lambda hour: hour.cost))


def all_hours(targets: Sequence[Target]) -> list[Hour]:
    return [hour for target in targets for hour in target.hours]


def price_of(hours: Sequence[Hour]) -> Money:
    """Per million tokens, as paid."""
    tokens = sum(hour.input_tokens + hour.output_tokens for hour in hours)
    return (
        total([measured.dollars(sum(hour.cost for hour in hours))]) / (tokens / 1e6) if tokens else Money(0)
    )
