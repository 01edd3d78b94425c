"""The part of a break-even's answer that only the ledger can give: which models would move, and what to buy."""

import math
from collections.abc import Sequence

import msgspec

from gateway.planning.contract import Answer, Cell, Column, Line, Table, money_cell
from gateway.planning.cost.costs import breakeven_tokens
from gateway.planning.cost.hybrid import paying_hours
from gateway.planning.payoff import breakeven_plots, measured, payback
from gateway.planning.payoff.breakeven_inputs import BreakevenInputs
from gateway.planning.payoff.measured import Month
from gateway.planning.payoff.moving import (
    Move,
    Target,
    all_hours,
    by_model,
    less,
    moved_share,
    price_of,
    spend_of,
)
from gateway.planning.payoff.replicas import Step
from gateway.planning.payoff.sides import Own
from gateway.planning.traffic import Hour, Traffic
from gateway.planning.units import HOURS_PER_MONTH, Money, Seconds, Tokens

_MONTH = Seconds(HOURS_PER_MONTH * 3600)
_MEASURED = "Measured, per month"
_OWN = "Own servers for it"


def extended(answer: Answer, inputs: BreakevenInputs, traffic: Traffic, own: Own, moved: Move) -> Answer:
    """The general answer, after what holds for this traffic."""
    return msgspec.structs.replace(
        answer,
        headline=_headline(traffic, own, moved),
        lines=[*_traffic_lines(traffic, all_hours(moved.targets)), *_move_lines(own, moved), *answer.lines],
        tables=[
            _models_table(inputs, traffic, own, moved),
            _sizes_table(traffic),
            _buy_table(own, moved),
            steps_table([(target.name, target.steps) for target in moved.targets], own.month.total),
            *answer.tables,
        ],
        assumptions=[
            *measured.assumptions(traffic),
            *(each for target in moved.targets[1:] for each in target.copy.assumptions),
            *answer.assumptions,
        ],
        warnings=[*_warnings(inputs, traffic, moved), *answer.warnings],
        plot=answer.plot
        if inputs.diagram == "load"
        else breakeven_plots.over_months(
            price=moved.price if moved.servers else own.price,
            running=moved.running if moved.servers else own.running,
            instead=moved.avoided,
            label="what they would replace",
            months=moved.payback,
        ),
    )


def steps_table(steps: Sequence[tuple[str, Sequence[Step]]], fixed: Money) -> Table:
    """`fixed` is of a server and a month, without people."""

    def row(name: str, step: Step) -> dict[str, Cell]:
        hourly = step.avoided / step.busy.value if step.busy.value else Money(0)
        return {
            "model": name,
            "server": step.number,
            "busy_h": step.busy.value,
            "needed_h": payback.cell(paying_hours(fixed, hourly).value),
            "avoided_usd": money_cell(step.avoided),
            "fixed_usd": money_cell(fixed),
            "pays": step.pays,
        }

    return Table(
        key="servers_one_by_one",
        title="Each further server, without people: it pays if it is busy for more hours than it must be",
        columns=[
            Column(key="model", label="own model"),
            Column(key="server", label="server"),
            Column(key="busy_h", label="busy", unit="h/month"),
            Column(key="needed_h", label="must be", unit="h/month"),
            Column(key="avoided_usd", label="avoids", unit="USD/month"),
            Column(key="fixed_usd", label="costs", unit="USD/month"),
            Column(key="pays", label="pays"),
        ],
        rows=[row(name, step) for name, found in steps for step in found],
    )


def _headline(traffic: Traffic, own: Own, moved: Move) -> str:
    whose = "the site's" if traffic.tenant is None else f"{traffic.tenant}'s"
    if not moved.pays:
        return f"At {whose} measured load own servers never pay: {_why_never(own, moved)}."
    band = moved.payback_band
    between = f" (between {payback.shown_short(band[0])} and {payback.shown_short(band[1])})" if band else ""
    return (
        f"At {whose} measured load {moved.servers} own server{'s' if moved.servers > 1 else ''} would be paid for"
        f" {payback.told(moved.payback)}{between}, and avoid USD {money_cell(moved.avoided.amount):,} a month for"
        f" USD {money_cell(moved.running):,} of running them."
    )


def _why_never(own: Own, moved: Move) -> str:
    if moved.servers:
        avoided, lost = money_cell(moved.avoided.amount), money_cell(-moved.gained)
        return f"servers that pay by themselves avoid USD {avoided:,} a month, and with people come to USD {lost:,} more"
    step = max((target.steps[0] for target in moved.targets), key=lambda step: step.avoided.amount)
    return f"the first would avoid USD {money_cell(step.avoided):,} a month and cost USD {money_cell(own.month.total):,}"


