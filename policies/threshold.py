"""Complexity picks a size by fixed steps; inside the size, the cheapest."""

from collections.abc import Sequence
from dataclasses import dataclass

from policies.contract import SIZES, Candidate, Facts, Size
from policies.objective import Order, by_cost
from policies.section import Section

# For each wanted size the rank of every size: itself, then upwards, then downwards. Rather too good than too weak.
_RANKS = {
    wanted: {size: rank for rank, size in enumerate((*SIZES[at:], *reversed(SIZES[:at])))}
    for at, wanted in enumerate(SIZES)
}


@dataclass(frozen=True, slots=True)
class Step:
    below: float
    """A complexity of exactly this belongs to the next step."""
    size: Size


@dataclass(frozen=True, slots=True)
class Threshold:
    steps: tuple[Step, ...]
    otherwise: Size

    def order(self, facts: Facts, candidates: Sequence[Candidate]) -> Order:
        wanted = self.size_for(facts.complexity)
        ranks = _RANKS[wanted]
        ordered = sorted(candidates, key=lambda candidate: (ranks[candidate.size], *by_cost(candidate)))
        why = f"complexity {facts.complexity:.2f} wants {wanted}"
        nearest = ordered[0].size
        return Order(ordered, why if nearest == wanted else f"{why}; {nearest} is the nearest allowed")

    def size_for(self, complexity: float) -> Size:
        for step in self.steps:
            if complexity < step.below:
                return step.size
        return self.otherwise


def read(section: Section) -> Threshold:
    steps: list[Step] = []
    for part in section.sections("steps"):
        step = Step(below=part.share("below"), size=part.size("size"))
        part.done()
        if steps and step.below <= steps[-1].below:
            raise part.refuse(f"expected more than {steps[-1].below:g}, the step before it", "below")
        steps.append(step)
    return Threshold(steps=tuple(steps), otherwise=section.size("otherwise"))
