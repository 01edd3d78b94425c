"""What an objective is: it puts the allowed candidates in order, best first, and says why in one line."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from policies.contract import Acceptance, Candidate, Facts


class Order(NamedTuple):
    candidates: list[Candidate]
    why: str
    acceptance: Acceptance | None = None


class Objective(Protocol):
    def order(self, facts: Facts, candidates: Sequence[Candidate]) -> Order:
        """`candidates` is never empty and holds only what may be used."""
        ...


def by_cost(candidate: Candidate) -> tuple[int, int, str]:
    """Cheapest first; of equals, the one with less to do."""
    return candidate.expected_cost, candidate.in_flight, candidate.id


def p_good(candidate: Candidate) -> float:
    """A prediction that is no probability promises nothing."""
    return candidate.p_good if 0 <= candidate.p_good <= 1 else 0.0