def _traffic_lines(traffic: Traffic, hours: Sequence[Hour]) -> list[Line]:
    scale = measured.to_month(traffic)
    spent = spend_of(traffic, hours)
    tokens = measured.by_hour(hours, lambda hour: hour.input_tokens + hour.output_tokens)
    into, cached = (
        sum(getattr(hour, name) for hour in hours) for name in ("input_tokens", "cached_input_tokens")
    )
    busy = sum(1 for count in tokens.values() if count)
    every = max(measured.hours_in(traffic), busy)
    mean = sum(tokens.values()) / measured.hours_in(traffic) / 3600
    return [
        Line(key="spent_month", label="spent on what may move", value=money_cell(spent.amount), unit="USD", group=_MEASURED),
        *_band("spent_month", spent, _MEASURED),
        Line(key="requests_month", label="requests", value=sum(hour.requests for hour in hours) * scale, group=_MEASURED),
        Line(key="mtok_month", label="tokens", value=sum(tokens.values()) * scale / 1e6, unit="M tokens", group=_MEASURED),
        Line(key="cached_percent", label="of prompts cached", value=100 * cached / into if into else None, unit="%", group=_MEASURED),
        Line(key="idle_percent", label="hours without any", value=100 * (1 - busy / every), unit="%", group=_MEASURED),
        Line(key="mean_tok_s", label="on average", value=mean, unit="tokens/s", group=_MEASURED),
        Line(key="busiest_tok_s", label="in the busiest hour", value=max(tokens.values(), default=0) / 3600, unit="tokens/s", group=_MEASURED),
    ]  # fmt: skip


def _move_lines(own: Own, moved: Move) -> list[Line]:
    band = moved.payback_band
    price, running, avoided = (
        money_cell(moved.price),
        money_cell(moved.running),
        money_cell(moved.avoided.amount),
    )
    return [
        Line(
            key="servers",
            label="servers to buy",
            value=moved.servers if moved.pays else 0,
            formula="those that avoid more than their month costs, if together they pay for people too",
            numbers=f"{moved.servers}; {avoided} avoided - {running} running - {money_cell(own.month.depreciation * moved.servers)} of their"
            f" price = {money_cell(moved.gained)}",
            group=_OWN,
        ),
        Line(key="servers_price", label="their price", value=price if moved.pays else money_cell(Money(0)), unit="USD", group=_OWN),
        Line(
            key="saved_month",
            label="saved each month, once bought",
            value=money_cell(moved.saved.amount) if moved.pays else money_cell(Money(0)),
            unit="USD",
            formula="avoided - running",
            numbers=f"{avoided} - {running} = {money_cell(moved.saved.amount)}" if moved.pays else "",
            group=_OWN,
        ),
        *(_band("saved_month", moved.saved, _OWN) if moved.pays else []),
        Line(
            key="servers_payback_months",
            label="paid for after",
            value=payback.cell(moved.payback),
            unit="months",
            formula="price / saved each month",
            numbers=f"{price} / {money_cell(moved.saved.amount)} = {payback.shown(moved.payback)}" if moved.pays else "",
            group=_OWN,
        ),
        *(
            Line(key=f"servers_payback_months_{name}", label=f"  {name} end", value=payback.cell(end), unit="months", group=_OWN)
            for name, end in zip(("early", "late"), band or (), strict=False)
        ),
    ]  # fmt: skip


def _band(key: str, month: Month, group: str) -> list[Line]:
    return [
        Line(
            key=f"{key}_{name}",
            label=f"  {name} end of its band",
            value=money_cell(end),
            unit="USD",
            group=group,
        )
        for name, end in (("low", month.low), ("high", month.high))
        if end is not None
    ]


def _spend_cells(month: Month) -> dict[str, Cell]:
    return {
        "spend_usd": money_cell(month.amount),
        "low_usd": None if month.low is None else money_cell(month.low),
        "high_usd": None if month.high is None else money_cell(month.high),
    }


_SPEND = (
    Column(key="requests", label="requests", unit="per month"),
    Column(key="mtok", label="tokens", unit="M/month"),
    Column(key="spend_usd", label="spent", unit="USD/month"),
    Column(key="low_usd", label="low", unit="USD/month"),
    Column(key="high_usd", label="high", unit="USD/month"),
)


def _volume(traffic: Traffic, hours: Sequence[Hour]) -> dict[str, Cell]:
    scale = measured.to_month(traffic)
    tokens = sum(hour.input_tokens + hour.output_tokens for hour in hours)
    return {
        "requests": round(sum(hour.requests for hour in hours) * scale),
        "mtok": tokens * scale / 1e6,
        **_spend_cells(spend_of(traffic, hours)),
    }


