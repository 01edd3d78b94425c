"""What a break-even is worked out from: the mix of tokens, and from which load a copy of the model beats its price."""

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.planning.contract import Assumption, Cell, money_cell
from gateway.planning.cost.costs import breakeven_tokens
from gateway.planning.payoff import measured, payback
from gateway.planning.payoff.breakeven_inputs import BreakevenInputs
from gateway.planning.payoff.moving import price_of
from gateway.planning.payoff.sides import Copy, Own, Rent, api_side, copies, rents
from gateway.planning.traffic import Hour, Traffic
from gateway.planning.units import HOURS_PER_MONTH, Money, Seconds, Tokens

_MONTH = Seconds(HOURS_PER_MONTH * 3600)


class Mix(msgspec.Struct, frozen=True, kw_only=True):
    """Of the tokens that would move."""

    input_tokens: float
    """Of a request."""
    output_tokens: float
    price: Money
    """Per million of both."""
    formula: str
    numbers: str
    load: Tokens | None = None
    """A month's, where it was measured."""
    assumptions: Sequence[Assumption] = ()

    @property
    def tokens(self) -> float:
        return self.input_tokens + self.output_tokens


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """From which load on a copy of the model, paid for all month, is cheaper than the API."""

    label: str
    fixed: Money
    tokens: Tokens
    """A month."""
    capacity: Tokens

    @property
    def why_never(self) -> str:
        if math.isinf(self.tokens.value):
            return "the API costs no more than a token's own variable cost"
        if self.tokens > self.capacity:
            return f"a copy serves at most {self.capacity.millions:,.0f}M tokens a month"
        return ""

    def cell(self, value: float) -> Cell:
        return payback.cell(math.inf if self.why_never else value)


class Case(msgspec.Struct, frozen=True, kw_only=True):
    inputs: BreakevenInputs
    mix: Mix
    name: str
    """Of the own model, or its speed."""
    copy: Copy
    copies: int
    own: Own
    rents: Sequence[Rent]
    rent_assumptions: Sequence[Assumption]

    def parity(self, label: str, server_month: Money) -> Parity:
        fixed = server_month / self.copies
        return Parity(
            label=label,
            fixed=fixed,
            tokens=breakeven_tokens(fixed, self.mix.price, Money(self.inputs.variable)),
            capacity=(self.copy.speed * self.inputs.utilisation).over(_MONTH),
        )

    @property
    def parities(self) -> list[Parity]:
        renting = [self.parity(rent.label, rent.month.total) for rent in self.rents if rent.key != "part"]
        return [self.parity("own", self.own.whole), *renting]


def case_of(inputs: BreakevenInputs, own: Own, mix: Mix, copy: Copy, name: str) -> Case:
    """Raises PlanError for a rent that nobody knows, or a copy that takes more than a server."""
    ways, assumptions = rents(inputs)
    return Case(
        inputs=inputs,
        mix=mix,
        name=name,
        copy=copy,
        copies=copies(inputs, copy, name),
        own=own,
        rents=ways,
        rent_assumptions=assumptions,
    )


def api_mix(inputs: BreakevenInputs) -> Mix:
    api = api_side(inputs)
    price = api.blended(inputs.input_tokens, inputs.output_tokens, inputs.cached_share)
    into, out, share = inputs.input_tokens, inputs.output_tokens, inputs.cached_share
    return Mix(
        input_tokens=into,
        output_tokens=out,
        price=price,
        formula="(input x (1 - cached) x t_in + cached input x cached x t_in + output x t_out) / (t_in + t_out)",
        numbers=f"({api.input.amount} x {1 - share:g} x {into} + {api.cached.amount} x {share:g} x {into} + {api.output.amount} x {out})"
        f" / ({into} + {out}) = {price.amount:.6g}",
        assumptions=api.assumptions,
    )


def measured_mix(traffic: Traffic, hours: Sequence[Hour]) -> Mix:
    requests = sum(hour.requests for hour in hours) or 1
    into, out = sum(hour.input_tokens for hour in hours), sum(hour.output_tokens for hour in hours)
    price, spent = price_of(hours), measured.dollars(sum(hour.cost for hour in hours))
    values: dict[str, Any] = {"tokens of a prompt": into / requests, "tokens of an answer": out / requests}
    return Mix(
        input_tokens=into / requests,
        output_tokens=out / requests,
        price=price,
        load=Tokens((into + out) * measured.to_month(traffic)),
        formula="spent / tokens, in the period",
        numbers=f"{money_cell(spent)} / {(into + out) / 1e6:,.6g}M = {price.amount:.6g}",
        assumptions=[
            Assumption(name=name, value=round(value, 1), unit="tokens", origin="ledger")
            for name, value in values.items()
        ],
    )
