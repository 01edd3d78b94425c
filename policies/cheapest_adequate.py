"""The cheapest candidate whose predicted chance of a good answer reaches a target."""

from collections.abc import Sequence
from dataclasses import dataclass

from policies.contract import Candidate, Facts
from policies.objective import Order, by_cost, p_good
from policies.section import Section


@dataclass(frozen=True, slots=True)
class CheapestAdequate:
    target: float

    def order(self, _facts: Facts, candidates: Sequence[Candidate]) -> Order:
        """Adequate ones by cost, then the others by promise: a fallback too is the cheapest that will do."""
        ordered = sorted(candidates, key=self._rank)
        first = ordered[0]
        if p_good(first) >= self.target:
            return Order(
                ordered,
                f"{first.model} is the cheapest with P(good) {p_good(first):.2f} >= {self.target:g}",
            )
        return Order(
            ordered,
            f"none reaches P(good) {self.target:g}; {first.model} is the best with {p_good(first):.2f}",
        )

    def _rank(self, candidate: Candidate) -> tuple[float, int, int, str]:
        promise = p_good(candidate)
        return (-1.0 if promise >= self.target else 1.0 - promise, *by_cost(candidate))


def read(section: Section) -> CheapestAdequate:
    return CheapestAdequate(target=section.share("target"))
