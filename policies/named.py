"""For a caller who names a model: that model wherever it is served, cheapest first, and never another one."""

from collections.abc import Sequence
from dataclasses import dataclass

from policies.contract import Candidate, Facts
from policies.objective import Order, by_cost


@dataclass(frozen=True, slots=True)
class Named:
    def order(self, _facts: Facts, candidates: Sequence[Candidate]) -> Order:
        ordered = sorted(candidates, key=by_cost)
        return Order(
            ordered,
            f"the caller asked for {ordered[0].model}; {ordered[0].upstream} is its cheapest upstream",
        )