def _models_table(inputs: BreakevenInputs, traffic: Traffic, own: Own, moved: Move) -> Table:
    """Every model with the own one that may replace it, and from where on it would pay for a server alone."""

    targets = {(hour.upstream, hour.model): target for target in moved.targets for hour in target.hours}

    def row(upstream: str, model: str, hours: Sequence[Hour]) -> dict[str, Cell]:
        target = targets.get((upstream, model))
        alone = breakeven_tokens(own.whole, price_of(hours), Money(inputs.variable)) if target else None
        return {
            "upstream": upstream,
            "model": model,
            "size": hours[0].size,
            **_volume(traffic, hours),
            "usd_per_mtok": price_of(hours).amount.quantize(measured.PRICE),
            "own_model": target.name if target else None,
            "alone_mtok": _feasible(alone, target),
            "moves_percent": 100 * moved_share(target, hours, pays=moved.pays) if target else 0.0,
        }

    return Table(
        key="models",
        title="Which models would move",
        columns=[
            Column(key="upstream", label="upstream"),
            Column(key="model", label="model"),
            Column(key="size", label="size"),
            *_SPEND,
            Column(key="usd_per_mtok", label="price", unit="USD/1M"),
            Column(key="own_model", label="own model"),
            Column(key="alone_mtok", label="pays a server alone from", unit="M/month"),
            Column(key="moves_percent", label="moves", unit="%"),
        ],
        rows=[row(upstream, model, hours) for (upstream, model), hours in by_model(traffic.hours).items()],
    )


def _feasible(alone: Tokens | None, target: Target | None) -> Cell:
    if alone is None or target is None:
        return None
    return payback.cell(math.inf if alone > target.server.over(_MONTH) else alone.millions)


def _sizes_table(traffic: Traffic) -> Table:
    sizes = sorted({hour.size for hour in traffic.hours})
    found = {size: [hour for hour in traffic.hours if hour.size == size] for size in sizes}
    return Table(
        key="sizes",
        title="By size",
        columns=[Column(key="size", label="size"), *_SPEND],
        rows=[{"size": size, **_volume(traffic, hours)} for size, hours in found.items()],
    )


def _buy_table(own: Own, moved: Move) -> Table:
    def row(target: Target) -> dict[str, Cell]:
        servers = target.servers if moved.pays else 0
        saved = less(target.avoided, own.month.total * target.servers) if servers else None
        return {
            "own_model": target.name,
            "replaces": target.replaces,
            "servers": servers,
            "copies": servers * target.copies,
            "tok_s": target.server.value,
            "price_usd": money_cell(own.price * servers),
            "avoided_usd": money_cell(target.avoided.amount) if servers else money_cell(Money(0)),
            "saved_usd": money_cell(saved.amount) if saved else money_cell(Money(0)),
            "saved_low_usd": money_cell(saved.low) if saved and saved.low else None,
            "saved_high_usd": money_cell(saved.high) if saved and saved.high else None,
        }

    return Table(
        key="buy",
        title="What to buy; savings are without people, with the price spread over the servers' life",
        columns=[
            Column(key="own_model", label="own model"),
            Column(key="replaces", label="replaces"),
            Column(key="servers", label="servers"),
            Column(key="copies", label="copies"),
            Column(key="tok_s", label="a server takes", unit="tokens/s"),
            Column(key="price_usd", label="price", unit="USD"),
            Column(key="avoided_usd", label="avoid", unit="USD/month"),
            Column(key="saved_usd", label="save", unit="USD/month"),
            Column(key="saved_low_usd", label="low", unit="USD/month"),
            Column(key="saved_high_usd", label="high", unit="USD/month"),
        ],
        rows=[row(target) for target in moved.targets],
    )


def _warnings(inputs: BreakevenInputs, traffic: Traffic, moved: Move) -> list[str]:
    told = measured.caveats(traffic)
    if not inputs.own:
        told.append(
            f"Taken for granted: {inputs.model} answers as well as all that costs something now. Say what an own model may"
            " replace (own), as in large=llama-3-70b."
        )
    low = moved.saved.low
    if moved.pays and low is not None and low.amount <= 0:
        told.append("In a bad month they would save nothing: the band of the saving reaches below zero.")
    if any(max(target.needs.values(), default=1.0) < 1 for target in moved.targets):
        told.append(
            "Even its busiest hour does not fill one server: a smaller one may do (server_gpus, server_price)."
        )
    return told
