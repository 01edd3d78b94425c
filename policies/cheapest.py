"""The cheapest that may be used. Also what a request gets when its score or its policy failed."""

from collections.abc import Sequence
from dataclasses import dataclass

from policies.contract import Candidate, Facts
from policies.objective import Order, by_cost
from policies.section import Section


@dataclass(frozen=True, slots=True)
class Cheapest:
    def order(self, _facts: Facts, candidates: Sequence[Candidate]) -> Order:
        ordered = sorted(candidates, key=by_cost)
        return Order(ordered, f"{ordered[0].model} is the cheapest allowed")


def read(_section: Section) -> Cheapest:
    return Cheapest()
